"""Whose work it is: nbgrader's folder, and what Canvas, Moodle, Gradescope and people export."""

import os
import zipfile

import pytest
from tests.marking.intake.class_work import NAME, RELEASE_FILE, answer, as_bytes, right

from marking.errors import CourseError
from marking.grading.archive import opened
from marking.grading.intake import collect
from marking.grading.lms import safe_id

WORK = as_bytes(right())
OLDER = as_bytes(answer(right(), "softmax", "softmax = None  # an older try"))
FILE = f"{NAME}.ipynb"

NBGRADER = {f"submitted/ada/{NAME}/{FILE}": "ada", f"submitted/bob/{NAME}/Copy of {FILE}": "bob"}
CANVAS = {
    f"lovelaceada_12_345_{FILE}": "lovelaceada_12",
    f"lovelaceada_13_346_{FILE}": "lovelaceada_13",
    "boolegeorge_LATE_14_347_my work.ipynb": "boolegeorge_14",
}
MOODLE = {
    f"Ada Lovelace_12345_assignsubmission_file_/{FILE}": "Ada-Lovelace_12345",
    f"Ada Lovelace_12346_assignsubmission_file_/{NAME}/{FILE}": "Ada-Lovelace_12346",
    f"George Boole_12347_assignsubmission_file_{FILE}": "George-Boole_12347",
}
GRADESCOPE = {
    f"assignment_9_export/submission_101/{FILE}": "ada@example.org",
    f"assignment_9_export/submission_102/a/b/{FILE}": "s2",
    f"assignment_9_export/submission_103/{FILE}": "submission_103",
}
FOLDERS = {
    f"class/ada/{FILE}": "ada",
    f"class/bob/week 1/{FILE}": "bob",
    "class/cem/anything.ipynb": "cem",
}
FLAT = {
    "ada.ipynb": "ada",
    f"{NAME}_bob.ipynb": "bob",
    f"cem {FILE}": "cem",
    "student-1.ipynb": "student-1",
    "student-2.ipynb": "student-2",
}
GROUPS = {"a/ada.ipynb": "ada", "a/bob.ipynb": "bob", f"c/{FILE}": "c"}
NAMED_LIKE_THE_ASSIGNMENT = {f"{NAME}/ada.ipynb": "ada", f"{NAME}/bob.ipynb": "bob"}
LAYOUTS = {
    "nbgrader": NBGRADER,
    "canvas": CANVAS,
    "moodle": MOODLE,
    "gradescope": GRADESCOPE,
    "folders": FOLDERS,
    "flat": FLAT,
    "groups": GROUPS,
    "named like the assignment": NAMED_LIKE_THE_ASSIGNMENT,
}
LISTED = """---
submission_101:
  :submitters:
  - :name: Ada Lovelace
    :sid: ''
    :email: ada@example.org
submission_102:
  :submitters:
  - :name: Bob
    :sid: s2
    :email: bob@example.org
"""


def write(folder, files: dict) -> None:
    for path, data in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def zipped(path, files: dict) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def collected(source):
    submissions, refused = collect(source, NAME, RELEASE_FILE)
    return {s.student: s for s in submissions}, {r.path: r for r in refused}


def contents(layout: str) -> dict:
    files = dict.fromkeys(LAYOUTS[layout], WORK)
    if layout == "gradescope":
        files["assignment_9_export/submission_metadata.yml"] = LISTED.encode()
    return files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_student_is_read_from_the_path_in_a_folder(layout, tmp_path):
    write(tmp_path / "export", contents(layout))
    found, refused = collected(tmp_path / "export")
    assert sorted(found) == sorted(LAYOUTS[layout].values()) and not refused


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_student_is_read_from_the_path_in_a_zip(layout, tmp_path):
    zipped(tmp_path / "export.zip", contents(layout))
    found, refused = collected(tmp_path / "export.zip")
    assert sorted(found) == sorted(LAYOUTS[layout].values()) and not refused


@pytest.mark.parametrize("below", ["submitted", "submitted/ada", f"submitted/ada/{NAME}"])
def test_nbgraders_student_is_found_from_any_folder_of_it(below, tmp_path):
    write(tmp_path, {f"submitted/ada/{NAME}/{FILE}": WORK})
    assert list(collected(tmp_path / below)[0]) == ["ada"]


def test_one_notebook_alone_is_one_submission(tmp_path):
    write(tmp_path, {"ada.ipynb": WORK})
    assert list(collected(tmp_path / "ada.ipynb")[0]) == ["ada"]


