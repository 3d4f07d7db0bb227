"""Build the book: `python -m tooling.build`.

Twins and library pages first, then the lessons are run (`tooling.execute`), then jupyter-book with
`-W -n --keep-going` on a configuration written under _build/: `_config.yml` plus the local MathJax
and an execution cache named after what the lessons import and draw (jupyter-cache looks at the
cells only, and would keep results that lib/ no longer gives).
"""

import copy
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tooling import execute, library_pages, mathjax, settings, sync
from tooling.settings import ROOT

BUILD = ROOT / "_build"
HTML = BUILD / "html"
FAILED = BUILD / ".failed"


def main(builder: str = "html") -> None:
    BUILD.mkdir(exist_ok=True)
    sync.main(check=False)
    library_pages.write()
    mathjax.copy(BUILD / "vendor")
    config = write_config()
    warm_up()
    print("Building the book (lessons that changed are run, so the first time takes minutes).")
    sys.stdout.flush()
    remove_older_caches()
    if failed := execute.fill(cache_folder()):
        sys.exit("\n\n".join(failed) + "\n\nThe book was not built: each lesson above stopped.")
    status = jupyter_book(config, builder)
    if status:
        FAILED.touch()
        sys.exit("The book was not built: each WARNING or ERROR above is a reason.")
    FAILED.unlink(missing_ok=True)
    if builder == "html":
        print(f"\nThe book is at {(HTML / 'index.html').as_uri()} · `make serve` serves it.")


def write_config() -> Path:
    """The configuration that is built: `_config.yml` and what only this machine knows."""
    config = copy.deepcopy(settings.config())
    if not settings.address_is_set():
        remove_buttons(config)
    sphinx = config["sphinx"]
    sphinx["local_extensions"] = dict.fromkeys(sphinx["local_extensions"], str(ROOT))
    sphinx["config"]["html_static_path"] = ["assets", "_build/vendor"]
    sphinx["config"]["mathjax_path"] = mathjax.ENTRY
    sphinx["config"]["tooling_fingerprint"] = fingerprint("tooling/*.py", "_toc.yml")
    config["execute"]["cache"] = str(cache_folder())
    address = os.environ.get("CLEARHEAD_SITE_ADDRESS")  # set by the publish workflow
    if address:
        sphinx["config"]["html_baseurl"] = address.rstrip("/") + "/"
        sphinx["config"]["ogp_site_url"] = sphinx["config"]["html_baseurl"]
        sphinx["config"]["sitemap_url_scheme"] = "{link}"
        sphinx["config"]["ogp_social_cards"] = {"enable": False}
        sphinx["extra_extensions"] = ["sphinx_sitemap", "sphinxext.opengraph"]
    path = BUILD / "_config.yml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


def remove_buttons(config: dict) -> None:
    """No launch, edit, issue and source buttons: without an address they would lead nowhere."""
    del config["repository"]
    config["launch_buttons"] = {"thebe": False}
    for button in ("repository", "edit_page", "issues"):
        config["html"][f"use_{button}_button"] = False


def fingerprint(*patterns: str) -> str:
    """A hash of these files: their names and contents."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(p for pattern in patterns for p in ROOT.glob(pattern)):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def cache_folder() -> Path:
    """The execution cache for today's library and results."""
    drawn = ("lib/**/*.py", "constraints.txt", "benchmarks/results/*.json")
    return BUILD / f".jupyter_cache-{fingerprint(*drawn)}"


def remove_older_caches() -> None:
    for other in BUILD.glob(".jupyter_cache*"):
        if other != cache_folder():
            shutil.rmtree(other)


def warm_up() -> None:
    """Let matplotlib build its font cache now: it says so on stderr, which fails a lesson."""
    subprocess.run(
        [sys.executable, "-c", "import matplotlib.font_manager"],
        stderr=subprocess.DEVNULL,
        check=True,
    )


def jupyter_book(config: Path, builder: str) -> int:
    """Run jupyter-book; after a failure everything is read again, or its warnings would be lost."""
    program = Path(sys.executable).with_name("jupyter-book")
    command = [sys.executable, str(program), "build", str(ROOT), "--config", str(config)]
    command += ["--path-output", str(ROOT), "--builder", builder, "-W", "-n", "--keep-going", "-q"]
    if FAILED.exists():
        command.append("--all")
    pipe = subprocess.PIPE
    with (
        (BUILD / "build.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=pipe, text=True) as run,
    ):
        for line in run.stderr:
            if "Kernel is running over TCP" not in line:  # on loopback; says it for every lesson
                sys.stderr.write(line)
    return run.returncode


if __name__ == "__main__":
    main(*sys.argv[1:])
