"""What stands between intake and a hostile archive, line by line: each limit by itself."""

import gc
import io
import struct
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from tests.marking.intake.class_work import NAME, RELEASE_FILE, as_bytes, right

from marking.grading import archive
from marking.grading.archive import File
from marking.grading.intake import collect
from marking.grading.notebook_file import Unreadable

WORK = as_bytes(right())
FILE = f"{NAME}.ipynb"
RAISED = [
    zipfile.BadZipFile("Bad CRC-32"),
    zlib.error("invalid block"),
    EOFError(),
    OSError(5, "Input/output error"),
    NotImplementedError("that compression"),
    RuntimeError("File is encrypted"),
    ValueError("negative seek"),
    struct.error("unpack"),
    IndexError("index out of range"),
    OverflowError("too large"),
]


def zipped(folder: Path, *entries) -> Path:
    """An archive of (name or ZipInfo, data) in this folder."""
    path = folder / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for entry, data in entries:
            made.writestr(entry, data)
    return path


def collected(source: Path):
    submissions, refused = collect(source, NAME, RELEASE_FILE)
    return [s.student for s in submissions], [(r.path, r.why) for r in refused]


def parts(source: Path) -> list[tuple[str, ...]]:
    with archive.opened(source) as found:
        return [file.parts for file in found]


def test_a_refused_file_is_never_opened():
    with pytest.raises(Unreadable, match="It is a link"):
        File("x", ("x",), refused="It is a link.", open=pytest.fail).read()


def test_of_a_long_file_no_more_is_read_than_tells_that_it_is_too_long():
    stream = io.BytesIO(b"x" * 1000)
    stream.close = lambda: None
    with pytest.raises(Unreadable, match="larger than 0 MiB"):
        File("x", ("x",), open=lambda: stream).read(10)
    assert stream.tell() == 11
    assert File("x", ("x",), open=lambda: io.BytesIO(b"x" * 10)).read(10) == b"x" * 10


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_a_damaged_entry_raises_is_a_sentence(error):
    def damaged():
        raise error

    with pytest.raises(Unreadable, match=r"^It cannot be read: .+\.$"):
        File("x", ("x",), open=damaged).read()


def test_no_more_files_are_looked_at_than_may_be(tmp_path, monkeypatch):
    def endless(found):
        for number in range(10):
            yield File(f"{number}", (f"{number}",))
        pytest.fail("it looks at every file")

    monkeypatch.setattr(archive, "MOST_FILES", 5)
    monkeypatch.setattr(archive, "_in_folder", endless)
    with archive.opened(tmp_path) as found:
        assert len(found) == 6 and "more than 5 files" in found[-1].refused


def test_what_systems_add_to_an_archive_is_passed_over(tmp_path):
    leavings = [f"__MACOSX/bob/._{FILE}", f"bob/.ipynb_checkpoints/{FILE}", "bob/.DS_Store"]
    source = zipped(tmp_path, (f"ada/{FILE}", WORK), *((name, b"junk") for name in leavings))
    assert collected(source) == (["ada"], [])


def test_an_entry_for_a_folder_is_no_file(tmp_path):
    source = zipped(tmp_path, ("ada/", b""), (f"ada/{FILE}", WORK), ("bob.ipynb/", b""))
    assert parts(source) == [("ada", FILE)]


def test_dots_in_a_path_name_no_folder(tmp_path):
    source = zipped(tmp_path, (f"./ada/./{FILE}", WORK), (f"bob//{FILE}", WORK))
    assert parts(source) == [("ada", FILE), ("bob", FILE)]


def test_an_entry_without_a_name_costs_nothing_else(tmp_path):
    source = zipped(tmp_path, (f"ada/{FILE}", WORK), (".", b"x"))
    assert collected(source)[0] == ["ada"] and ("unnamed",) in parts(source)


