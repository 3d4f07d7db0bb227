"""A Dask cluster inside this process: who may take what, and what is said when nobody can."""

from dataclasses import replace

import pytest
from light_class import QUICK, SECRET, light, light_class

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


def run(tmp_path, address, submissions):
    with Store(tmp_path / "results.db") as store:
        how = {"secret": SECRET, "store": store, "job": QUICK, "scheduler": address}
        return list(driver.grade(submissions, **how))


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
