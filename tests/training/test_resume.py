"""A run that stops anywhere and goes on is, bit for bit, the run that nobody disturbed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_models import padded_rows, small_model

from clearhead import lora
from clearhead.training import Recipe, make_rows, train
from clearhead.training.checkpoint import checkpoints

HERE = Path(__file__).parent
RECIPE = Recipe(steps=6, batch=3, peak=0.02, warmup=2, micro_batch=2)


class Stop(Exception):
    pass


def one_layer(**changes):
    return small_model(layers=1, **changes)


def with_dropout():
    model = one_layer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lora.apply(model, "all-linear", r=2, dropout=0.5)
    return model


def run(folder=None, stop=None, every=1, model=one_layer, rows=None, recipe=RECIPE):
    def watch(step):
        torch.rand(3)
        if step.done == stop:
            raise Stop

    trained = model()
    rows = padded_rows() if rows is None else rows
    losses = train(trained, rows, recipe, checkpoint=folder, every=every, watch=watch)
    return losses, [p.detach().clone() for p in trained.parameters()]


def assert_equal(a, b):
    assert a[0] == b[0]
    assert all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))


@pytest.fixture(scope="module")
def undisturbed():
    return run()


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6])
def test_stopped_after_any_step(tmp_path, stop, every, undisturbed):
    with pytest.raises(Stop):
        run(tmp_path, stop, every)
    assert_equal(run(tmp_path, every=every), undisturbed)


def test_stopped_again_and_again_with_dropout(tmp_path):
    for stop in (1, 2, 5):
        with pytest.raises(Stop):
            run(tmp_path, stop, model=with_dropout)
        torch.rand(stop)
    assert_equal(run(tmp_path, model=with_dropout), run(model=with_dropout))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, no SIGKILL")
def test_killed_wherever_it_is():
    """By SIGKILL after every step, and in every part of the writing of a checkpoint."""
    command = [sys.executable, str(HERE / "killed_run.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert (done.returncode, done.stdout) == (0, "13\n"), done.stderr[-3000:]


def test_a_truncated_checkpoint_is_passed_over_and_the_run_is_the_same(tmp_path, undisturbed):
    with pytest.raises(Stop):
        run(tmp_path, stop=5)
    newest = checkpoints(tmp_path)[0]
    os.truncate(newest, newest.stat().st_size - 100)
    with pytest.warns(UserWarning, match="not used.*trying the one before"):
        resumed = run(tmp_path)
    assert_equal(resumed, undisturbed)


def test_a_finished_run_is_read_and_not_trained_again(tmp_path):
    want = run(tmp_path)
    seen = []
    model = one_layer()
    losses = train(model, padded_rows(), RECIPE, checkpoint=tmp_path, watch=seen.append)
    assert losses == want[0] and seen == []
    assert all(torch.equal(p, x) for p, x in zip(model.parameters(), want[1], strict=True))


def wrong_rows():
    rows = padded_rows()
    return make_rows(rows.ids.flip(0), rows.labels.flip(0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"recipe": Recipe(**{**RECIPE.__dict__, "steps": 9})}, "steps 6, now 9"),
        ({"recipe": Recipe(**{**RECIPE.__dict__, "peak": 0.5})}, r"peak 0.02, now 0.5"),
        ({"rows": wrong_rows()}, "other rows"),
        ({"model": lambda: one_layer(width=32)}, "a model of other sizes"),
        ({"model": with_dropout}, "a model of other sizes"),
        ({"model": lambda: one_layer(dtype=torch.float32)}, "or dtype"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change, sentence):
    run(tmp_path)
    with pytest.raises(ValueError, match=f"of another run .*{sentence}"):
        run(tmp_path, **change)


def test_another_micro_batch_goes_on_but_for_rounding(tmp_path, undisturbed):
    with pytest.raises(Stop):
        run(tmp_path, stop=3)
    losses, _ = run(tmp_path, recipe=Recipe(**{**RECIPE.__dict__, "micro_batch": 1, "chunk": 2}))
    torch.testing.assert_close(
        torch.tensor(losses), torch.tensor(undisturbed[0]), rtol=1e-10, atol=0
    )
