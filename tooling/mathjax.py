"""Copy MathJax out of the PyPI package django-static-mathjax, so that equations need no network."""

import shutil
from importlib.util import find_spec
from pathlib import Path

PARTS = ("es5/tex-mml-chtml.js", "es5/output/chtml/fonts/woff-v2", "es5/input/tex/extensions")
ENTRY = "mathjax/tex-mml-chtml.js"  # within the folder that `copy` fills


def copy(target: Path) -> None:
    """Fill `target`/mathjax with what the pages load, and MathJax's licence; once."""
    folder = target / "mathjax"
    if (folder / "LICENSE").exists():
        return
    source = Path(find_spec("mathjax").origin).parent / "static" / "mathjax"
    for part in PARTS:
        place = folder / part.removeprefix("es5/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, place, dirs_exist_ok=True)
        else:
            shutil.copy(source / part, place)
    shutil.copy(source / "LICENSE", folder / "LICENSE")
