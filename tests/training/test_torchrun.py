"""Two processes that share each batch make one process's trajectory."""

import os
import subprocess
import sys

import pytest
import torch
import torchrun_train

from clearhead.training.distributed import join


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_stopped_and_resumed_give_the_trajectory_of_one(tmp_path):
    """Shares of 3 and 2 rows, in micro-batches of 2: two backward passes here, one there."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    script = [torchrun_train.__file__, str(tmp_path)]
    command = [sys.executable, *torchrun, "--nproc-per-node", "2", *script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    losses, weights = torchrun_train.run()
    both = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for other_losses, other_weights in both:
        assert other_losses == both[0][0] == pytest.approx(losses, rel=1e-10)
        assert all(map(torch.equal, other_weights, both[0][1]))
        torch.testing.assert_close(other_weights, weights, rtol=1e-8, atol=1e-10)


def test_a_single_process_joins_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(torch.device("cpu")) == (0, 1)
    assert not torch.distributed.is_initialized()


def test_two_models_on_one_gpu_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match=r"model is on cuda:0 .* model.to\(local_device\(\)\)"):
        join(torch.device("cuda", 0))
