"""The int8 cache: what rounding costs is bounded, and paid once."""

import pytest
import torch
from inference_models import FAMILIES, V, prompts, sharp_model

from clearhead.inference import Int8Cache, KVCache, decode_step, generate, left_pad, prefill
from clearhead.inference.quantised import dequantise_rows, quantise_rows


def test_a_row_by_hand():
    codes, scale = quantise_rows(torch.tensor([[2.54, -1.0, 0.0, 0.011]]))
    torch.testing.assert_close(scale, torch.tensor([[0.02]]))
    assert codes.tolist() == [[127, -50, 0, 1]]
    assert codes.dtype == torch.int8
    torch.testing.assert_close(dequantise_rows(codes, scale), torch.tensor([[2.54, -1.0, 0, 0.02]]))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_no_entry_is_off_by_more_than_half_a_scale(size, dtype):
    x = (torch.randn(5, 7, 64).double() ** 3 * size).to(dtype)
    codes, scale = quantise_rows(x)
    error = (dequantise_rows(codes, scale).double() - x.double()).abs()
    bound = x.double().abs().amax(-1, keepdim=True) / 254
    assert (error <= bound * (1 + 1e-4)).all()
    assert (error > bound * 0.9).any()  # the bound is not a loose one
    assert (codes.abs().amax(-1) == 127).all()


def test_each_row_has_a_scale_of_its_own():
    x = torch.tensor([[1.0, 0.5], [100.0, 50.0]])
    codes, scale = quantise_rows(x)
    assert codes.tolist() == [[127, 64], [127, 64]]
    torch.testing.assert_close(scale[:, 0], torch.tensor([1.0, 100.0]) / 127)


def test_a_row_of_zeros_stays_zero():
    codes, scale = quantise_rows(torch.zeros(2, 4))
    assert (dequantise_rows(codes, scale) == 0).all()


@pytest.mark.parametrize("fault", [torch.nan, torch.inf, -torch.inf])
def test_a_fault_in_a_row_is_passed_on_and_stays_in_its_row(fault):
    x = torch.ones(2, 4)
    x[1, 2] = fault
    got = dequantise_rows(*quantise_rows(x))
    assert torch.equal(got[0], x[0])
    assert not got[1].isfinite().any()


def test_rows_are_rounded_once_when_they_come():
    cache, L = Int8Cache(2), 2
    rows = [torch.randn(2, 3, 2, T, 8).unbind() for T in (4, 1, 2)]
    for k, v in rows:
        for layer in range(L):
            keys, values = cache.update(layer, k, v)
    for got, given in ((keys, [k for k, _ in rows]), (values, [v for _, v in rows])):
        want = torch.cat([dequantise_rows(*quantise_rows(x)) for x in given], dim=2)
        assert torch.equal(got, want)
        assert not torch.equal(got, torch.cat(given, dim=2))
    assert cache.length == 7


def test_bytes_are_one_a_number_and_four_a_row():
    model = sharp_model(dtype=torch.bfloat16)
    cache, plain = Int8Cache(3), KVCache(3)
    ids = torch.tensor(prompts(6, 6))
    for c in (cache, plain):
        prefill(model, ids, c)
    rows = 2 * 3 * 2 * 2 * 6  # keys and values, layers, batch, heads, tokens
    assert cache.nbytes == rows * (8 + 4)
    assert plain.nbytes == rows * 2 * 8
    cache.truncate(2)
    assert (cache.length, cache.nbytes) == (2, rows * (8 + 4) // 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_over_it_is_off_by_what_the_rounding_explains(family, close):
    """The same steps over a plain cache whose rows were rounded first give the same logits."""

    class Rounded(KVCache):
        def update(self, layer, k, v):
            return super().update(layer, *(dequantise_rows(*quantise_rows(x)) for x in (k, v)))

    model = sharp_model(family)
    ids, pads = left_pad(prompts(7, 3))
    caches = [Int8Cache(3), Rounded(3), KVCache(3)]
    got, rounded, exact = (prefill(model, ids, cache, pads=pads) for cache in caches)
    close(got, rounded)
    token = torch.tensor([1, 2]) % V
    got, rounded, exact = (decode_step(model, token, cache, pads=pads) for cache in caches)
    close(got, rounded)
    assert 0 < (got - exact).norm() / exact.norm() < 0.1


def test_smollm2_still_answers(smollm2):
    model, tokenizer = smollm2
    chat = tokenizer.chat([{"role": "user", "content": "What is the capital of France?"}])
    ids = torch.tensor([tokenizer.encode(chat)])
    got = generate(model, ids, 12, cache=Int8Cache(30), stop={tokenizer.eos_id})
    assert "Paris" in tokenizer.decode(got[0, ids.shape[1] :])


def test_codes_of_a_scale_that_is_rounded_far_down_do_not_wrap():
    codes, _ = quantise_rows(torch.tensor([[2.6e-43, -2.6e-43]]))
    assert codes.tolist() == [[127, -127]]
