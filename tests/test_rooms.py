"""Who may import whom: the rooms of the house keep their doors."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIB = ROOT / "lib"
OPTIONAL = {"safetensors", "tokenizers", "gguf", "huggingface_hub", "jinja2", "numpy"}

# What only the grader may ask for: the extras `grade` and `cluster`.
GRADING = set("nbgrader nbformat nbconvert traitlets sqlalchemy bleach PIL jinja2 numpy".split())
GRADING |= {"safetensors", "pyseccomp", "copydetect", "distributed", "latex2mathml"}


def imports(file: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)


def files(package: str) -> list[Path]:
    return sorted((LIB / package).rglob("*.py"))


def name(file: Path) -> str:
    return str(file.relative_to(LIB))


@pytest.mark.parametrize("file", files("clearhead"), ids=name)
def test_the_library_imports_torch_and_jaxtyping_alone(file):
    allowed = {"torch", "jaxtyping", "clearhead"}
    if file.name == "plots.py":
        allowed |= {"matplotlib", "numpy"}
    if "model" in file.parts:
        allowed |= OPTIONAL
    if file.parts[-2:] == ("lora", "peft_format.py"):
        allowed |= {"safetensors"}
    if file.name == "flash_triton.py":
        allowed |= {"triton"}
    assert imports(file) <= allowed


@pytest.mark.parametrize("file", files("clearhead"), ids=name)
def test_optional_packages_are_imported_only_when_needed(file):
    assert not imports(file, top_level_only=True) & (OPTIONAL - {"numpy"} | {"triton"})


@pytest.mark.parametrize("file", files("marking"), ids=name)
def test_marking_imports_the_library_and_never_the_other_way(file):
    allowed = {"torch", "clearhead", "marking", "typer", "rich", "IPython"}
    if "grading" in file.parts:
        allowed |= GRADING
    if "container" in file.parts:  # the files that lie side by side in the sandbox
        allowed |= {file.stem for file in file.parent.glob("*.py")}
        allowed |= {"wire", "limits", "unchanged"}
    assert imports(file) <= allowed


@pytest.mark.parametrize("file", files("marking"), ids=name)
def test_only_exercise_records_know_the_reference_implementations(file):
    if "exercises" not in file.parts and file.name != "probe.py":  # the canary tries, and must fail
        assert "clearhead" not in imports(file)


def test_check_starts_without_the_heavy_optional_packages():
    code = (
        "import sys, marking.registry as r; r.exercises(); "
        "print([m for m in ('matplotlib','triton','transformers','gguf','pandas') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
