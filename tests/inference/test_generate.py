"""Writing: with a cache the same tokens as without, alone the same as in a batch."""

import pytest
import torch
from inference_models import FAMILIES, V, prompts, sharp_model

from clearhead.inference import (
    KVCache,
    StaticCache,
    generate,
    generate_uncached,
    left_pad,
    likeliest,
    stream,
)
from clearhead.model import greedy

N = 12
FAMILY = pytest.mark.parametrize("family", FAMILIES)


def static(model, batch, length):
    return StaticCache.for_model(model, batch=batch, max_length=length)


@FAMILY
def test_a_cache_changes_no_token(family):
    model, ids = sharp_model(family), torch.tensor(prompts(7, 7))
    want = torch.cat([greedy(model, row[None], N) for row in ids])
    assert want[:, 7:].unique().numel() > 6  # the words vary, so equality says something
    assert torch.equal(generate_uncached(model, ids, N), want)
    assert torch.equal(generate(model, ids, N), want)
    assert torch.equal(generate(model, ids, N, cache=static(model, 2, 7 + N - 1)), want)
    assert torch.equal(generate(model, ids, N, chunk=3), want)


@FAMILY
@pytest.mark.parametrize("window", [None, 4])
def test_a_padded_row_gets_the_tokens_that_it_gets_alone(family, window):
    model, given = sharp_model(family), prompts(7, 2, 5, 1)
    ids, pads = left_pad(given)
    alone = [generate(model, torch.tensor([p]), N, window=window)[0, -N:] for p in given]
    options = dict(pads=pads, window=window)
    for written in (
        generate(model, ids, N, **options),
        generate(model, ids, N, **options, chunk=3),
        generate(model, ids, N, **options, cache=static(model, 4, 7 + N)),
        generate_uncached(model, ids, N, **options),
    ):
        assert torch.equal(written[:, -N:], torch.stack(alone))


def test_a_window_matters():
    model, ids = sharp_model(), torch.tensor(prompts(9))
    assert not torch.equal(generate(model, ids, N, window=3), generate(model, ids, N))
    assert torch.equal(generate(model, ids, N, window=99), generate(model, ids, N))


@pytest.mark.parametrize("pad", [0, V - 1])
def test_it_does_not_matter_which_id_pads(pad):
    model, given = sharp_model(), prompts(6, 3)
    first, second = (left_pad(given, pad=i) for i in (pad, 1))
    a, b = (generate(model, ids, N, pads=pads) for ids, pads in (first, second))
    assert torch.equal(a[:, 6:], b[:, 6:])


def test_a_stopped_row_repeats_its_stop_id_and_the_others_go_on():
    model = sharp_model()
    ids = torch.tensor(prompts(6, 6, 6))
    free = generate(model, ids, N)
    ends = {int(free[0, 8]), int(free[1, 10])}
    for write in (generate, generate_uncached):
        got = write(model, ids, N, stop=ends)
        for row, full in zip(got[:, 6:].tolist(), free[:, 6:].tolist(), strict=True):
            first = next((i for i, x in enumerate(full) if x in ends), N - 1)
            want = full[: first + 1] + [full[first]] * (len(row) - first - 1)
            assert row == want


def test_writing_ends_early_when_every_row_has_stopped():
    model, ids = sharp_model(), torch.tensor(prompts(6, 6))
    free = generate(model, ids, N)
    ends = set(free[:, 8].tolist())
    for write in (generate, generate_uncached):
        got = write(model, ids, N, stop=ends)
        assert got.shape[1] <= 9
        assert all(set(row) & ends for row in got[:, 6:].tolist())


def test_no_tokens_asked_for_gives_the_prompt_back_and_reads_nothing():
    model, ids, cache = sharp_model(), torch.tensor(prompts(6)), KVCache(3)
    for write in (
        lambda: generate(model, ids, 0, cache=cache),
        lambda: generate_uncached(model, ids, 0),
    ):
        got = write()
        assert torch.equal(got, ids)
        assert got.data_ptr() != ids.data_ptr()
    assert cache.length == 0


