"""A Dask cluster inside this process: who may take what, and what is said when nobody can."""

from dataclasses import replace

import pytest
from light_class import QUICK, SECRET, WHERE, light, light_class

from marking.grading import cluster, driver
from marking.grading.store import Store

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own


@pytest.fixture
def dask():
    """Makes clusters of one worker, or none, with these resource tags; gives their address."""
    made = []

    def make(workers: int = 1, **tags) -> str:
        options = {"threads_per_worker": 1, "processes": False, "dashboard_address": None}
        local = distributed.LocalCluster(
            n_workers=workers, resources=tags, protocol="tcp", host="127.0.0.1", **options
        )
        made.append(local)
        return local.scheduler_address

    yield make
    for local in made:
        local.close()


def run(tmp_path, address, submissions, job=QUICK):
    with Store(tmp_path / "results.db") as store:
        how = {"secret": SECRET, "store": store, "job": job, "scheduler": address}
        return list(driver.grade(submissions, **how))


@pytest.fixture
def uneven(monkeypatch):
    """A cluster of a worker "plain" and a worker "tagged", which has a GPU; and of the exercises,
    softmax alone needs one."""
    before = driver.find
    monkeypatch.setattr(driver, "find", lambda n: replace(before(n), gpu=n.endswith("softmax")))
    options = {"nthreads": 1, "dashboard": False, "host": "127.0.0.1"}
    tags = {"plain": {}, "tagged": {"GPU": 1}}
    workers = {
        name: {"cls": distributed.Worker, "options": options | {"resources": tag, "name": name}}
        for name, tag in tags.items()
    }
    scheduler = {"dashboard": False, "host": "127.0.0.1", "port": 0, "protocol": "tcp"}
    with distributed.SpecCluster(
        workers=workers, scheduler={"cls": distributed.Scheduler, "options": scheduler}
    ) as local:
        yield local.scheduler_address


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Every exercise needs a GPU."""
    before = driver.find
    monkeypatch.setattr(driver, "find", lambda name: replace(before(name), gpu=True))


def test_a_class_is_graded_by_the_cluster_and_stored_here(dask, tmp_path):
    rows = run(tmp_path, dask(), light_class(7))
    assert sorted(row.student for row in rows) == [f"student-00{number}" for number in range(7)]
    assert run(tmp_path, dask(), light_class(7)) == []


def test_a_cluster_without_workers_is_told(dask, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "IDLE_SECONDS", 0.1)
    with pytest.raises(cluster.ClusterError, match=r"No worker .* start some"):
        run(tmp_path, dask(workers=0), [light(0)])


def test_an_exercise_that_needs_a_gpu_goes_to_a_worker_that_has_one(dask, tmp_path, on_a_gpu):
    assert len(run(tmp_path, dask(GPU=1), [light(0)])) == 1


def test_without_a_gpu_worker_it_is_told(dask, tmp_path, on_a_gpu, monkeypatch):
    monkeypatch.setattr(cluster, "IDLE_SECONDS", 0.1)
    with pytest.raises(cluster.ClusterError, match="GPU=1"):
        run(tmp_path, dask(), [light(0)])


def both(count: int) -> list:
    """So many answers to softmax, which needs a GPU, and to the mask, which needs none."""
    return [light(n, exercise=name) for n in range(count) for name in ("softmax", "causal_mask")]


def test_an_exercise_that_needs_a_gpu_never_goes_to_a_worker_without_the_tag(uneven, tmp_path):
    rows = run(tmp_path, uneven, both(8), WHERE)
    took = {(row.exercise.rpartition(".")[2], row.note) for row in rows}
    assert len(rows) == 16
    assert {name for exercise, name in took if exercise == "softmax"} == {"tagged"}
    assert ("causal_mask", "plain") in took, "the other worker works too"


def test_without_a_gpu_worker_the_rest_is_graded_and_the_gpus_part_follows_later(
    dask, tmp_path, monkeypatch
):
    before = driver.find
    monkeypatch.setattr(driver, "find", lambda n: replace(before(n), gpu=n.endswith("softmax")))
    monkeypatch.setattr(cluster, "IDLE_SECONDS", 0.5)
    submissions = sorted(both(3), key=lambda one: "softmax" in one.cells[1])
    with pytest.raises(cluster.ClusterError, match="GPU=1"):
        run(tmp_path, dask(), submissions)
    with Store(tmp_path / "results.db") as store:
        assert [row.exercise for row in store.rows()] == ["attention.causal_mask"] * 3
    rows = run(tmp_path, dask(GPU=1), submissions)
    assert [row.exercise for row in rows] == ["attention.softmax"] * 3
