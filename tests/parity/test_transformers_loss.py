"""The losses and schedules are those of transformers: whole batches, pieces of one, and rates."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from clearhead.model import Decoder
from clearhead.model.hugging_face import convert_config
from clearhead.model.names import HUGGING_FACE, empty, fill, rename
from clearhead.training import (
    IGNORED,
    accumulated_loss,
    chunked_loss,
    hidden_states,
    learning_rate,
    next_token_loss,
    per_token_loss,
    vocabulary_matrix,
    warmup_stable_decay,
)

transformers = pytest.importorskip("transformers", reason="pip install 'clearhead[parity]'")

SMALL = dict(
    vocab_size=67,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
)


@pytest.fixture(name="pair")
def both_models():
    """transformers' Llama in fp64, and our decoder with its very parameters."""
    config = transformers.LlamaConfig(**SMALL)
    theirs = transformers.LlamaForCausalLM(config).double()
    state = dict(theirs.named_parameters())
    settings = {**config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    ours = empty(lambda: Decoder(convert_config(settings, source="transformers")))
    fill(ours, state, lambda n: state[n].detach(), style=HUGGING_FACE, source="transformers")
    return theirs, ours


@pytest.fixture
def batch():
    """Rows of 4, 13 and 8 tokens, filled up at the right; a prompt of three is not learned."""
    ids = torch.randint(0, 67, (3, 13))
    real = torch.arange(13) < torch.tensor([[4], [13], [8]])
    labels = ids.masked_fill(~real, IGNORED)
    labels[1, :3] = IGNORED
    return ids, real, labels


def theirs_of(model, ids, real, labels, **options):
    return model(input_ids=ids, attention_mask=real.long(), labels=labels, **options).loss


def ours_chunked(model, ids, labels, count=None):
    hidden = hidden_states(model, ids)
    return chunked_loss(hidden, vocabulary_matrix(model), labels, chunk=5, count=count)


def assert_same_gradients(theirs, ours, loss_of_theirs, loss_of_ours):
    torch.testing.assert_close(loss_of_ours, loss_of_theirs, check_dtype=False, rtol=1e-6, atol=0)
    want = torch.autograd.grad(loss_of_theirs, list(theirs.parameters()))
    got = torch.autograd.grad(loss_of_ours, list(ours.parameters()))
    names = [name for name, _ in theirs.named_parameters()]
    by_name = dict(zip(names, want, strict=True))
    for (name, _), gradient in zip(ours.named_parameters(), got, strict=True):
        same = by_name[rename(name, HUGGING_FACE)]
        torch.testing.assert_close(gradient, same, rtol=1e-5, atol=1e-7)


def test_the_mean_over_a_batch(pair, batch):
    theirs, ours = pair
    ids, real, labels = batch
    want = theirs_of(theirs, *batch)
    assert_same_gradients(theirs, ours, want, ours_chunked(ours, ids, labels))
    plain = theirs_of(theirs, ids, real, ids.masked_fill(~real, IGNORED))
    assert_same_gradients(theirs, ours, plain, next_token_loss(ours(ids), ids, real))


def test_with_num_items_in_batch_a_micro_batch_is_divided_by_the_whole(pair, batch):
    theirs, ours = pair
    ids, real, labels = batch
    N = int((labels[:, 1:] != IGNORED).sum())
    whole = theirs_of(theirs, *batch).item()
    total = 0.0
    for rows in (slice(0, 1), slice(1, 3)):
        piece = (ids[rows], real[rows], labels[rows])
        want = theirs_of(theirs, *piece, num_items_in_batch=N)
        total += want.item()
        got = ours_chunked(ours, ids[rows], labels[rows], count=N)
        assert_same_gradients(theirs, ours, want, got)
    assert total == pytest.approx(whole, rel=1e-6)


def test_accumulated_contributions_are_theirs_with_num_items_in_batch(pair, batch):
    theirs, ours = pair
    ids, real, labels = batch
    pieces = [slice(0, 1), slice(1, 3)]
    nll, counted = zip(*(per_token_loss(ours(ids[r]), labels[r]) for r in pieces), strict=True)
    elsewhere, processes = 9, 3
    N = sum(int(mask.sum()) for mask in counted) + elsewhere
    contributions, _ = accumulated_loss(list(nll), list(counted), elsewhere, processes)
    for rows, got in zip(pieces, contributions, strict=True):
        piece = (ids[rows], real[rows], labels[rows])
        want = processes * theirs_of(theirs, *piece, num_items_in_batch=N)
        assert got.item() == pytest.approx(want.item(), rel=1e-6)


def rates_of(scheduler_for, steps):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.3)
    scheduler = scheduler_for(optimiser)
    rates = []
    for _ in range(steps + 1):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("warmup", "total"), [(4, 20), (0, 7), (5, 5)])
def test_the_cosine_is_theirs_one_update_later(warmup, total):
    """Theirs makes its first update at rate 0; ours counts that one as already made."""
    theirs = rates_of(
        lambda o: transformers.get_cosine_schedule_with_warmup(o, warmup, total), total
    )
    ours = [learning_rate(s, peak=0.3, warmup=warmup, total=total) for s in range(total)]
    assert ours == pytest.approx(theirs[1:], abs=1e-12)


@pytest.mark.parametrize("floor", [0.0, 0.03])
def test_warm_up_stable_decay_is_theirs_one_update_later(floor):
    """Theirs starts its warm-up at the floor, ours at zero; the rest is one."""
    options = dict(num_warmup_steps=3, num_decay_steps=5, num_training_steps=14)
    options |= dict(decay_type="linear", min_lr_ratio=floor / 0.3)
    theirs = rates_of(lambda o: transformers.get_wsd_schedule(o, **options), 14)[1:]
    numbers = dict(peak=0.3, warmup=3, decay=5, total=14, floor=floor)
    ours = [warmup_stable_decay(s, **numbers) for s in range(14)]
    start = 2 if floor else 0
    assert ours[start:] == pytest.approx(theirs[start:], abs=1e-12)
