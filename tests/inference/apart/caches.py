"""Caches, positions, layers: wrong input is refused with a sentence that says what came."""

import pytest
import torch
from inference_models import sharp_model

import clearhead.inference as I


def t(*shape, dtype=torch.float64):
    return torch.zeros(shape, dtype=dtype)


def n(*numbers):
    return torch.tensor(numbers)


# B, K, T, D of rows that fit: 2, 3, 1, 4
ROWS = [
    ({"k": t(2, 3, 1)}, ValueError, r"Given k \(2, 3, 1\) and v \(2, 3, 1, 4\); expected \(B, K"),
    ({"v": t(2, 3, 2, 4)}, ValueError, r"expected \(B, K, T, D\) for both"),
    ({"k": t(2, 3, 1, 4).float()}, TypeError, "k is torch.float32 and v is torch.float64"),
    ({"k": t(2, 3, 1, 4).long()}, TypeError, "k is torch.int64; give a floating-point"),
    ({"k": None}, TypeError, "k is a NoneType; give a torch.Tensor"),
    ({"layer": 2}, ValueError, "layer is 2; the cache has 2 layers, 0 to 1"),
    ({"layer": -1}, ValueError, "layer is -1"),
    (
        {"k": t(1, 3, 1, 4), "v": t(1, 3, 1, 4)},
        ValueError,
        r"= \(1, 3, 4\) and the cache holds \(2",
    ),
    (
        {"k": t(2, 1, 1, 4), "v": t(2, 1, 1, 4)},
        ValueError,
        "one cache serves one batch of one model",
    ),
    (
        {"k": t(2, 3, 1, 4).half(), "v": t(2, 3, 1, 4).half()},
        ValueError,
        "rows are torch.float16 on",
    ),
]


def static():
    return I.StaticCache(2, 2, 3, 5, 4, dtype=torch.float64)


CACHES = [lambda: I.KVCache(2), static, lambda: I.Int8Cache(2)]
CASES = [(make, *case) for make in CACHES for case in ROWS]
CASES.pop()  # an int8 cache takes rows of any dtype


@pytest.mark.parametrize(("make", "change", "error", "sentence"), CASES)
def test_rows_that_do_not_fit_change_nothing(make, change, error, sentence):
    cache = make()
    for layer in range(2):
        cache.update(layer, t(2, 3, 2, 4), t(2, 3, 2, 4))
    with pytest.raises(error, match=sentence):
        cache.update(**{"layer": 0, "k": t(2, 3, 1, 4), "v": t(2, 3, 1, 4), **change})
    assert cache.length == 2
    assert cache.update(0, t(2, 3, 1, 4), t(2, 3, 1, 4))[0].shape[2] == 3


@pytest.mark.parametrize("make", [lambda: I.KVCache(2), static])
@pytest.mark.parametrize(
    ("size", "error", "sentence"),
    [
        (3, ValueError, "n is 3; the cache holds 2 slots and can only be cut down"),
        (-1, ValueError, "n is -1"),
        (1.0, TypeError, "n is a float"),
    ],
)
def test_a_cache_can_only_be_cut_down(make, size, error, sentence):
    cache = make()
    for layer in range(2):
        cache.update(layer, t(2, 3, 2, 4), t(2, 3, 2, 4))
    with pytest.raises(error, match=sentence):
        cache.truncate(size)
    assert cache.length == 2


@pytest.mark.parametrize("wrong", [0, -1, 2.0, None, True])
def test_sizes_of_caches(wrong):
    with pytest.raises((TypeError, ValueError), match="layers is"):
        I.KVCache(wrong)
    with pytest.raises((TypeError, ValueError), match="max_length is"):
        I.StaticCache(2, 2, 3, wrong, 4)


UPDATE = {"cache_k": t(2, 3, 5, 4), "cache_v": t(2, 3, 5, 4), "k": t(2, 3, 2, 4)}
UPDATE |= {"v": t(2, 3, 2, 4), "lengths": n(0, 3)}
UPDATES = [
    ({"cache_k": t(2, 3, 5)}, ValueError, r"cache_k \(2, 3, 5\)"),
    ({"cache_v": t(2, 3, 6, 4)}, ValueError, "expected"),
    ({"k": t(2, 3, 1, 4)}, ValueError, r"k \(2, 3, 1, 4\) and v \(2, 3, 2, 4\)"),
    (
        {"k": t(2, 1, 2, 4), "v": t(2, 1, 2, 4)},
        ValueError,
        r"\(2, 1, 4\) and the cache holds \(2, 3",
    ),
    ({"k": t(2, 3, 2, 4).float()}, TypeError, "convert both to one dtype"),
    ({"lengths": n(0, 4)}, ValueError, "Sequence 1 has used 4 of 5 slots; 2 more rows do not fit"),
    ({"lengths": n(-1, 3)}, ValueError, "lengths holds -1; give counts of 0 or more"),
    ({"lengths": n(0)}, ValueError, "lengths has 1 entries for a batch of 2"),
    (
        {"lengths": n(0.0, 3.0)},
        TypeError,
        r"lengths is torch.float32; give a tensor of integers, sh",
    ),
    ({"lengths": [0, 3]}, TypeError, r"lengths is a list; give a tensor of integers, shape \(B,\)"),
    ({"lengths": n([0, 3])}, ValueError, r"lengths has shape \(1, 2\); expected \(B,\)"),
    ({"lengths": n(True, False)}, TypeError, "lengths is torch.bool"),
    ({"lengths": n(0, 3).to(torch.int8)}, TypeError, r"lengths is torch.int8; .* int64 or int32"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), UPDATES)
