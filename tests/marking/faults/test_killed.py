"""kill -9 at random moments: after a resume every row is there, once, with its score.

A round is 300 submissions in which a container, a worker and the driver are killed. The usual run
makes one round here and one on a Dask cluster; `CLEARHEAD_FAULT_ROUNDS=20` makes 20 of each, which
is what to run after a change to the driver, the pool or the cluster.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from faults import Watch, environment, run_driver, scores, start_driver, wait_for_rows
from light_class import REAL

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.timeout(7200)]
COUNT = 300
ROUNDS = range(int(os.environ.get("CLEARHEAD_FAULT_ROUNDS", "1")))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed") / "results.db"
    run_driver(store, COUNT)
    found = scores(store)
    assert len(found) == COUNT
    assert {status for status, *_ in found.values()} == {
        "right",
        "partly right",
        "not attempted",
        "crashed",
    }
    return found


def kill_one(watch: Watch, word: str, chance: random.Random) -> None:
    """kill -9 of one of the processes with this word in their command, if there is one."""
    if victims := sorted(watch.named(word), key=lambda p: p.pid):
        try:
            chance.choice(victims).kill()
        except psutil.NoSuchProcess:
            pass


@pytest.mark.parametrize("round", ROUNDS)
def test_killing_containers_workers_and_the_driver_costs_no_row(round, undisturbed, tmp_path):
    chance = random.Random(f"local {round}")
    store = tmp_path / "results.db"
    driver = start_driver(store, COUNT)
    watch = Watch(driver)
    moments = sorted(chance.sample(range(1, COUNT - 20), 3))
    for moment, word in zip(moments, ("bwrap", "pool_worker", ""), strict=True):
        there = wait_for_rows(store, moment, driver)
        time.sleep(chance.uniform(0, 0.2))
        if word:
            kill_one(watch, word, chance)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert watch.left() == []
    assert there < COUNT, "the driver had finished before it was killed"
    before = scores(store)
    run_driver(store, COUNT)
    assert scores(store) == undisturbed
    assert before.items() <= undisturbed.items()


@pytest.fixture
def cluster():
    """A Dask scheduler and two workers under nannies; the address, and the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    run = [sys.executable, "-m"]
    how = {"env": environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    port = address.rpartition(":")[2]
    options = ["--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    scheduler = subprocess.Popen([*run, "distributed.cli.dask_scheduler", *options], **how)
    options = [address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    workers = subprocess.Popen([*run, "distributed.cli.dask_worker", *options], **how)
    watch = Watch(workers)
    yield address, watch
    for process in (workers, scheduler):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert watch.left() == []


@pytest.mark.parametrize("round", ROUNDS)
def test_killing_dask_workers_and_the_driver_costs_no_row(round, undisturbed, tmp_path, cluster):
    chance = random.Random(f"cluster {round}")
    address, watch = cluster
    store = tmp_path / "results.db"
    moments = sorted(chance.sample(range(1, COUNT - 20), 3))
    driver = start_driver(store, COUNT, REAL, address)
    for moment in moments[:2]:
        wait_for_rows(store, moment, driver)
        time.sleep(chance.uniform(0, 0.2))
        kill_one(watch, "multiprocessing.spawn", chance)
    wait_for_rows(store, moments[2], driver)
    driver.kill()
    driver.communicate()
    run_driver(store, COUNT, REAL, address)
    assert scores(store) == undisturbed
