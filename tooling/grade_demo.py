"""Make a class and grade it, from nothing: `python -m tooling.grade_demo [CHAPTER [FOLDER]]`.

Attention has a class of thirty. Everything lies in `_grading/demo`, or, for another chapter, in
`_grading/demo-lora`, a small course of its own, so that no real gradebook is touched.
It ends with what was expected of each submission and what the grader made of it; anything else
than expected is an error.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tooling.demo_class import ASSIGNMENT, CHAPTERS, Student, students
from tooling.settings import ROOT

FOLDER = ROOT / "_grading" / "demo"
MARK = "a sample course: made anew by make grade-demo"
console = Console()


def main(folder: Path | None = None, chapter: str = ASSIGNMENT) -> None:
    """Make the class, grade it, write feedback and an export, and say what to open."""
    if shutil.which("bwrap") is None:
        sys.exit(
            "Grading needs bubblewrap: on Debian or Ubuntu run 'sudo apt-get install bubblewrap', "
            "elsewhere use the container image (Containerfile)."
        )
    named = FOLDER if chapter == ASSIGNMENT else FOLDER.with_name(f"{FOLDER.name}-{chapter}")
    folder = (folder or named).resolve()
    make_course(folder, chapter)
    class_ = students(chapter)
    hand_in(folder, class_, chapter)
    say(f"A class of {len(class_)} handed in, in {os.path.relpath(folder)}/_grading/submitted.")
    run(folder, "nbgrader", "generate_assignment", chapter, "--force")
    say(f"clearhead grade {chapter}")
    run(folder, "marking", "grade", chapter, loud=True)
    say(f"nbgrader generate_feedback {chapter} --force, and the grades as Canvas reads them")
    run(folder, "nbgrader", "generate_feedback", chapter, "--force")
    run(folder, "marking", "export", "_grading/canvas.csv", "--to", "canvas", loud=True)
    problems = compare(folder, class_, chapter)
    say("Open")
    for what, how in to_open(folder, class_, chapter).items():
        console.print(f"  {what}\n    {how}", highlight=False, markup=False, soft_wrap=True)
    if problems:
        sys.exit(f"{len(problems)} submissions were not graded as expected: {', '.join(problems)}.")


def make_course(folder: Path, chapter: str = ASSIGNMENT) -> None:
    """An empty course in `folder`: the master and the configuration, nothing of an earlier run."""
    mark = folder / "README"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        sys.exit(f"{folder} holds something that is not the demo's: name an empty folder.")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "solutions").mkdir(parents=True)
    mark.write_text(f"{MARK}\n", encoding="utf-8")
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    master = Path("solutions") / chapter / f"{chapter}.ipynb"
    (folder / master).parent.mkdir()
    shutil.copy(ROOT / master, folder / master)


def hand_in(folder: Path, class_: list[Student], chapter: str = ASSIGNMENT) -> None:
    """Write each submission where nbgrader expects it, and a secret that is the same each time."""
    secret = folder / "_grading" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(hashlib.sha256(MARK.encode()).digest())
    secret.chmod(0o600)
    for student in class_:
        name = student.filename or f"{chapter}.ipynb"
        path = folder / "_grading" / "submitted" / student.id / chapter / name
        path.parent.mkdir(parents=True)
        path.write_bytes(student.data)


def run(folder: Path, module: str, *arguments: str, loud: bool = False) -> None:
    """Run a module's command in the course; leave with its own words if it fails."""
    environment = {k: v for k, v in os.environ.items() if k != "CLEARHEAD_SECRET_FILE"}
    library = os.pathsep.join(filter(None, [str(ROOT / "lib"), environment.get("PYTHONPATH")]))
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"PYTHONPATH": library},
        text=True,
        stdout=None if loud else subprocess.PIPE,
        stderr=None if loud else subprocess.STDOUT,
    )
    if done.returncode:
        sys.stderr.write(done.stdout or "")
        sys.exit(f"'{module} {' '.join(arguments)}' failed: its own words are above.")


def compare(folder: Path, class_: list[Student], chapter: str = ASSIGNMENT) -> list[str]:
    """Print who was expected to get what, and what they got; the ids of those who differ."""
    from marking.grading.store import Store

    rows: dict[str, dict] = {student.id: {} for student in class_}
    with Store(folder / "_grading" / "results.db") as store:
        for row in store.rows(chapter):
            rows[row.student][row.exercise.partition(".")[2]] = row
    table = Table(title="What was handed in, and what the grader made of it")
    for name in ("student", "handed in", "points", "as expected"):
        table.add_column(name, justify="right" if name == "points" else "left")
    problems = []
    for student in class_:
        found = rows[student.id]
        wrong = unexpected(student, found)
        points = f"{sum(row.points or 0 for row in found.values()):g}" if found else "refused"
        table.add_row(student.id, escape(student.what), points, escape("; ".join(wrong)) or "yes")
        problems += [student.id] if wrong else []
    console.print(table)
    return problems


def unexpected(student: Student, found: dict) -> list[str]:
    """What differs from what an honest grader makes of this submission; `found`: name → row."""
    if student.refused:
        return ["was not refused"] if found else []
    said = [] if found else ["was refused"]
    for name, row in found.items():
        if row.status == "our fault" or row.share is None:
            said.append(f"{name}: {row.status}")
        elif name in student.right and row.share < 1:
            said.append(f"{name}: {row.status}, but it is right")
        elif name in student.not_right and row.share == 1:
            said.append(f"{name}: full marks, but it is not right")
        elif student.named.get(name, "") not in ("", *row.mistakes):
            said.append(f"{name}: not named as {student.named[name]}")
        elif student.kind == "hostile" and name in student.not_right and row.share > 0:
            said.append(f"{name}: points for an attack")
    return said


def to_open(folder: Path, class_: list[Student], chapter: str) -> dict[str, str]:
    """What there is to see now, and the file or the command that shows it."""
    at, programs = os.path.relpath(folder), Path(os.path.relpath(sys.prefix)) / "bin"
    pages = f"{at}/_grading/feedback"
    first = next(student for student in class_ if student.id == "wrong-01")
    appeal = f"appeal {chapter} {first.id} {chapter}.{next(iter(first.named))}"
    bin_ = Path(sys.prefix) / "bin"
    jupyter, nbgrader = (os.path.relpath(bin_ / name, folder) for name in ("jupyter", "nbgrader"))
    return {
        "what a student gets back": f"{pages}/{first.id}/{chapter}/{chapter}.html",
        "the grades as Canvas reads them": f"{at}/_grading/canvas.csv",
        "the gradebook in a browser, menu Nbgrader → Formgrader": f"(cd {at} && {jupyter} lab)",
        "feedback anew, after grading by hand": (
            f"(cd {at} && {nbgrader} generate_feedback {chapter} --force)"
        ),
        "the hidden inputs of one answer": f"{programs}/clearhead {appeal} --course {at}",
        "near-identical answers": f"{programs}/clearhead similar {chapter} --course {at}",
    }


def say(text: str) -> None:
    console.print(f"\n[bold]{escape(text)}[/bold]", highlight=False)


def asked(words: list[str]) -> tuple[Path | None, str]:
    """The folder and the chapter that the command line names."""
    chapter, *folder = words or [ASSIGNMENT]
    if chapter not in CHAPTERS:
        sys.exit(f"There is no chapter {chapter!r}: name one of {', '.join(CHAPTERS)}.")
    return Path(folder[0]) if folder else None, chapter


if __name__ == "__main__":
    main(*asked(sys.argv[1:]))
