"""Points filled into Canvas's or Moodle's own file: one column, and not a character besides."""

import pytest

pytest.importorskip("nbgrader", reason="pip install -e '.[grade]'")

from marking.grading.exports import export_into
from marking.grading.gradebook_rows import ExportError, Part, Row
from marking.grading.worksheet import fill

CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,warm-up (11),attention (4242),Final Score\r\n"
    ",,,,,Manual Posting,,(read only)\r\n"
    "    Points Possible,,,,,5,41,(read only)\r\n"
    '"Lovelace, Ada",17,s17,ada,"Section ""A"", group 1",5,,\r\n'
    'Boole George,14,,"george",B,,7.5,"3,1"\r\n'
    "Kovalevskaya Sofia,15,s15,sofia,B,1,2,3\r\n"
    "\r\n"
    '"Student, Test",99,,test,,,,'
)
MOODLE = (
    "Identifier;Full name;Email address;Status;Grade;Maximum grade;Feedback comments\n"
    "Participant 12345;Ada Lovelace;ada@a.example;Submitted;;41,00;\n"
    "Participant 12346;Šárka Nová;s@a.example;Submitted;3,50;41,00;good\n"
)


def row(student: str, score: float | None, **more) -> Row:
    part = Part("softmax-check", score, 41.0, "", True, False)
    plain = {"first_name": "", "last_name": "", "email": "", "lms_id": "", "penalty": 0.0}
    return Row(student=student, score=score or 0.0, most=41.0, parts=(part,), **(plain | more))


ADA = row("ada", 38.5, lms_id="17")


def filled(text: str, found: list[Row], to: str = "canvas", **more) -> str:
    return fill(text.encode(), found, to, "attention", **more).data.decode()


def test_one_cell_a_student_changes_and_not_a_character_besides():
    made = filled(CANVAS, [ADA, row("sofia", 41.0)])
    expected = CANVAS.replace('group 1",5,,', 'group 1",5,38.5,').replace("1,2,3", "1,41,3")
    assert made == expected


@pytest.mark.parametrize("who", [{"lms_id": "17"}, {"student": "s17"}, {"student": "ADA"}])
def test_a_student_is_found_by_any_id_of_the_lms(who):
    student = who.pop("student", "someone")
    assert 'group 1",5,1,' in filled(CANVAS, [row(student, 1.0, **who)])


def test_the_id_that_intake_made_of_canvass_file_name_is_found():
    assert 'group 1",5,1,' in filled(CANVAS, [row("lovelaceada_17", 1.0)])


def test_a_number_alone_is_nobody():
    assert fill(CANVAS.encode(), [row("team_17", 1.0)], "canvas", "attention").count == 0


def test_moodles_file_keeps_its_delimiter_and_its_comma():
    found = [row("Ada-Lovelace_12345", 38.5), row("x", 0.0, email="S@a.example")]
    made = filled(MOODLE, found, "moodle")
    assert made == MOODLE.replace("Submitted;;", "Submitted;38,5;").replace("3,50", "0")


def test_who_is_in_one_of_the_two_alone_is_listed():
    made = fill(CANVAS.encode(), [ADA, row("nobody", 3.0)], "canvas", "attention")
    assert made.not_in_file == ["nobody"] and made.count == 1
    assert made.not_in_gradebook == ["Boole George", "Kovalevskaya Sofia", "Student, Test"]


def test_an_id_that_two_students_share_is_nobodys():
    twins = [row("a", 1.0, lms_id="17"), row("b", 2.0, lms_id="17")]
    made = fill(CANVAS.encode(), twins, "canvas", "attention")
    assert (made.count, made.not_in_file) == (0, ["a", "b"])
    both = [row("s17", 1.0), row("someone", 2.0, lms_id="17")]
    assert fill(CANVAS.encode(), both, "canvas", "attention").count == 0


def test_a_line_without_a_number_is_nobodys():
    blank = MOODLE.replace("Participant 12345", "Participant ").replace("ada@a.example", "")
    assert fill(blank.encode(), [row("ada", 1.0)], "moodle", "attention").count == 0


def test_two_lines_of_one_student_are_not_both_filled():
    again = CANVAS + "\r\nLovelace Again,17,,,,,9,\r\n"
    made = fill(again.encode(), [ADA], "canvas", "attention")
    assert made.count == 1 and "Lovelace Again" in made.not_in_gradebook
    assert made.data.decode().endswith("Lovelace Again,17,,,,,9,\r\n")