def test_no_part_of_a_path_and_no_number_of_parts_grows_without_end(tmp_path):
    source = zipped(tmp_path, ("-1" * 9000 + ".ipynb", WORK), ("a/" * 200 + FILE, WORK))
    with archive.opened(source) as found:
        assert all(len(part) <= 500 for file in found for part in file.parts)
        assert max(len(file.parts) for file in found) == 20


def test_a_name_that_says_it_is_utf_8_is_believed(tmp_path):
    assert parts(zipped(tmp_path, (f"├⌐/{FILE}", WORK))) == [("├⌐", FILE)]


def test_a_name_in_utf_8_that_does_not_say_so_is_read(tmp_path):
    source = zipped(tmp_path, (f"XX/{FILE}", WORK))
    source.write_bytes(source.read_bytes().replace(b"XX/", "é/".encode()))
    assert parts(source) == [("é", FILE)]


def test_a_time_that_is_none_is_the_oldest(tmp_path, monkeypatch):
    def overflows(_):
        raise OverflowError("mktime argument out of range")

    monkeypatch.setattr(time, "mktime", overflows)
    with archive.opened(zipped(tmp_path, (f"ada/{FILE}", WORK))) as found:
        assert [file.when for file in found] == [0.0]


def test_a_path_in_a_report_is_one_short_line_of_plain_characters(tmp_path):
    source = zipped(tmp_path, ("b\x1b[2J\nob/x.pdf", b"x"), ("c" * 490 + ".pdf", b"x"))
    with archive.opened(source) as found:
        shown = [file.path for file in found]
    assert shown == ["b?[2J?ob/x.pdf", "c" * 300]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "\udcff.ipynb").write_bytes(b"x")
    ((path, _),) = collected(tmp_path / "in")[1]
    assert path.encode("utf-8")


def test_a_file_that_goes_away_is_refused_and_the_rest_go_on(tmp_path, monkeypatch):
    for name in ("ada", "bob"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / FILE).write_bytes(WORK)
    look = Path.lstat

    def gone(self):
        if self.parent.name == "bob":
            raise FileNotFoundError(2, "No such file or directory")
        return look(self)

    monkeypatch.setattr(Path, "lstat", gone)
    students, refused = collected(tmp_path / "in")
    assert students == ["ada"]
    assert refused == [(f"bob/{FILE}", "It cannot be read: No such file or directory.")]


@pytest.mark.parametrize(
    ("inner", "why"), [(b"x" * 99, "larger than"), (b"no zip", "no zip archive")]
)
def test_an_archive_handed_in_that_is_too_long_or_none_is_refused(
    inner, why, tmp_path, monkeypatch
):
    monkeypatch.setattr(archive, "MOST_INNER", 50)
    students, refused = collected(zipped(tmp_path, (f"ada/{FILE}", WORK), ("bob.zip", inner)))
    assert students == ["ada"]
    assert [path for path, _ in refused] == ["bob.zip"] and why in refused[0][1]


def test_an_archive_handed_in_that_holds_too_many_files_is_refused_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_INNER_FILES", 2)
    monkeypatch.setattr(archive, "MOST_FILES", 4)
    two, three = (
        zipped(tmp_path, (FILE, WORK), *((f"{n}.txt", b"") for n in range(more))).read_bytes()
        for more in (1, 2)
    )
    source = zipped(
        tmp_path, (f"a/{FILE}", WORK), ("b.zip", two), ("m.zip", three), (f"z/{FILE}", WORK)
    )
    students, refused = collected(source)
    assert students == ["a", "b", "z"]
    assert refused == [("m.zip", "It holds more than 2 files: hand in the notebook alone.")]


def test_an_archive_inside_is_not_kept_in_memory(tmp_path):
    inner = zipped(tmp_path, (FILE, WORK)).read_bytes()
    with archive.opened(zipped(tmp_path, ("ada.zip", inner))) as found:
        gc.collect()
        streams = [thing for thing in gc.get_objects() if type(thing) is io.BytesIO]
        held = [stream for stream in streams if not stream.closed and stream.getvalue() == inner]
        assert held == [] and found[0].read() == WORK
