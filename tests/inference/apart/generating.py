"""Phases and generate: wrong input is refused, by the plain path and the fast one alike."""

import pytest
import torch
from inference_models import V, sharp_model

import clearhead.inference as I

IDS = torch.ones(2, 4, dtype=torch.long)
MODEL = sharp_model()
FAST = I.FastDecoder(MODEL)
BOTH = pytest.mark.parametrize("model", [MODEL, FAST], ids=["plain", "fast"])


def cache():
    return I.StaticCache.for_model(MODEL, batch=2, max_length=9)


def wrong_id(value):
    ids = IDS.clone()
    ids[1, 2] = value
    return ids


PROMPTS = [
    ({"ids": wrong_id(V)}, ValueError, f"token id {V} is out of range: the vocabulary has {V} tok"),
    ({"ids": wrong_id(-1)}, ValueError, "token id -1 is out of range"),
    ({"ids": IDS[:, :0]}, ValueError, r"ids has shape \(2, 0\): there is no token to read"),
    ({"ids": IDS[0]}, ValueError, r"ids has shape \(4,\); expected \(B, T\)"),
    ({"ids": IDS.float()}, TypeError, "ids is torch.float32; give a tensor of integers"),
    ({"ids": [[1, 2]]}, TypeError, "ids is a list; give a tensor of integers"),
    ({"ids": IDS.short()}, TypeError, "ids is torch.int16; .* int64 or int32"),
    ({"ids": IDS.to("meta")}, ValueError, "ids are on meta and the model on cpu; move one"),
    ({"pads": torch.tensor([0, 4])}, ValueError, "Row 1 is all padding: pads is 4 of 4 slots"),
    ({"pads": torch.tensor([0, -1])}, ValueError, "pads holds -1"),
    ({"pads": torch.tensor([0])}, ValueError, "pads has 1 entries for a batch of 2"),
    ({"pads": torch.tensor([0.0, 1.0])}, TypeError, "pads is torch.float32"),
    ({"pads": [0, 1]}, TypeError, "pads is a list"),
    ({"window": 0}, ValueError, "window is 0; give an integer of 1 or more"),
    ({"window": 2.0}, TypeError, "is a float"),
    ({"chunk": 0}, ValueError, "chunk is 0; give an integer of 1 or more"),
    ({"chunk": "2"}, TypeError, "is a str"),
]
LONG = (
    {"ids": torch.ones(2, 10).long()},
    ValueError,
    "9 slots and 10 are needed: the prompt has 10",
)


@BOTH
@pytest.mark.parametrize(("change", "error", "sentence"), [*PROMPTS, LONG])
def test_a_prompt_that_cannot_be_read_leaves_the_cache_empty(model, change, error, sentence):
    c = cache()
    with pytest.raises(error, match=sentence):
        I.prefill(model, **{"ids": IDS, "cache": c, **change})
    assert c.length == 0
    assert all((x == 0).all() for x in c.keys + c.values)


WRITING = [
    ({"n": -1}, ValueError, "n is -1; give an integer of 0 or more"),
    ({"n": 2.0}, TypeError, "n is a float"),
    ({"stop": 3}, TypeError, r"stop is 3; give a set of token ids, such as \{2\}"),
    ({"stop": None}, TypeError, "stop is None; give a set of token ids"),
    ({"stop": {None}}, TypeError, r"stop is \{None\}"),
    ({"stop": "</s>"}, TypeError, "stop is '</s>'"),
    (
        {"n": 7},
        ValueError,
        "9 slots and 10 are needed: the prompt has 4 tokens and 7 are to be wri",
    ),
]


@BOTH
@pytest.mark.parametrize(("change", "error", "sentence"), PROMPTS + WRITING)
def test_what_cannot_be_written_is_refused_before_anything_is_read(model, change, error, sentence):
    c = cache()
    for write in (I.generate, I.stream):
        with pytest.raises(error, match=sentence):
            write(model, **{"ids": IDS, "n": 6, "cache": c, **change})
    assert c.length == 0


