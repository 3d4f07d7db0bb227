"""The gradebook in the columns of Canvas, Moodle and Gradescope, read back."""

import csv
import io
import json

import pytest

pytest.importorskip("nbgrader", reason="pip install -e '.[grade]'")

from tests.marking.nbgrader_course import NAME, POINTS

from marking.grading import exports, gradebook
from marking.grading.gradebook_rows import WAITS, ExportError, only_assignment, rows
from marking.grading.outputs import UNBOXED

pytestmark = pytest.mark.bubblewrap
MOST = sum(POINTS.values()) + 2  # and the answer in words


@pytest.fixture
def course(course_copy):
    """The class with names, one manual grade, and one exercise graded without a sandbox."""
    with course_copy.book() as book:
        book.update_or_create_student(
            "master",
            first_name="Ada",
            last_name="Lovelace",
            email="ada@a.example",
            lms_user_id="17",
        )
        book.update_or_create_student("half", first_name="=1+1")
        grade = book.find_grade("why_faster-answer", NAME, NAME, "master")
        grade.manual_score, grade.needs_manual_grade = 2.0, False
        book.db.commit()
    return course_copy


def unboxed(course, student: str) -> None:
    path = course.folder / "_grading" / "autograded" / student / NAME / f"{NAME}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(c for c in notebook["cells"] if c["id"] == "softmax-check")
    cell["metadata"]["clearhead"]["sandbox"] = "none"
    path.chmod(0o644)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def no_score(course, student: str) -> None:
    with course.book() as book:
        grade = book.find_grade("softmax-check", NAME, NAME, student)
        grade.auto_score, grade.needs_manual_grade = None, True
        book.db.commit()


def exported(course, to: str, **more) -> str:
    path = course.folder / f"out.{to}"
    exports.export(gradebook.course_config(course.folder), NAME, to, path, **more)
    return path.read_text(encoding="utf-8")


def lines(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_canvas_reads_its_own_columns(course):
    read = lines(exported(course, "canvas", assignment_id="4242"))
    columns = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", f"{NAME} (4242)"]
    assert list(read[0])[:6] == columns
    assert read[0]["Student"].strip() == "Points Possible"
    assert float(read[0][f"{NAME} (4242)"]) == MOST
    students = {row["SIS User ID"]: row for row in read[1:]}
    assert students["master"]["Student"] == "Lovelace, Ada"
    assert students["master"]["ID"] == "17"
    assert float(students["master"][f"{NAME} (4242)"]) == MOST


def test_moodle_reads_its_own_columns(course):
    students = {row["ID number"]: row for row in lines(exported(course, "moodle"))}
    ada = students["master"]
    assert (ada["Identifier"], ada["Full name"]) == ("Participant 17", "Ada Lovelace")
    assert (ada["Email address"], float(ada["Grade"])) == ("ada@a.example", MOST)
    assert float(ada["Maximum grade"]) == MOST
    assert students["hostile"]["Grade"] == "0"


def test_gradescope_has_a_file_for_each_student_with_a_test_for_each_exercise(course):
    folder = course.folder / "scope"
    config = gradebook.course_config(course.folder)
    number = exports.export(config, NAME, "gradescope", folder)
    assert len(list(folder.glob("*/results.json"))) == number == len(course.rows())
    half = json.loads((folder / "half" / "results.json").read_text(encoding="utf-8"))
    tests = {test["name"]: test for test in half["tests"]}
    assert list(tests)[:2] == ["softmax-check", "scaled_dot_product-check"], "the notebook's order"
    assert set(tests) == {*POINTS, "why_faster-answer"}
    assert half["score"] == pytest.approx(sum(test["score"] for test in half["tests"]))
    assert half["max_score"] == sum(test["max_score"] for test in half["tests"]) == MOST
    assert "nan-on-empty" in tests["softmax-check"]["output"]
    assert {test["visibility"] for test in half["tests"]} == {"after_published"}
    assert half["stdout_visibility"] == "hidden"


def test_every_format_takes_the_late_penalty_off(course):
    config = gradebook.course_config(course.folder)
    late = next(row for row in rows(config, NAME) if row.student == "late")
    assert (late.score, late.penalty > 0) == (0.0, True)
    assert exports.gradescope(late)["score"] == 0.0
    assert {row["ID number"]: row for row in lines(exported(course, "moodle"))}["late"][
        "Grade"
    ] == "0"


def test_a_score_by_our_fault_is_left_empty_and_not_zero(course):
    no_score(course, "warns")
    canvas = {row["SIS User ID"]: row for row in lines(exported(course, "canvas"))}
    assert canvas["warns"][NAME] == "" and canvas["hostile"][NAME] == "0"
    assert WAITS in canvas["warns"]["Notes"]
    found = next(r for r in rows(gradebook.course_config(course.folder), NAME) if not r.has_score)
    told = exports.gradescope(found)
    assert "softmax-check" not in {test["name"] for test in told["tests"]}
    assert "softmax-check has no score yet." in told["output"]


def test_what_was_graded_without_a_sandbox_is_stamped_in_every_format(course):
    assert UNBOXED not in exported(course, "canvas") + exported(course, "moodle")
    unboxed(course, "half")
    canvas = {row["SIS User ID"]: row for row in lines(exported(course, "canvas"))}
    moodle = {row["ID number"]: row for row in lines(exported(course, "moodle"))}
    assert UNBOXED in canvas["half"]["Notes"] and UNBOXED not in canvas["warns"]["Notes"]
    assert UNBOXED in moodle["half"]["Feedback comments"]
    config = gradebook.course_config(course.folder)
    told = {row.student: exports.gradescope(row) for row in rows(config, NAME)}
    assert UNBOXED in told["half"]["output"]
    assert told["half"]["extra_data"]["sandbox"] == "none"
    assert told["warns"]["extra_data"]["sandbox"] == "bubblewrap"


def test_a_name_is_never_a_formula(course):
    canvas = {row["SIS User ID"]: row for row in lines(exported(course, "canvas"))}
    assert canvas["half"]["Student"] == "'=1+1"


def test_what_cannot_be_exported_is_one_sentence(course, tmp_path):
    config = gradebook.course_config(course.folder)
    with pytest.raises(ExportError, match="no flying; it has attention"):
        rows(config, "flying")
    with pytest.raises(ExportError, match="choose canvas, moodle, gradescope"):
        exports.export(config, NAME, "paper", tmp_path / "x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ExportError, match="could not be written"):
        exports.export(config, NAME, "canvas", tmp_path / "taken")


def test_the_command_writes_the_file_and_says_what_is_unfinished(course):
    told = course.python("-m", "marking", "export", "--to", "canvas", "canvas.csv")
    assert "8 students in canvas.csv." in told
    assert "wait for a person" in told
    assert lines((course.folder / "canvas.csv").read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
def test_the_only_graded_assignment_need_not_be_named_and_one_of_several_must(course):
    config = gradebook.course_config(course.folder)
    assert only_assignment(config) == NAME
    with course.book() as book:
        book.update_or_create_assignment("ungraded")
    assert only_assignment(config) == NAME
    with course.book() as book:
        book.update_or_create_assignment("also")
        book.add_submission("also", "master")
    with pytest.raises(ExportError, match=f"also or {NAME}"):
        only_assignment(config)


def test_a_gradebook_without_submissions_says_to_grade_first(tmp_path):
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()")
    with pytest.raises(ExportError, match="clearhead grade"):
        only_assignment(gradebook.course_config(tmp_path))
