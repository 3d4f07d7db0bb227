"""The gradebook on a full disk, or held by another program: a sentence, and nothing is lost."""

import contextlib
import errno
import json
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="pip install -e '.[grade]'")

from sqlalchemy.exc import OperationalError
from tests.marking.nbgrader_course import NAME, RELEASE

from marking.grading import gradebook, gradebook_rows, intake
from marking.grading.gradebook_session import GradebookError
from marking.grading.store import Store

pytestmark = pytest.mark.bubblewrap
GRADE = ["-m", "marking", "grade", NAME, "--workers", "1"]


@pytest.fixture
def ungraded(written_course, sent_course, tmp_path):
    """Everything is graded and nothing of it is in the gradebook yet."""
    made = sent_course.copied(tmp_path / "course")
    shutil.copy(written_course.folder / "_grading" / "results.db", made.folder / "_grading")
    return made


def grade(course, *, room: int | None = None) -> subprocess.CompletedProcess:
    """`clearhead grade` in a process whose files may not grow beyond `room` bytes."""

    def limit():
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    return subprocess.run(
        [sys.executable, *GRADE],
        cwd=course.folder,
        env=course.environment,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=limit,
    )


@contextlib.contextmanager
def held(course, how: str = "exclusive"):
    """Another program holds the gradebook; "immediate" still lets others read it."""
    holder = sqlite3.connect(course.folder / "_grading" / "gradebook.db")
    holder.execute(f"begin {how}")
    try:
        yield
    finally:
        holder.close()


def one_sentence(run: subprocess.CompletedProcess) -> str:
    assert run.returncode == 1, run.stdout + run.stderr
    said = " ".join(run.stderr.split())
    assert said.startswith("The gradebook cannot be used: ") and "Traceback" not in said, said
    assert said.endswith("the same command goes on from there.")
    return said


def test_a_disk_that_fills_up_under_the_gradebook_costs_a_sentence(ungraded, written_course):
    book = ungraded.folder / "_grading" / "gradebook.db"
    said = one_sentence(grade(ungraded, room=book.stat().st_size + 8192))
    assert "the disk is full" in said and "'s grades was written" in said
    there = ungraded.rows()
    assert 0 < len(there) < len(written_course.rows()), "it was full in the middle"
    assert there.items() <= written_course.rows().items(), "no submission is half written"
    again = grade(ungraded)
    assert (again.returncode, again.stderr) == (0, ""), "no warning of the database's either"
    assert "0 answers graded" in again.stdout
    assert ungraded.rows() == written_course.rows()


