"""Checkpoints: whole or not there, checked when read, and one in reserve."""

import os

import pytest
import torch

from clearhead.training import load_checkpoint, save_checkpoint
from clearhead.training.checkpoint import checkpoints


def state(step):
    return {"step": step, "weights": torch.full((300,), float(step)), "losses": [0.1, step / 3]}


def test_what_was_written_is_read(tmp_path):
    folder = tmp_path / "new" / "run"
    path = save_checkpoint(folder, 7, state(7))
    got = load_checkpoint(folder)
    assert got["step"] == 7 and got["losses"] == [0.1, 7 / 3]
    assert torch.equal(got["weights"], state(7)["weights"])
    assert torch.load(path, weights_only=True)["step"] == 7


def test_the_two_newest_are_kept_in_the_order_of_steps(tmp_path):
    for step in (8, 9, 10, 99_999_999, 100_000_000):
        save_checkpoint(tmp_path, step, state(step))
        assert load_checkpoint(tmp_path)["step"] == step
    assert len(list(tmp_path.iterdir())) == 2
    assert load_checkpoint(tmp_path)["step"] == 100_000_000


def test_no_checkpoint_is_no_error(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None


def cut_short(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    path.write_bytes(b"")


def one_bit(path):
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)


@pytest.mark.parametrize("damage", [cut_short, empty, one_bit])
def test_a_damaged_one_is_refused_and_the_one_before_used(tmp_path, damage):
    save_checkpoint(tmp_path, 1, state(1))
    damage(save_checkpoint(tmp_path, 2, state(2)))
    with pytest.warns(UserWarning, match=r"step-00000002.*not those that were written.*before"):
        assert load_checkpoint(tmp_path)["step"] == 1
    damage(checkpoints(tmp_path)[1])
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match=r"no checkpoint in .* is whole \(2 tried\)"),
    ):
        load_checkpoint(tmp_path)


def test_after_a_damaged_one_the_good_one_is_not_thrown_away(tmp_path):
    """The run went on from step 10; the broken 20 is no reserve for the new 15."""
    save_checkpoint(tmp_path, 10, state(10))
    one_bit(save_checkpoint(tmp_path, 20, state(20)))
    save_checkpoint(tmp_path, 15, state(15))
    assert [load_checkpoint(tmp_path)["step"], len(checkpoints(tmp_path))] == [15, 2]
    one_bit(checkpoints(tmp_path)[0])
    with pytest.warns(UserWarning):
        assert load_checkpoint(tmp_path)["step"] == 10


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, state(1))

    def full(state, file):
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, state(2))
    assert len(list(tmp_path.iterdir())) == 1 and load_checkpoint(tmp_path)["step"] == 1


def test_what_a_killed_writer_left_is_passed_over_and_swept_away(tmp_path):
    save_checkpoint(tmp_path, 1, state(1))
    (tmp_path / "step-00000002.part").write_bytes(b"half")
    assert load_checkpoint(tmp_path)["step"] == 1
    save_checkpoint(tmp_path, 3, state(3))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_cannot_run_code(tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ("ran",))

    save_checkpoint(tmp_path, 1, {"x": Code()})
    with pytest.raises(Exception, match="Weights only load failed"):
        load_checkpoint(tmp_path)