def test_the_last_token_is_never_read_so_it_needs_no_slot():
    model, ids = sharp_model(), torch.tensor(prompts(6))
    cache = static(model, 1, 6 + N - 1)
    assert torch.equal(generate(model, ids, N, cache=cache), generate(model, ids, N))
    assert cache.length == 6 + N - 1
    small = static(model, 1, 6 + N - 2)
    message = "16 slots and 17 are needed: the prompt has 6 tokens and 12 are to be written"
    with pytest.raises(ValueError, match=message):
        generate(model, ids, N, cache=small)
    assert small.length == 0


def test_a_cache_goes_on_where_it_ended():
    model, ids = sharp_model(), torch.tensor(prompts(6, 6))
    want = generate(model, ids, N)
    for cache in (KVCache(3), static(model, 2, 6 + N)):
        first = generate(model, ids, 5, cache=cache)
        then = generate(model, first[:, -1:], N - 5, cache=cache)  # its last token was not read
        assert torch.equal(torch.cat([first, then[:, 1:]], dim=1), want)


def test_a_padded_cache_goes_on_where_it_ended():
    model = sharp_model()
    ids, pads = left_pad(prompts(6, 2))
    want, cache = generate(model, ids, N, pads=pads), KVCache(3)
    first = generate(model, ids, 5, pads=pads, cache=cache)
    then = generate(model, first[:, -1:], N - 5, pads=pads, cache=cache)
    assert torch.equal(torch.cat([first, then[:, 1:]], dim=1), want)


def test_two_streams_may_take_turns():
    model, (a, b) = sharp_model(), prompts(8, 3)
    streams = [stream(model, torch.tensor([p]), N) for p in (a, b)]
    got = list(zip(*streams, strict=True))
    for i, p in enumerate((a, b)):
        want = generate(model, torch.tensor([p]), N)[:, -N:]
        assert torch.equal(torch.stack([step[i] for step in got], dim=1), want)


def test_a_stream_runs_nothing_before_it_is_asked_and_refuses_wrong_input_at_once():
    model, ids, cache = sharp_model(), torch.tensor(prompts(6)), KVCache(3)
    tokens = stream(model, ids, 3, cache=cache)
    assert cache.length == 0
    next(tokens)
    assert cache.length == 6
    next(tokens)
    assert cache.length == 7
    with pytest.raises(ValueError, match="n is -1"):
        stream(model, ids, -1)


def test_choose_gets_logits_and_all_ids_so_far_without_padding():
    model, calls = sharp_model(), []
    ids, pads = left_pad([[5, 6, 7], [8]])

    def second(logits, seen):
        calls.append((logits, seen))
        return logits.topk(2).indices[:, 1]

    got = generate(model, ids, 3, pads=pads, choose=second)
    assert calls[0][1].tolist() == [[5, 6, 7], [8, 8, 8]]
    assert torch.equal(calls[2][1][:, 3:], got[:, 3:5])
    assert calls[0][0].shape == (2, V)
    assert not torch.equal(got, generate(model, ids, 3, pads=pads))
    assert torch.equal(generate_uncached(model, ids, 3, pads=pads, choose=second), got)


def test_greedy_takes_the_first_of_equal_logits():
    assert likeliest(torch.tensor([[1.0, 3.0, 3.0]]), torch.zeros(1, 1).long()).tolist() == [1]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_ids_keep_their_dtype(dtype):
    ids = torch.tensor(prompts(4), dtype=dtype)
    for write in (generate, generate_uncached):
        assert write(sharp_model(), ids, 3).dtype == dtype


def test_left_pad_puts_the_padding_in_front_and_counts_it():
    ids, pads = left_pad([[1, 2, 3], torch.tensor([4])], pad=9)
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert pads.tolist() == [0, 2]


def test_a_second_call_on_a_padded_cache_shows_its_own_ids_as_they_are():
    model, calls, cache = sharp_model(), [], KVCache(3)
    ids, pads = left_pad(prompts(3, 1))
    generate(model, ids, 1, pads=pads, cache=cache)

    def spy(logits, seen):
        calls.append(seen)
        return logits.argmax(-1)

    more = torch.tensor(prompts(4, 4))
    generate(model, more, 1, pads=pads, cache=cache, choose=spy)
    assert torch.equal(calls[0], more)