def test_canvas_lateness_reaches_the_staff(tmp_path):
    write(tmp_path, dict.fromkeys(CANVAS, WORK))
    found, _ = collected(tmp_path)
    assert found["boolegeorge_14"].notes == ("Canvas says that it was late",)
    assert found["lovelaceada_12"].notes == ()


def test_the_zip_that_a_student_handed_in_stands_for_a_folder(tmp_path):
    zipped(tmp_path / "work.zip", {f"my homework/{FILE}": WORK, "figure.png": b"\x89PNG"})
    inside = (tmp_path / "work.zip").read_bytes()
    zipped(tmp_path / "export.zip", {"Ada_12_assignsubmission_file_/work.zip": inside})
    found, refused = collected(tmp_path / "export.zip")
    assert list(found) == ["Ada_12"] and not refused


def test_of_several_files_of_a_student_the_latest_stands_with_a_note(tmp_path):
    folder = f"ada/{NAME}"
    write(tmp_path, {f"{folder}/{FILE}": OLDER, f"{folder}/{NAME} (1).ipynb": WORK})
    os.utime(tmp_path / folder / FILE, (1, 1))
    found, _ = collected(tmp_path)
    assert "an older try" not in "".join(found["ada"].cells)
    assert f"{NAME} (1).ipynb was taken; 1 older" in found["ada"].notes[0]


def test_of_several_attempts_on_canvas_the_highest_number_stands(tmp_path):
    write(tmp_path, {f"ada_1_20_{FILE}": WORK, f"ada_1_9_{NAME}-1.ipynb": OLDER})
    os.utime(tmp_path / f"ada_1_20_{FILE}", (1, 1))
    found, _ = collected(tmp_path)
    assert list(found) == ["ada_1"] and "an older try" not in "".join(found["ada_1"].cells)


def test_an_unreadable_latest_file_is_refused_and_the_one_before_it_stands(tmp_path):
    write(tmp_path, {f"ada/{FILE}": WORK, f"ada/Copy of {FILE}": b"<html>"})
    os.utime(tmp_path / "ada" / FILE, (1, 1))
    found, refused = collected(tmp_path)
    assert "an older try" not in "".join(found["ada"].cells)
    assert [r.why for r in refused.values()] == ["It is not a notebook but a web page."]


def test_a_file_that_is_no_notebook_is_refused_by_name_and_the_rest_go_on(tmp_path):
    write(tmp_path, {f"ada/{FILE}": WORK, "bob/attention.pdf": b"%PDF", f"cem/{FILE}": b"junk"})
    write(tmp_path, {"ada/notes.pdf": b"%PDF"})
    found, refused = collected(tmp_path)
    assert list(found) == ["ada"]
    assert refused["bob/attention.pdf"].student == "bob"
    assert ".pdf" in refused["bob/attention.pdf"].why
    assert refused[f"cem/{FILE}"].why == "It is not a notebook: its text is not JSON."
    assert len(refused) == 2


def test_other_assignments_and_editors_leavings_are_passed_over(tmp_path):
    release = tmp_path / "exercises" / NAME / FILE
    write(tmp_path, {f"exercises/{NAME}/{FILE}": RELEASE_FILE.read_bytes()})
    write(tmp_path, {"exercises/lora/lora.ipynb": WORK})
    files = {f"s/ada/{NAME}/{FILE}": WORK, "s/ada/lora/lora.ipynb": WORK}
    files |= {f"s/ada/{NAME}/.ipynb_checkpoints/{NAME}-checkpoint.ipynb": OLDER}
    files |= {f"s/ada/{NAME}/._{FILE}": b"\0", f"s/ada/{NAME}/timestamp.txt": b"2026"}
    write(tmp_path, files)
    submissions, refused = collect(tmp_path / "s", NAME, release)
    assert [(s.student, s.notes) for s in submissions] == [("ada", ())] and not refused


def test_a_source_that_is_not_there_is_named():
    with pytest.raises(CourseError, match="There is nothing at nowhere"):
        collect("nowhere", NAME, RELEASE_FILE)


@pytest.mark.parametrize(
    "raw", ["../../etc", "/", "..", ".ssh", "a/b", "张伟", "é", "a\0b", "x" * 999]
)
def test_a_safe_id_can_name_a_folder_and_nothing_else(raw, tmp_path):
    made = safe_id(raw)
    (tmp_path / made).mkdir()
    assert (tmp_path / made).resolve().parent == tmp_path.resolve()
    assert made.isascii() and 0 < len(made) < 80 and not made.startswith((".", "-"))


def test_different_names_keep_different_ids(tmp_path):
    names = ["张伟", "李娜", "René", "Rene", "a b", "a-b", "a?b", "a*b"]
    write(tmp_path, {f"{name}/{FILE}": WORK for name in names})
    assert len(collected(tmp_path)[0]) == len(names)


