"""The driver with a job that judges nothing: what is graded, what is stored, who is blamed."""

import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from faults import HERE, Watch, environment, run_driver, scores, start_driver, wait_for_rows
from light_class import ANSWERS, DEADLY, QUICK, SECRET, SLOW, WRONG, light, light_class, quick

from marking.grading import driver
from marking.grading.cluster import ClusterError
from marking.grading.driver import grade
from marking.grading.store import Store


@pytest.fixture(autouse=True)
def workers_find_the_jobs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "results.db") as opened:
        yield opened


def run(store, submissions, job=QUICK, **more):
    how = {"secret": SECRET, "store": store, "sandboxed": False, "workers": 1, "job": job, **more}
    return list(grade(submissions, **how))


def test_what_is_in_the_store_is_not_graded_again(store):
    assert len(run(store, light_class(6))) == 6
    assert [row.student for row in run(store, light_class(8))] == ["student-006", "student-007"]
    assert run(store, light_class(8)) == []
    assert len(store.rows()) == 8


def test_a_regrade_grades_everything_and_keeps_one_row_each(store):
    first = run(store, light_class(4))
    assert sorted(row.key for row in run(store, light_class(4), regrade=True)) == sorted(
        row.key for row in first
    )
    assert len(store.rows()) == 4


def test_a_regrade_that_was_killed_is_finished_by_the_plain_command(store, monkeypatch):
    monkeypatch.setattr(driver, "SAVE_SECONDS", -1.0)
    class_ = light_class(6)
    run(store, class_, WRONG)
    how = {"secret": SECRET, "store": store, "sandboxed": False, "workers": 1, "job": QUICK}
    with contextlib.closing(grade(class_, regrade=True, **how)) as rows:
        next(rows)
    half = [row.status for row in store.rows()].count("right")
    assert 0 < half < 6
    assert len(run(store, class_)) == 6 - half
    assert {row.status for row in store.rows()} == {"right"}
    assert run(store, class_) == []


def test_two_students_with_the_same_code_have_a_row_each(store):
    twin = replace(light(1), student="twin")
    assert {row.student for row in run(store, [light(1), twin])} == {"student-001", "twin"}
    late = replace(light(1), student="late")
    assert [row.student for row in run(store, [light(1), twin, late])] == ["late"]
    assert len({row.key for row in store.rows()}) == 1


def test_a_new_submission_of_the_same_student_is_graded(store):
    run(store, [light(1)])
    changed = replace(light(1, ANSWERS[0]), student="student-001")
    assert [row.submission for row in run(store, [changed])] == [changed.hash]


def test_a_submission_that_ends_its_worker_three_times_needs_a_look_and_the_rest_go_on(store):
    deadly = replace(light(99), cells=("KILL",), hash="deadly")
    rows = run(store, [light(0), deadly, *light_class(8)[1:]], DEADLY)
    assert {row.status for row in rows if row.submission != "deadly"} == {"right"}
    (look,) = [row for row in rows if row.submission == "deadly"]
    assert (look.status, look.share, look.points) == ("needs a look", None, None)
    assert len(rows) == 9


def test_what_was_our_fault_is_graded_again_next_time(store):
    (row,) = run(store, [light(0)])
    store.outdate({"attention"})
    store.add([replace(row, status="our fault", share=None, points=None)])
    assert [row.status for row in run(store, [light(0)])] == ["right"]
    assert [row.status for row in store.rows()] == ["right"]


def test_progress_counts_to_the_end(store):
    said = []
    run(store, light_class(5), progress=lambda done, total: said.append((done, total)))
    assert said[-1] == (5, 5)


def test_rows_that_are_not_yet_stored_are_stored_when_ctrl_c_comes(store, monkeypatch):
    def two_rows(_, tasks):
        yield from map(quick, tasks[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "SAVE_SECONDS", 1e9)
    monkeypatch.setattr(driver.Pool, "run", two_rows)
    with pytest.raises(KeyboardInterrupt):
        run(store, light_class(5))
    assert len(store.rows()) == 2


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(tmp_path):
    store = tmp_path / "results.db"
    process = start_driver(store, 3000, SLOW)
    watch = Watch(process)
    wait_for_rows(store, 5, process)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert watch.left() == []
    assert 5 <= len(scores(store)) < 3000
    run_driver(store, 3000, QUICK)
    assert len(scores(store)) == 3000


def test_a_pool_that_is_closed_with_work_to_do_says_nothing(capfd):
    tasks = [task for one in light_class(6) for task in driver.tasks_of(one, SECRET)]
    with driver.Pool(2, job=SLOW, sandbox="none") as pool:
        next(row for row in pool.run(tasks) if row)
        pool._workers[0].stop(0.0)  # Ctrl-C may come while one is stopped
    assert capfd.readouterr().err == ""


def test_dask_is_imported_only_when_it_is_asked_for():
    code = "import sys, marking.cli, marking.grading.driver; print('distributed' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd=HERE
    )
    assert done.stdout.strip() == "False", done.stderr


def test_without_dask_the_cluster_is_refused_in_a_sentence(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'clearhead\[cluster\]'"):
        run(store, light_class(1), scheduler="tcp://127.0.0.1:1")


def test_a_scheduler_that_does_not_answer_is_named(store, monkeypatch):
    monkeypatch.setattr("marking.grading.cluster.REACH_SECONDS", 0.5)
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at tcp://127.0.0.1:1 "):
        run(store, light_class(1), scheduler="tcp://127.0.0.1:1")


def test_the_process_that_forks_the_workers_may_be_killed_and_no_row_is_lost(tmp_path):
    store = tmp_path / "results.db"
    process = start_driver(store, 400, SLOW)
    watch = Watch(process)
    wait_for_rows(store, 5, process)
    (nursery,) = [p for p in watch.named("pool_worker") if p.ppid() == process.pid]
    workers = nursery.children()
    assert workers
    nursery.kill()
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert len(scores(store)) == 400
    assert watch.left() == []