def test_an_update_that_does_not_fit(change, error, sentence):
    with pytest.raises(error, match=sentence):
        I.kv_cache_update(**{**UPDATE, **change})


REAL = t(2, 3, dtype=torch.bool)
POSITIONS = [
    ((REAL.long(), n(0, 0)), TypeError, "real is torch.int64; give a boolean tensor"),
    (([[True]], n(0)), TypeError, "real is a list"),
    ((REAL[0], n(0, 0)), ValueError, r"real has shape \(3,\); expected \(B, T\)"),
    ((REAL, n(0)), ValueError, "past has 1 entries for a batch of 2"),
    ((REAL, n(0, -2)), ValueError, "past holds -2"),
    ((REAL, 0), TypeError, "past is a int"),
    ((REAL, n(0.0, 0.0)), TypeError, "past is torch.float32"),
]


@pytest.mark.parametrize(("given", "error", "sentence"), POSITIONS)
def test_positions(given, error, sentence):
    with pytest.raises(error, match=sentence):
        I.padded_positions(*given)


MASK = {"T": 2, "past": 3, "pads": n(0, 1), "window": None}
MASKS = [
    ({"T": -1}, ValueError, "T is -1"),
    ({"T": 2.0}, TypeError, "T is a float"),
    ({"past": -1}, ValueError, "past is -1"),
    ({"pads": n(-1, 0)}, ValueError, "pads holds -1"),
    ({"pads": 3}, TypeError, "pads is a int"),
    ({"pads": n(0.0)}, TypeError, "pads is torch.float32"),
    ({"pads": n([0, 1])}, ValueError, r"pads has shape \(1, 2\)"),
    ({"window": 0}, ValueError, "window is 0"),
    ({"window": 1.5}, TypeError, "window is a float"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), MASKS)
def test_masks(change, error, sentence):
    with pytest.raises(error, match=sentence):
        I.chunked_prefill_mask(**{**MASK, **change})


LAYER = {"x": t(2, 1, 10), "w_q": t(24, 10), "w_k": t(12, 10), "w_v": t(12, 10), "w_o": t(10, 24)}
LAYER |= {"n_heads": 4, "n_kv_heads": 2}
CACHE = {"cache_k": t(2, 2, 5, 6), "cache_v": t(2, 2, 5, 6)}
LAYERS = [
    ({"x": t(2, 10)}, ValueError, r"x \(2, 10\); expected x \(B, T, C\)"),
    ({"x": t(2, 1, 9)}, ValueError, r"expected w_q \(H·D, C\)"),
    ({"w_q": t(25, 10)}, ValueError, "4 heads"),
    ({"w_k": t(24, 10)}, ValueError, r"w_k \(24, 10\)"),
    ({"w_v": t(24, 10)}, ValueError, r"w_v \(24, 10\)"),
    ({"w_o": t(10, 12)}, ValueError, r"w_o \(10, 12\)"),
    ({"w_o": t(13, 24)}, ValueError, r"w_o \(13, 24\)"),
    ({"w_o": t(24)}, ValueError, "matrices for weights"),
    ({"n_kv_heads": 3}, ValueError, "3 key/value heads"),
    ({"n_heads": 0}, ValueError, "n_heads is 0"),
    ({"n_heads": 4.0}, TypeError, "n_heads is a float"),
    ({"w_q": t(24, 10).float()}, TypeError, "w_q is torch.float32"),
]
DECODES = [
    ({"x": t(2, 2, 10)}, ValueError, r"expected x \(B, 1, C\)"),
    ({"cache_k": t(2, 2, 4, 6)}, ValueError, r"k \(2, 2, 4, 6\) and v \(2, 2, 5, 6\)"),
    ({"cache_k": t(2, 4, 5, 6), "cache_v": t(2, 4, 5, 6)}, ValueError, "with K = 2 and D = 6"),
    ({"cache_k": t(1, 2, 5, 6), "cache_v": t(1, 2, 5, 6)}, ValueError, r"cache of \(1, 2, 5, 6\)"),
    ({"cache_k": t(2, 2, 5, 6).float()}, TypeError, "cache_k is torch.float32"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), LAYERS)
def test_a_layer_that_does_not_fit(change, error, sentence):
    with pytest.raises(error, match=sentence):
        I.prefill_layer(**{**LAYER, **change})


@pytest.mark.parametrize(("change", "error", "sentence"), LAYERS + DECODES)
def test_a_decoding_layer_that_does_not_fit(change, error, sentence):
    with pytest.raises(error, match=sentence):
        I.decode_layer(**{**LAYER, **CACHE, **change})


def test_a_cache_for_another_batch_or_dtype_is_refused_by_both_paths():
    model = sharp_model()
    ids, token = torch.ones(3, 4).long(), torch.ones(3).long()
    small = I.StaticCache.for_model(model, batch=2, max_length=9)
    wrong = I.StaticCache.for_model(sharp_model(dtype=torch.float32), batch=3, max_length=9)
    fast = I.FastDecoder(model)
    for m in (model, fast):
        for cache in (small, wrong):
            with pytest.raises(ValueError, match="cache"):
                I.prefill(m, ids, cache)
            assert cache.length == 0
    with pytest.raises(ValueError, match=r"ids has shape \(3,\) and the cache 2 rows"):
        I.decode_step(fast, token, small)
    with pytest.raises(TypeError, match="cache is a KVCache; a FastDecoder writes into a StaticC"):
        I.prefill(fast, ids, I.KVCache(3))
    with pytest.raises(TypeError, match="cache is a Int8Cache; a FastDecoder"):
        I.decode_step(fast, token, I.Int8Cache(3))