def test_one_name_written_in_two_ways_is_one_student(tmp_path):
    write(tmp_path, {f"Ren\u00e9/{FILE}": WORK, f"Rene\u0301/{NAME} (1).ipynb": WORK})
    write(tmp_path, {f"bob/{FILE}": WORK})
    assert len(collected(tmp_path)[0]) == 2


def test_a_folder_named_like_the_assignment_with_one_students_file(tmp_path):
    write(tmp_path / NAME, {"ada.ipynb": WORK})
    assert list(collected(tmp_path / NAME)[0]) == ["ada"]


def test_two_names_that_differ_in_what_is_left_out_have_two_ids():
    assert safe_id("a?b") != safe_id("a*b")


def test_a_refused_file_beside_a_readable_one_is_named_once(tmp_path):
    write(tmp_path / "in", {f"ada/{FILE}": WORK})
    (tmp_path / "in" / "ada" / "newer.ipynb").symlink_to(RELEASE_FILE)
    submissions, refused = collect(tmp_path / "in", NAME, RELEASE_FILE)
    assert [(s.student, s.notes) for s in submissions] == [("ada", ())]
    assert [r.path for r in refused] == ["ada/newer.ipynb"]


def test_no_more_than_so_many_files_of_a_student_are_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("marking.grading.lms.MOST_TRIED", 2)
    write(tmp_path, {f"ada/{FILE}": WORK, f"bob/{FILE}": WORK})
    write(tmp_path, {f"ada/copy {number}.ipynb": b"junk" for number in range(5)})
    os.utime(tmp_path / "ada" / FILE, (1, 1))
    submissions, refused = collect(tmp_path, NAME, RELEASE_FILE)
    assert [s.student for s in submissions] == ["bob"] and len(refused) == 2


def test_a_canvas_number_of_thousands_of_digits_is_read(tmp_path):
    numbers = ("9" * 150, "8" * 150)
    files = {f"ada_1_{number}_x.ipynb": WORK for number in numbers}
    assert list(collected_files(tmp_path, files)) == ["ada_1"]


def collected_files(folder, files: dict) -> dict:
    write(folder, files)
    return collected(folder)[0]


def test_of_two_files_of_one_time_the_one_of_the_assignments_name_stands(tmp_path):
    write(tmp_path, {f"ada/{FILE}": WORK, "ada/a scratch pad.ipynb": OLDER})
    for file in (tmp_path / "ada").iterdir():
        os.utime(file, (1, 1))
    found, _ = collected(tmp_path)
    assert found["ada"].notes[0].startswith(f"ada/{FILE} was taken")


def test_gradescopes_list_that_cannot_be_read_costs_the_names_alone(tmp_path):
    write(tmp_path, {f"submission_{n}/{FILE}": WORK for n in (101, 102)})
    (tmp_path / "submission_metadata.yml").symlink_to(RELEASE_FILE)
    assert list(collected(tmp_path)[0]) == ["submission_101", "submission_102"]


def test_a_students_own_list_names_nobody(tmp_path):
    files = {f"x/submission_{n}/{FILE}": WORK for n in (101, 102)}
    files["x/submission_101/submission_metadata.yml"] = LISTED.encode()
    assert list(collected_files(tmp_path, files)) == ["submission_101", "submission_102"]


INVENTED = [
    f"alicea_111_999999_{FILE}",
    f"Alice A_111_assignsubmission_file_/{FILE}",
    f"alicea/{NAME}/{FILE}",
    f"submission_5/{FILE}",
]


@pytest.mark.parametrize("name", INVENTED)
@pytest.mark.parametrize("sent", ["mallorym_222_501_work.zip", "mallory.zip", "Mallory/work.zip"])
def test_no_name_inside_a_zip_that_was_handed_in_names_a_student(name, sent, tmp_path):
    zipped(tmp_path / "work.zip", {name: OLDER, "alicea.ipynb": OLDER, "b.ipynb": OLDER})
    inside = (tmp_path / "work.zip").read_bytes()
    zipped(tmp_path / "export.zip", {f"alicea_111_500_{FILE}": WORK, sent: inside})
    found, refused = collected(tmp_path / "export.zip")
    assert sorted(name[:6].lower() for name in found) == ["alicea", "mallor"] and not refused
    assert "an older try" not in "".join(found["alicea_111"].cells)


