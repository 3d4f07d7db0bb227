"""Stock nbgrader beside `clearhead grade`, on the same submissions, in one run.

    python benchmarks/grading.py [--quick]

Stock is nbgrader's own autograde with its own Execute preprocessor: a kernel a submission, no
sandbox, the notebook's open checks. Ours is the whole command, sandbox on, from the folder of
submissions to the gradebook; then each of its stages; then the lightest exercise alone; then what
no submission can cost less than: a child for each exercise, a question for each case, the
references, the answers.
Writes benchmarks/results/grading-cpu.json; `--quick` takes few submissions and writes nothing.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from timing import write

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tooling import demo_class, grade_demo  # noqa: E402

from marking.grading import driver, forbidden, intake  # noqa: E402
from marking.grading.gradebook import Writer, course_config  # noqa: E402
from marking.grading.judge import hidden_cases, judge  # noqa: E402
from marking.grading.sandbox import LIMITS, Container, talk  # noqa: E402
from marking.grading.store import Store  # noqa: E402
from marking.registry import exercises  # noqa: E402

NAME, WORKERS = demo_class.ASSIGNMENT, 2
START = "containers start, first rows"
PR_SET_CHILD_SUBREAPER = 36
STOCK = """
c = get_config()
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "chapters/exercises"
c.CourseDirectory.submitted_directory = "_grading/submitted"
c.CourseDirectory.autograded_directory = "_grading/autograded"
c.CourseDirectory.db_url = "sqlite:///_grading/gradebook.db"
c.Execute.timeout = 120
"""


def course(folder: Path, students: int, stock: bool) -> Path:
    """A course with a class: one half right in several ways, the other with three mistakes each."""
    grade_demo.make_course(folder)
    if stock:
        (folder / "nbgrader_config.py").write_text(STOCK, encoding="utf-8")
    grade_demo.hand_in(folder, [student(k) for k in range(students)])
    command(folder, "nbgrader", "generate_assignment", NAME, "--force")
    return folder


def student(k: int) -> demo_class.Student:
    answers = demo_class.with_mistakes(k, 3 if k % 2 else 0)[0]
    answers["softmax"] += f"\n\n\n# student {k}: no two submissions are the same\n"
    data = demo_class.packed(demo_class.notebook(answers))
    return demo_class.Student(f"student-{k:03}", "", "", data)


class Seconds(NamedTuple):
    """What a command took: by the clock, and of processors (its children's included)."""

    wall: float
    processor: float


def command(folder: Path, module: str, *arguments: str) -> Seconds:
    """Run a module's command in the course, from its start to its end."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(ROOT / "lib"), "PATH": paths}
    line = [sys.executable, "-m", module, *arguments]
    begin, used = time.perf_counter(), processor()
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    with contextlib.suppress(ChildProcessError):  # what it left: a container that was just killed
        while True:
            os.waitpid(-1, 0)
    seconds = Seconds(time.perf_counter() - begin, processor() - used)
    if done.returncode:
        sys.exit(f"{module} {arguments[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds


def processor() -> float:
    """Seconds of processor time of every child that has ended, and of theirs (see `main`)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stages(folder: Path) -> dict[str, float]:
    """Seconds of each stage of `clearhead grade`, in this process, for the whole class."""
    clock, found = time.perf_counter, {}
    begin = clock()
    submissions, _ = intake.collect(folder / "_grading/submitted", NAME, release(folder))
    found["intake"] = clock() - begin
    with Store(folder / "_grading" / "stages.db") as store:
        begin, first, rows = clock(), 0.0, {}
        for row in driver.grade(submissions, secret=b"b" * 32, store=store, workers=WORKERS):
            first = first or clock() - begin
            rows.setdefault(row.student, []).append(row)
        found[START] = first
        found["grading"] = clock() - begin - first
    begin = clock()
    with Writer(course_config(folder)) as writer:
        for submission in submissions:
            writer.write(submission, rows[submission.student], regrade=True)
    found["gradebook and notebooks"] = clock() - begin
    return found


def release(folder: Path) -> Path:
    return folder / "chapters" / "exercises" / NAME / f"{NAME}.ipynb"


def lightest(folder: Path, rounds: int) -> tuple[str, dict[str, float]]:
    """The exercise whose right answer is judged in the least time, and the seconds of each."""
    submission = intake.collect(folder / "_grading/submitted", NAME, release(folder))[0][0]
    seconds = {}
    for exercise in exercises(NAME).values():
        container = Container()
        judge(container, exercise, list(submission.cells), "warm up")
        samples = []
        for k in range(rounds):
            begin = time.perf_counter()
            judge(container, exercise, list(submission.cells), f"{k}")
            samples.append(time.perf_counter() - begin)
        container.stop()
        seconds[exercise.id] = min(samples)
    return min(seconds, key=seconds.get), seconds


def floor(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of one core without which no submission is graded. `child` is forked, confined
    and ended for each exercise; `case` asks it for nothing and hears nothing back; `references`
    draws a submission's hidden cases and answers them, `answers` is what right answers then take by
    themselves. Nothing is sent, compared or written."""
    container, children, cases = Container(), [], []
    job = {"cells": ["def f(): return 0"], "name": "f", "limits": LIMITS}
    for _ in range(rounds):
        begin = time.perf_counter()
        with container.child() as connection:
            talk(connection, job, {}, 30.0)
            opened = time.perf_counter()
            for k in range(20):
                asked = time.perf_counter()
                talk(connection, {"id": str(k), "inputs": {}}, {}, 30.0)
                cases.append(time.perf_counter() - asked)
            last = time.perf_counter()
        children.append(time.perf_counter() - last + opened - begin)
    container.stop()
    each = exercises(NAME).values()
    drawn = {exercise.name: hidden_cases(exercise, "count") for exercise in each}
    count = sum(map(len, drawn.values()))
    found = {
        "child": min(children),
        "case": min(cases),
        "references": least(lambda: [hidden_cases(exercise, "count") for exercise in each], rounds),
        "answers": least(lambda: answer(right_answers(folder), drawn), rounds),
    }
    forks = len(each) * found["child"] + count * found["case"]
    whole = forks + found["references"] + found["answers"]
    return found | {"children": len(each), "cases": count, "a_submission": whole}


def least(function: Callable, rounds: int) -> float:
    """The least seconds of processor time that a call took."""
    samples = []
    for _ in range(rounds):
        begin = time.process_time()
        function()
        samples.append(time.process_time() - begin)
    return min(samples)


@cache
def right_answers(folder: Path) -> dict[str, Callable]:
    """The functions of the first submission, all of them right."""
    space = {"__name__": "__main__"}
    for cell in intake.collect(folder / "_grading/submitted", NAME, release(folder))[0][0].cells:
        exec(forbidden.without_magics(cell), space)
    return space


def answer(functions: dict[str, Callable], drawn: dict[str, list]) -> None:
    for name, cases in drawn.items():
        for case in cases:
            functions[name](**case.inputs)


def throughput(folder: Path, exercise: str, copies: int) -> dict[str, float]:
    """Submissions a second of one exercise: with the start of the containers, and after it."""
    name = exercise.partition(".")[2]
    made = []
    for one in intake.collect(folder / "_grading/submitted", NAME, release(folder))[0]:
        cells = [c for c in one.notebook["cells"] if c["id"] == f"{name}-check"]
        for k in range(copies):
            changes = {"student": f"{one.student}-{k}", "hash": f"{one.hash}-{k}"}
            notebook = one.notebook | {"cells": cells}
            made.append(dataclasses.replace(one, **changes, notebook=notebook))
    with tempfile.TemporaryDirectory() as place, Store(Path(place) / "rows.db") as store:
        begin, at = time.perf_counter(), []
        for _ in driver.grade(made, secret=b"b" * 32, store=store, workers=WORKERS):
            at.append(time.perf_counter() - begin)
    early = sum(moment - at[0] < 1e-3 for moment in at)  # rows come in batches
    steady = (len(at) - early) / (at[-1] - at[0]) if at[-1] > at[0] else float("nan")
    return {"submissions": len(made), "with_start": len(at) / at[-1], "after_start": steady}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few submissions, no JSON")
    parser.add_argument("--students", type=int, help="how many, with --quick")
    options = parser.parse_args()
    quick = options.quick
    students = (options.students or 4) if quick else 50
    # What a killed container leaves comes to us, and so its time is counted.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as place:
        ours = course(Path(place) / "ours", students, stock=False)
        stock = course(Path(place) / "stock", students, stock=True)
        print(f"{students} submissions, {len(exercises(NAME))} exercises each", flush=True)
        took = {"ours": command(ours, "marking", "grade", NAME)}
        print(f"clearhead grade: {took['ours'].wall / students:.3f} s a submission", flush=True)
        took["stock"] = command(stock, "nbgrader", "autograde", NAME)
        print(f"nbgrader autograde: {took['stock'].wall / students:.3f} s a submission", flush=True)
        split = stages(ours)
        warm = sum(value for name, value in split.items() if name != START)
        ratios = {
            "wall": took["stock"].wall / took["ours"].wall,
            "processor": took["stock"].processor / took["ours"].processor,
            "wall_after_start": took["stock"].wall / warm,
        }
        for name, value in ratios.items():
            print(f"ratio, {name}: {value:.1f}", flush=True)
        for name, value in split.items():
            print(f"  {name}: {value:.2f} s, {value / students * 1e3:.1f} ms a submission")
        exercise, each = lightest(ours, 2 if quick else 10)
        rate = throughput(ours, exercise, 2 if quick else 8)
        needs = floor(ours, 3 if quick else 30)
    print(f"lightest: {exercise}, {each[exercise] * 1e3:.1f} ms in one container")
    after, whole = rate["after_start"], rate["with_start"]
    print(
        f"floor: {needs['children']} children of {needs['child'] * 1e3:.1f} ms, {needs['cases']} "
        f"cases of {needs['case'] * 1e3:.2f} ms, references {needs['references'] * 1e3:.0f} ms, "
        f"answers {needs['answers'] * 1e3:.0f} ms: {needs['a_submission'] * 1e3:.0f} ms of one core"
    )
    print(f"{WORKERS} workers: {after:.1f} a second; {whole:.1f} with the containers' start")
    if not quick:
        payload = {
            "submissions": students,
            "workers": WORKERS,
            "exercises": len(each),
            "load_average": os.getloadavg(),  # well above the cores: other work was running too
            "seconds_a_submission": {
                who: {clock: value / students for clock, value in seconds._asdict().items()}
                for who, seconds in took.items()
            },
            "ratio": ratios,
            "stage_seconds": split,
            "judge_least_seconds": each,
            "lightest": {"exercise": exercise, **rate},
            "floor_seconds": needs,
        }
        print(f"written: {write('grading', 'cpu', payload).name}")


if __name__ == "__main__":
    main()