@pytest.mark.parametrize(("change", "error", "sentence"), PROMPTS[:13] + WRITING[:5])
def test_the_uncached_one_refuses_the_same(change, error, sentence):
    with pytest.raises(error, match=sentence):
        I.generate_uncached(MODEL, **{"ids": IDS, "n": 2, **change})


@BOTH
@pytest.mark.parametrize(
    "choose",
    [
        lambda logits, seen: logits,
        lambda logits, seen: 3,
        lambda logits, seen: logits.argmax(-1, keepdim=True),
        lambda logits, seen: logits.amax(-1),
    ],
)
def test_a_choice_that_is_not_one_id_a_row(model, choose):
    with pytest.raises(
        (TypeError, ValueError), match=r"choose gave .*; expected one token id a row"
    ):
        I.generate(model, IDS, 2, choose=choose)


def test_the_uncached_one_refuses_a_window_of_nothing_also_without_a_token_to_write():
    with pytest.raises(ValueError, match="window is -5"):
        I.generate_uncached(MODEL, IDS, 0, window=-5)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("write", [I.generate, I.generate_uncached])
def test_a_last_choice_outside_the_vocabulary(write, n):
    def choose(logits, seen):
        return torch.full((2,), 999 if seen.shape[1] == 3 + n else 1)

    with pytest.raises(ValueError, match="token id 999 is out of range"):
        write(MODEL, IDS, n, choose=choose)


@BOTH
def test_a_choice_outside_the_vocabulary(model):
    with pytest.raises((ValueError, IndexError), match="out of range"):
        I.generate(model, IDS, 2, choose=lambda logits, seen: torch.full((2,), V))


@BOTH
def test_one_token_a_row_in_a_decode_step(model):
    c = cache()
    I.prefill(model, IDS, c)
    with pytest.raises(ValueError, match=r"ids has shape \(2, 4\)"):
        I.decode_step(model, IDS, c)
    with pytest.raises(ValueError):
        I.decode_step(model, IDS[0, :1], c)
    assert c.length == 4
    for _ in range(5):
        I.decode_step(model, IDS[:, 0], c)
    with pytest.raises(ValueError, match=r"9 slots, .*9 of them used|9 slots, all of them used"):
        I.decode_step(model, IDS[:, 0], c)
    assert c.length == 9


MASKS = [
    (torch.ones(4, 3).bool(), ValueError, r"mask has shape \(4, 3\); expected \(T, past \+ T\)"),
    (torch.ones(3, 4, 4).bool(), ValueError, "or with B = 2 in front"),
    (torch.ones(4, 4), TypeError, "mask is torch.float32; give a boolean tensor"),
    ("causal", TypeError, "mask is a str"),
]


@pytest.mark.parametrize(("mask", "error", "sentence"), MASKS)
def test_masks_and_positions_of_forward_cached(mask, error, sentence):
    with pytest.raises(error, match=sentence):
        I.forward_cached(MODEL, IDS, cache(), mask=mask)
    with pytest.raises(ValueError, match="positions has shape"):
        I.forward_cached(MODEL, IDS, cache(), positions=torch.arange(4))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [([], "There are no prompts"), ([[1], []], "Prompt 1 has shape"), ([[[1]]], "Prompt 0 has sh")],
)
def test_prompts_that_cannot_be_padded(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        I.left_pad(given)


@pytest.mark.parametrize("given", [[[1.9, 2.7], [3.2]], [[True, False]]])
def test_what_are_no_ids_is_not_padded(given):
    with pytest.raises(TypeError, match="give integers, the ids of tokens"):
        I.left_pad(given)


def test_an_engine_takes_a_set_of_ids_as_stop():
    engine = I.Engine(MODEL, blocks=4, block=4)
    for stop in ("ab", {2.5}, 3):
        with pytest.raises(TypeError, match="give a set of token ids"):
            engine.submit([1, 2], 2, stop=stop)
    assert not engine.busy and not engine.requests
