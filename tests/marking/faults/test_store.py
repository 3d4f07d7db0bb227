"""The results file: written whole or not at all, and errors that say what to do."""

import resource
import sqlite3
from dataclasses import replace

import pytest
from faults import run_driver, scores, start_driver
from light_class import QUICK, SECRET, light_class

from marking.grading.driver import tasks_of
from marking.grading.graded import Graded
from marking.grading.judge import Result
from marking.grading.store import Store, StoreError


def row(number: int, **more) -> Graded:
    (task,) = tasks_of(light_class(number + 1)[number], SECRET)
    cases = (("a single token", "float64", ""), ("a cache", "float32", "value"))
    result = Result(task.exercise, "partly right", 0.5, "1 of 2.", "a note", cases, ("top-left",))
    return replace(task.graded(result), **more)


def test_a_row_comes_back_from_the_file_as_it_was(tmp_path):
    with Store(tmp_path / "results.db") as store:
        store.add([row(0, smells=("gc",))])
    with Store(tmp_path / "results.db") as store:
        assert store.rows() == [row(0, smells=("gc",))]


def test_the_same_row_is_written_once_and_the_first_one_stays(tmp_path):
    with Store(tmp_path / "results.db") as store:
        store.add([row(0)])
        store.add([row(0, share=1.0)])
        assert [r.share for r in store.rows()] == [0.5]
        store.outdate({"lora"})
        store.add([row(0, share=1.0)])
        assert [r.share for r in store.rows()] == [0.5]
        store.outdate({"attention"})
        assert store.done() == {} and store.find(row(0).key) is None
        store.add([row(0, share=1.0)])
        store.add([row(0, share=0.0)])
        assert [r.share for r in store.rows()] == [1.0]


def test_a_batch_that_does_not_fit_is_not_written_at_all(tmp_path):
    with Store(tmp_path / "results.db") as store:
        store.add([row(0)])
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"disk is full.*Nothing .* lost"):
            store.add([row(n, note="x" * 2000) for n in range(1, 9)])
        store._db.execute("PRAGMA max_page_count = 100000")
        assert [r.student for r in store.rows()] == ["student-000"]
        store.add([row(1)])
        assert len(store.rows()) == 2


def test_a_file_that_another_program_holds_is_an_error_and_works_afterwards(tmp_path):
    with Store(tmp_path / "results.db", wait=0.1) as store:
        other = sqlite3.connect(tmp_path / "results.db")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another program holds it"):
            store.add([row(0)])
        other.rollback()
        other.close()
        store.add([row(0)])
        assert len(store.rows()) == 1


def test_a_file_that_is_no_results_file_is_left_alone(tmp_path):
    path = tmp_path / "results.db"
    path.write_bytes(b"these are somebody's notes, not a database" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="it is no results file: move it away"):
        Store(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_an_error_in_a_sentence(tmp_path):
    path = tmp_path / "results.db"
    with Store(path) as store:
        store.add([row(n) for n in range(40)])
    whole = bytearray(path.read_bytes())
    whole[4096:] = b"\xff" * (len(whole) - 4096)
    path.write_bytes(whole)
    with pytest.raises(StoreError, match="move it away"), Store(path) as store:
        store.rows()


@pytest.mark.parametrize("body", ["{}", "[]", "no JSON", '{"cases": [1], "mistakes": 1}'])
def test_a_row_that_is_none_is_an_error_in_a_sentence(body, tmp_path):
    with Store(tmp_path / "results.db") as store:
        store.add([row(0)])
        store._db.execute("UPDATE rows SET body = ?", (body,))
        with pytest.raises(StoreError, match="it holds a row that cannot be read"):
            store.rows()


def test_a_file_that_may_not_be_written_is_an_error_in_a_sentence(tmp_path):
    with Store(tmp_path / "results.db") as store:
        store._db.execute("PRAGMA query_only = 1")
        with pytest.raises(StoreError, match="it may not be written: see its owner"):
            store.add([row(0)])


def test_a_folder_in_its_place_is_an_error_in_a_sentence(tmp_path):
    (tmp_path / "results.db").mkdir()
    with pytest.raises(StoreError, match="it cannot be opened: see its folder"):
        Store(tmp_path / "results.db")


def test_each_assignment_has_its_own_rows_and_is_forgotten_by_itself(tmp_path):
    with Store(tmp_path / "results.db") as store:
        store.add([row(0), row(0, assignment="lora"), row(1)])
        assert [r.assignment for r in store.rows("lora")] == ["lora"]
        assert len(store.rows()) == 3
        store.forget("attention")
        assert [r.assignment for r in store.rows()] == ["lora"]


def test_what_was_our_fault_is_no_score_to_copy(tmp_path):
    with Store(tmp_path / "results.db") as store:
        store.add([row(0, status="our fault", share=None, points=None)])
        assert store.find(row(0).key) is None
        store.add([row(0, student="twin")])
        assert store.find(row(0).key).student == "twin"


def test_a_folder_that_cannot_be_made_is_an_error_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file" / "results.db")


def test_a_driver_on_a_full_disk_says_so_and_goes_on_when_there_is_room(tmp_path):
    path = tmp_path / "results.db"

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, resource.RLIM_INFINITY))

    driver = start_driver(path, 300, QUICK, preexec_fn=little_room)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert said.count("\n") == 1 and "disk is full" in said, said
    before = scores(path)
    assert len(before) < 300
    run_driver(path, 300, QUICK)
    after = scores(path)
    assert len(after) == 300 and before.items() <= after.items()