def test_a_student_without_a_score_keeps_what_was_there():
    made = fill(CANVAS.encode(), [row("george", None)], "canvas", "attention")
    assert made.data.decode() == CANVAS and made.count == 0 and not made.not_in_file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso8859-2", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_files_encoding_and_delimiter_stay(encoding, delimiter):
    text = MOODLE.replace("41,00", "41").replace("3,50", "3").replace(";", delimiter)
    text = text.replace("Šárka", "Zoë") if encoding == "cp1252" else text
    text = text.replace("Nová", "Novak") if encoding == "cp1252" else text
    data = text.encode(encoding)
    made = fill(data, [row("x", 2.5, email="ada@a.example")], "moodle", "attention").data
    before, after = (f"Submitted{delimiter}{points}{delimiter}41" for points in ("", "2.5"))
    assert made == text.replace(before, after, 1).encode(encoding)


def test_bytes_of_any_encoding_stay():
    odd = b"Participant 9;" + bytes(range(0x80, 0x100)) + b";;Late;%s;41,00;\n"
    data = MOODLE.encode("utf-8") + odd
    made = fill(data % b"", [row("x", 2.0, lms_id="9")], "moodle", "attention").data
    assert made == data % b"2"


def test_a_line_that_is_cut_off_stays_as_it_is():
    made = fill((CANVAS + "\r\nCut Off,18").encode(), [row("18", 1.0)], "canvas", "attention")
    assert made.data.decode() == CANVAS + "\r\nCut Off,18" and made.not_in_file == ["18"]


def test_the_column_is_found_by_name_or_number_or_asked_for():
    assert "1,41,3" in filled(CANVAS, [row("sofia", 41.0)], column="4242")
    assert "B,41,2,3" in filled(CANVAS, [row("sofia", 41.0)], column="warm-up (11)")
    for text in (
        CANVAS.replace("attention (4242)", "essay"),
        CANVAS.replace("warm-up", "attention"),
    ):
        with pytest.raises(ExportError, match=r"give one with --column. It has: .*Final Score"):
            filled(text, [ADA])


def test_another_number_of_points_is_said():
    made = fill(CANVAS.replace(",5,41,", ",5,100,").encode(), [ADA], "canvas", "attention")
    assert len(made.notes) == 1 and "counts to 100 and the gradebook to 41" in made.notes[0]
    assert fill(CANVAS.encode(), [ADA], "canvas", "attention").notes == []
    assert fill(MOODLE.encode(), [ADA], "moodle", "attention").notes == []
    other = MOODLE.replace("41,00", "10").encode()
    assert len(fill(other, [ADA], "moodle", "attention").notes) == 1, "said once"


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xfe\x00"])
def test_what_is_no_gradebook_file_is_refused(data):
    with pytest.raises(ExportError, match="no gradebook file"):
        fill(data, [ADA], "canvas", "attention")


def test_a_quotation_mark_that_is_never_closed_is_refused():
    with pytest.raises(ExportError, match="never closed"):
        filled(CANVAS.replace('"Lovelace', '""Lovelace'), [ADA])


@pytest.mark.bubblewrap
def test_the_command_fills_the_file_and_lists_who_is_missing(course_copy):
    theirs = course_copy.folder / "theirs.csv"
    theirs.write_text("Student,ID,SIS User ID,Attention\nHalf,1,half,\nNobody,2,n,8\n")
    options = ["export", "out.csv", "--to", "canvas", "--into", "theirs.csv"]
    told = course_copy.python("-m", "marking", *options)
    score = f"{course_copy.rows()['half']['score']:.2f}".rstrip("0").rstrip(".")
    made = (course_copy.folder / "out.csv").read_text()
    assert made == f"Student,ID,SIS User ID,Attention\nHalf,1,half,{score}\nNobody,2,n,8\n"
    assert "1 students' points in out.csv." in told and "Nobody." in told and "hostile" in told
    assert theirs.read_text().count("half,\n") == 1
    from marking.grading.gradebook import course_config

    config = course_config(course_copy.folder)
    for path, to, why in ((theirs, "canvas", "name another"), (theirs, "gradescope", "not of")):
        with pytest.raises(ExportError, match=why):
            export_into(config, "attention", to, path, theirs=theirs)
