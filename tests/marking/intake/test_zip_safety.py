"""Hostile archives and folders: refused or neutralised by name, and nothing is ever unpacked."""

import io
import os
import stat
import zipfile

import pytest
from tests.marking.intake.class_work import NAME, RELEASE_FILE, as_bytes, right

from marking.grading.intake import collect

WORK = as_bytes(right())
FILE = f"{NAME}.ipynb"


def zipped(*entries, compression=zipfile.ZIP_DEFLATED) -> bytes:
    """The bytes of an archive of (name or ZipInfo, data)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return stream.getvalue()


@pytest.fixture
def intake(tmp_path):
    """`intake(bytes)` → the students collected, and {path: why} of what was refused."""

    def run(data: bytes):
        source = tmp_path / "in" / "export.zip"
        source.parent.mkdir()
        source.write_bytes(data)
        submissions, refused = collect(source, NAME, RELEASE_FILE)
        assert [p.name for p in tmp_path.rglob("*")] == ["in", "export.zip"]
        return [s.student for s in submissions], {r.path: r.why for r in refused}

    return run


@pytest.mark.parametrize(
    "path", [f"../../bob/{FILE}", f"/etc/{FILE}", f"C:\\bob\\{FILE}", f"bob\\..\\..\\{FILE}"]
)
def test_a_path_that_leads_out_is_refused(path, intake):
    students, refused = intake(zipped((f"ada/{FILE}", WORK), (path, WORK)))
    assert students == ["ada"]
    assert list(refused.values()) == ["Its path leads out of the archive."]


def test_a_link_in_an_archive_is_refused(intake):
    link = zipfile.ZipInfo(f"bob/{FILE}")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    students, refused = intake(zipped((f"ada/{FILE}", WORK), (link, "/etc/passwd")))
    assert students == ["ada"] and "link" in refused[f"bob/{FILE}"]


def test_links_and_pipes_in_a_folder_are_refused(tmp_path):
    for name in ("ada", "bob", "cem"):
        (tmp_path / "in" / name).mkdir(parents=True)
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(WORK)
    (tmp_path / "in" / "ada" / FILE).write_bytes(WORK)
    (tmp_path / "in" / "bob" / FILE).symlink_to(secret)
    (tmp_path / "in" / "dan").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "in" / "cem" / FILE)
    submissions, refused = collect(tmp_path / "in", NAME, RELEASE_FILE)
    assert [s.student for s in submissions] == ["ada"]
    why = {r.path: r.why for r in refused}
    assert "link" in why[f"bob/{FILE}"] and "link" in why["dan"] and "pipe" in why[f"cem/{FILE}"]


def test_an_entry_that_unpacks_to_too_much_is_refused(intake):
    students, refused = intake(zipped((f"ada/{FILE}", WORK), (f"bob/{FILE}", b" " * (40 << 20))))
    assert students == ["ada"] and "larger than 32 MiB" in refused[f"bob/{FILE}"]


def test_an_entry_that_lies_about_its_size_is_refused(intake):
    size = (40 << 20).to_bytes(4, "little")
    data = zipped((f"ada/{FILE}", WORK), (f"bob/{FILE}", b" " * (40 << 20)))
    students, refused = intake(data.replace(size, (100).to_bytes(4, "little")))
    assert students == ["ada"] and list(refused) == [f"bob/{FILE}"]


def test_an_archive_in_an_archive_in_an_archive_is_refused(intake):
    inner = zipped((FILE, WORK))
    students, refused = intake(zipped(("ada.zip", inner), ("bob.zip", zipped(("x.zip", inner)))))
    assert students == ["ada"]
    assert refused == {"bob.zip/x.zip": "It is an archive inside an archive that was handed in."}


def test_an_encrypted_entry_is_refused(intake):
    data = bytearray(zipped((f"bob/{FILE}", WORK)))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    assert intake(bytes(data)) == ([], {f"bob/{FILE}": "It is encrypted."})


def test_an_odd_compression_is_refused(intake):
    students, refused = intake(zipped((f"bob/{FILE}", WORK), compression=zipfile.ZIP_LZMA))
    assert students == [] and "compressed in a way" in refused[f"bob/{FILE}"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_one_student(intake):
    assert intake(zipped((f"ada/{FILE}", WORK), (f"ada/{FILE}", WORK))) == (["ada"], {})


def test_a_name_in_another_encoding_still_names_a_student(intake):
    data = zipped((f"XXXX/{FILE}", WORK), (f"ada/{FILE}", WORK))
    students, refused = intake(data.replace(b"XXXX", b"\xff\xfe\x80\x81"))
    assert len(students) == 2 and "ada" in students and not refused


def test_a_file_name_on_disk_that_is_not_utf_8_still_names_a_student(tmp_path):
    folder = os.fsencode(tmp_path) + b"/in/\xff\xfe"
    os.makedirs(folder)
    with open(folder + b"/" + FILE.encode(), "wb") as file:
        file.write(WORK)
    submissions, refused = collect(tmp_path / "in", NAME, RELEASE_FILE)
    assert len(submissions) == 1 and submissions[0].student.isascii() and not refused


def test_a_damaged_entry_is_refused(intake):
    data = bytearray(zipped((f"ada/{FILE}", WORK), (f"bob/{FILE}", WORK)))
    start = data.index(b"bob/") + 200
    data[start : start + 50] = b"\xff" * 50
    students, refused = intake(bytes(data))
    assert students == ["ada"] and "cannot be read" in refused[f"bob/{FILE}"]


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip", zipped((f"ada/{FILE}", WORK))[:-30]])
def test_what_is_no_archive_is_refused(data, intake):
    students, refused = intake(data)
    assert students == [] and "no zip archive" in refused["export.zip"]


def test_a_table_of_contents_too_long_to_read_is_refused(intake, monkeypatch):
    monkeypatch.setattr("marking.grading.archive.MOST_DIRECTORY", 60)
    students, refused = intake(zipped((f"ada/{FILE}", WORK), (f"bob/{FILE}", WORK)))
    assert students == [] and "table of contents is too long" in refused["export.zip"]


def test_more_files_than_may_be_are_left_out_and_it_is_said(intake, monkeypatch):
    monkeypatch.setattr("marking.grading.archive.MOST_FILES", 2)
    students, refused = intake(zipped(*((f"{name}/{FILE}", WORK) for name in "abc")))
    assert students == ["a", "b"] and "more than 2 files" in refused["export.zip"]


def test_a_path_of_thousands_of_characters_is_refused(intake):
    students, refused = intake(zipped((f"ada/{FILE}", WORK), ("-1" * 9000 + ".ipynb", WORK)))
    assert students == ["ada"] and "longer than 500 characters" in next(iter(refused.values()))