def test_a_gradebook_that_is_held_before_the_start_costs_a_sentence(ungraded, written_course):
    with held(ungraded):
        assert "another program holds it" in one_sentence(grade(ungraded))
    assert ungraded.rows() == {}
    assert grade(ungraded).returncode == 0
    assert ungraded.rows() == written_course.rows()


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits five seconds for a lock."""
    make = gradebook.Gradebook

    def book(url, *more):
        return make(f"{url}?timeout=0.1", *more)

    for module in (gradebook, gradebook_rows):
        monkeypatch.setattr(module, "Gradebook", book)


def test_a_gradebook_that_is_held_cannot_be_exported_and_says_so(course_copy, impatient):
    config = gradebook.course_config(course_copy.folder)
    with held(course_copy), pytest.raises(GradebookError, match="another program holds it"):
        gradebook_rows.rows(config, NAME)
    assert gradebook_rows.rows(config, NAME)


@pytest.mark.parametrize("how", ["exclusive", "immediate"])
def test_a_new_student_in_a_held_gradebook_is_a_sentence_and_no_log(
    ungraded, impatient, caplog, how
):
    with held(ungraded, how), pytest.raises(GradebookError, match="another program holds it"):
        ungraded.write_again("warns")
    assert not caplog.records and ungraded.rows() == {}
    gradebook.close()
    ungraded.write_again("warns")
    assert list(ungraded.rows()) == ["warns"]


@pytest.mark.parametrize("damage", [b"these are somebody's notes" * 400, None])
def test_a_damaged_gradebook_is_a_sentence_and_is_left_alone(ungraded, damage):
    path = ungraded.folder / "_grading" / "gradebook.db"
    whole = path.read_bytes()
    path.write_bytes(damage or whole[:4096] + b"\xff" * (len(whole) - 4096))
    before = path.read_bytes()
    with pytest.raises(GradebookError, match="put a copy of it in its place"):
        ungraded.write_again("warns")
    gradebook.close()
    assert path.read_bytes() == before


def test_a_notebook_that_does_not_fit_is_written_the_next_time(ungraded, monkeypatch):
    write = Path.write_text

    def half(self, text, *more, **how):
        if self.suffix == ".new":
            write(self, text[:500], *more, **how)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, *more, **how)

    folder = ungraded.folder / "_grading" / "autograded" / "warns" / NAME
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", half)
        with pytest.raises(GradebookError, match=r"of warns was not written: No space left"):
            ungraded.write_again("warns")
    assert list(folder.glob("*.ipynb")) == [] and list(folder.glob("*.new")) == []
    ungraded.write_again("warns")
    assert ungraded.graded("warns").cells


def test_the_time_of_submission_that_does_not_fit_is_written_the_next_time(ungraded, monkeypatch):
    write = Path.write_text

    def full(self, text, *more, **how):
        if self.name == "timestamp.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, *more, **how)

    folder = ungraded.folder / "_grading" / "autograded" / "late" / NAME
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        with pytest.raises(GradebookError, match="late was not written"):
            ungraded.write_again("late")
    ungraded.write_again("late")
    assert (folder / "timestamp.txt").is_file()


def test_a_graded_notebook_that_is_no_text_is_written_anew(course_copy):
    path = course_copy.folder / "_grading" / "autograded" / "warns" / NAME / f"{NAME}.ipynb"
    path.chmod(0o644)
    path.write_bytes(b"\xff\xfe half of a notebook")
    course_copy.write_again("warns")
    assert course_copy.graded("warns").cells


def sent(course, student: str):
    """A submission and its stored rows."""
    path = course.folder / "_grading" / "submitted" / student / NAME / f"{NAME}.ipynb"
    made = intake.rebuild(path.read_bytes(), json.loads(RELEASE.read_text("utf-8")), student, NAME)
    with Store(course.folder / "_grading" / "results.db") as store:
        return made, [row for row in store.rows(NAME) if row.student == student]


@pytest.mark.parametrize(
    "text", [b"yesterday-ish", b"\xff\xfe", b"", b"1-1-1 0:0:0 99999999999", b"9" * 9999]
)
def test_a_time_of_submission_that_is_none_costs_a_note_and_nothing_else(text, ungraded):
    folder = ungraded.folder / "_grading" / "submitted" / "warns" / NAME
    (folder / "timestamp.txt").write_bytes(text)
    with gradebook.Writer(gradebook.course_config(ungraded.folder)) as writer:
        for _ in range(2):
            notes = writer.write(*sent(ungraded, "warns"))
            assert notes == (
                "its timestamp.txt holds no time that can be read, so none was taken from it",
            )
        assert writer.write(*sent(ungraded, "late")) == ()
    assert ungraded.rows()["warns"]["timestamp"] == "None"
    assert ungraded.rows()["late"]["timestamp"] == "2026-01-02 12:00:00"
    graded = ungraded.folder / "_grading" / "autograded"
    assert not (graded / "warns" / NAME / "timestamp.txt").exists()
    assert (graded / "late" / NAME / "timestamp.txt").exists()


@pytest.mark.parametrize("text", ["c = (", "import nowhere_to_be_found"])
def test_a_configuration_that_fails_is_a_sentence(text, tmp_path):
    (tmp_path / "nbgrader_config.py").write_text(text)
    with pytest.raises(GradebookError, match=r"nbgrader_config.py cannot be run: \w+Error: "):
        gradebook.course_config(tmp_path)


def test_a_submission_that_fails_half_way_is_not_in_the_gradebook_at_all(ungraded, monkeypatch):
    full = sqlite3.OperationalError("disk I/O error")

    def half_way(self, row, notebook):
        self.book.db.flush()
        raise OperationalError("INSERT", {}, full)

    with gradebook.Writer(gradebook.course_config(ungraded.folder)) as writer:
        with monkeypatch.context() as disk:
            disk.setattr(gradebook.Writer, "_notebook_rows", half_way)
            with pytest.raises(GradebookError, match="Nothing of warns's grades was written"):
                writer.write(*sent(ungraded, "warns"))
            assert ungraded.rows() == {}
        writer.write(*sent(ungraded, "half"))
    assert list(ungraded.rows()) == ["half"], "what failed does not come along later"


def test_a_graded_notebook_can_only_be_read_as_nbgrader_leaves_it(written_course):
    folder = written_course.folder / "_grading" / "autograded" / "warns" / NAME
    assert stat.S_IMODE((folder / f"{NAME}.ipynb").stat().st_mode) == 0o444


def test_a_second_notebook_that_was_not_handed_in_is_zero_and_waits_for_nobody(ungraded):
    with ungraded.book() as book:
        book.update_or_create_notebook("second", NAME)
        how = {"max_score": 1, "cell_type": "code"}
        book.update_or_create_grade_cell("second-check", "second", NAME, **how)
    with gradebook.Writer(gradebook.course_config(ungraded.folder)) as writer:
        writer.write(*sent(ungraded, "warns"))
    assert ungraded.rows()["warns"]["grades"]["second-check"] == [0, None, False]