@pytest.mark.parametrize(
    ("path", "student"),
    [
        ("mallorym_222_501_Alice A_111_assignsubmission_file_.ipynb", "mallorym_222"),
        ("M_22_assignsubmission_file_A_11_assignsubmission_file_.ipynb", "M_22"),
        (f"mallorym_222_501_work/alicea_111_999_{FILE}", "mallorym_222"),
    ],
)
def test_the_outermost_name_that_an_lms_gives_counts(path, student, tmp_path):
    assert list(collected_files(tmp_path, {path: WORK})) == [student]


def test_of_a_zip_handed_in_canvas_attempt_number_counts(tmp_path):
    zipped(tmp_path / "work.zip", {f"x_1_1_{FILE}": WORK})
    inside = (tmp_path / "work.zip").read_bytes()
    files = {"ada_1_20_work.zip": inside, f"ada_1_9_{FILE}": OLDER}
    zipped(tmp_path / "export.zip", files)
    found, _ = collected(tmp_path / "export.zip")
    assert list(found) == ["ada_1"] and "an older try" not in "".join(found["ada_1"].cells)


def test_gradescopes_list_is_the_one_beside_the_submissions(tmp_path):
    own = LISTED.replace("submission_101", "submission_6").encode()
    zipped(tmp_path / "work.zip", {"submission_metadata.yml": own})
    files = {"submission_6/submission_metadata.yml": own, f"submission_6/{FILE}": WORK}
    files["a.zip"] = (tmp_path / "work.zip").read_bytes()
    files |= {"submission_metadata.yml": LISTED.encode(), f"submission_101/{FILE}": WORK}
    zipped(tmp_path / "export.zip", files)
    assert sorted(collected(tmp_path / "export.zip")[0]) == ["ada@example.org", "submission_6"]


@pytest.mark.parametrize("folder", ["exercises", "solutions"])
def test_the_folder_of_a_release_or_a_master_is_no_student(folder, tmp_path):
    write(tmp_path, {f"{folder}/{NAME}/{FILE}": WORK})
    assert folder not in collected(tmp_path / folder / NAME)[0]


def test_a_folder_with_an_export_alone_in_it_is_that_export(tmp_path):
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    archive = downloads / "submissions.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name in ("ada_111_500_attention.ipynb", "bob_222_501_attention.ipynb"):
            made.writestr(name, "{}")
    (downloads / ".DS_Store").write_bytes(b"")
    with opened(downloads) as found, opened(archive) as same:
        assert [file.outer for file in found] == [file.outer for file in same]


def test_the_folder_that_a_zip_lies_in_is_no_student(tmp_path):
    (tmp_path / "bob").mkdir()
    zipped(tmp_path / "bob" / "export.zip", {f"{NAME}/{FILE}": WORK})
    assert "bob" not in collected(tmp_path / "bob" / "export.zip")[0]


def test_the_reason_of_a_refusal_is_short_whatever_the_name(tmp_path):
    write(tmp_path, {f"ada/x.{'y' * 200}": WORK})
    refused = collected(tmp_path)[1]
    assert all(len(r.why) < 100 for r in refused.values()) and refused


@pytest.mark.parametrize("ending", [".json", ".txt", ".html"])
def test_an_ending_that_a_browser_added_is_passed_over(ending, tmp_path):
    assert list(collected_files(tmp_path, {f"ada/{FILE}{ending}": WORK})) == ["ada"]


def test_a_release_that_cannot_be_read_is_named(tmp_path):
    write(tmp_path, {f"ada/{FILE}": WORK, "released/x/x.ipynb": b"{}"})
    write(tmp_path, {"released/y/y.ipynb": b"[]", "released/z/z.ipynb": b'{"cells": ["x"]}'})
    released = [tmp_path / "released" / name / f"{name}.ipynb" for name in "xyz"]
    for path in (*released, tmp_path / "nowhere.ipynb"):
        with pytest.raises(CourseError, match=r"release notebook .* cannot be read"):
            collect(tmp_path, NAME, path)


def test_of_an_unreadable_latest_file_the_one_before_it_is_taken_and_says_why(tmp_path):
    write(tmp_path, {f"ada/{FILE}": WORK, "ada/newer.ipynb": b"junk"})
    os.utime(tmp_path / "ada" / FILE, (1, 1))
    found, refused = collected(tmp_path)
    assert list(refused) == ["ada/newer.ipynb"]
    assert "for ada/newer.ipynb could not be read" in found["ada"].notes[0]


def test_a_copy_of_another_assignment_in_its_own_folder_is_not_this_ones(tmp_path):
    other = "attention" if NAME != "attention" else "lora"
    write(tmp_path, {f"ada/{NAME}/{FILE}": WORK, f"ada/{other}/Copy of {other}.ipynb": b"junk"})
    found, refused = collected(tmp_path)
    assert list(found) == ["ada"] and not refused
