"""The decoder: hand-worked parts, and what must hold for any weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_models import small_config, small_model

from clearhead.attention import causal_mask
from clearhead.model import Decoder
from clearhead.model.decoder import RMSNorm, SwiGLU


def test_rms_norm_divides_by_the_root_mean_square():
    norm = RMSNorm(2, eps=0.0)
    norm.weight.data = torch.tensor([1.0, 10.0])
    got = norm(torch.tensor([3.0, 4.0]))  # root mean square = sqrt(12.5)
    torch.testing.assert_close(got, torch.tensor([3.0, 40.0]) / 12.5**0.5)


def test_rms_norm_adds_epsilon_under_the_root():
    norm = RMSNorm(2, eps=4.0)
    torch.testing.assert_close(norm(torch.zeros(2)), torch.zeros(2))
    torch.testing.assert_close(norm(torch.tensor([0.0, 0.1]))[1], torch.tensor(0.1 / 4.005**0.5))


def test_rms_norm_reduces_in_fp32_where_fp16_would_overflow():
    x = torch.full((64,), 300.0, dtype=torch.float16)  # 300² = 90,000 > 65,504
    torch.testing.assert_close(RMSNorm(64, 1e-5).half()(x), torch.ones(64, dtype=torch.float16))


def test_swiglu_multiplies_up_by_silu_of_gate():
    layer = SwiGLU(small_config(width=1, feed_forward=1))
    for module, weight in ((layer.gate, 1.0), (layer.up, 3.0), (layer.down, 5.0)):
        module.weight.data = torch.tensor([[weight]])
    z = torch.tensor(2.0)
    want = 5 * (z * torch.sigmoid(z)) * (3 * z)
    torch.testing.assert_close(layer(torch.full((1, 1, 1), 2.0)).squeeze(), want)


def test_rms_norm_keeps_fp64():
    x = torch.randn(8, dtype=torch.float64)
    want = x / (x.square().mean() + 1e-5).sqrt()
    torch.testing.assert_close(RMSNorm(8, 1e-5).double()(x), want, rtol=0, atol=1e-14)


def test_a_causal_mask_that_is_given_changes_nothing(ids):
    model = small_model()
    with torch.no_grad():
        torch.testing.assert_close(model(ids, mask=causal_mask(13, 13)), model(ids))


@pytest.mark.parametrize("variant", [{}, {"tied": True}, {"qkv_bias": True}, {"qk_norm": True}])
def test_a_later_token_never_changes_an_earlier_prediction(variant, ids):
    model = small_model(**variant)
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % model.config.vocab_size
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], atol=1e-6, rtol=0)
    assert (before[:, 7:] - after[:, 7:]).abs().amax(-1).min() > 1e-4  # and every later one moves


def test_only_differences_of_positions_count(ids):
    model = small_model()
    positions = torch.arange(13).expand(2, 13)
    with torch.no_grad():
        moved = model(ids, positions=positions + 100)
        torch.testing.assert_close(moved, model(ids), atol=1e-5, rtol=0)
        stretched = model(ids, positions=positions * 2)
    assert (stretched - moved).abs().max() > 1e-3


def test_left_padding_with_a_mask_changes_nothing(ids):
    model = small_model()
    padded = torch.cat([torch.zeros(2, 4, dtype=ids.dtype), ids], dim=1)
    real = torch.arange(17) >= 4
    mask = causal_mask(17, 17) & real
    with torch.no_grad():
        torch.testing.assert_close(model(padded, mask=mask)[:, 4:], model(ids), atol=1e-5, rtol=0)


def test_shared_key_value_heads_equal_repeated_ones(ids):
    """K = 2 for H = 4 is K = 4 with each key/value head written twice, side by side."""
    grouped, full = small_model(kv_heads=2), small_model(kv_heads=4)
    state = grouped.state_dict()
    for name, weight in state.items():
        if name.endswith(("key.weight", "value.weight")):
            heads = weight.unflatten(0, (2, 8)).repeat_interleave(2, dim=0)
            state[name] = heads.flatten(0, 1)
    full.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(full(ids), grouped(ids), atol=1e-6, rtol=0)


def test_a_tied_model_has_no_head_of_its_own(ids):
    model = small_model(tied=True)
    assert "head.weight" not in model.state_dict()
    with torch.no_grad():
        model.embedding.weight[5] = 0.0  # logit 5 is the dot product with row 5
        assert model(ids)[..., 5].abs().max() == 0


def test_rope_scale_multiplies_the_frequencies(ids):
    """Halving every frequency is the same as halving every position."""
    halved = small_model(rope_scale=(0.5,) * 4)
    with torch.no_grad():
        doubled = halved(ids, positions=2 * torch.arange(13).expand(2, 13))
        torch.testing.assert_close(doubled, small_model()(ids), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_logits_have_the_dtype_of_the_weights(dtype, ids):
    with torch.no_grad():
        want = small_model()(ids)
        got = small_model().to(dtype)(ids)
    assert got.dtype == dtype
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(got.float(), want, atol=tolerance, rtol=0.05)


def test_an_empty_sequence_gives_no_logits():
    assert small_model()(torch.zeros(1, 0, dtype=torch.long)).shape == (1, 0, 264)


@pytest.mark.parametrize("wrong", [-1, 264])
def test_a_token_id_out_of_range_is_refused(wrong):
    message = f"token id {wrong} is out of range: the vocabulary has 264 tokens, 0 to 263"
    with pytest.raises(ValueError, match=message):
        small_model()(torch.tensor([[1, wrong, 2]]))


@pytest.mark.parametrize("bad", [torch.zeros(1, 3), torch.zeros(3, dtype=torch.long)])
def test_ids_of_another_kind_or_shape_are_refused(bad):
    with pytest.raises(TypeError):
        small_model()(bad)


def test_the_same_sentence_says_what_ids_should_be():
    from clearhead.model._checks import check_ids

    with pytest.raises(TypeError, match=r"give integers of shape \(B, T\)"):
        check_ids(torch.zeros(1, 3), 264)


WITHOUT_THE_HOOK = """
import torch
from small_models import small_model
from clearhead.model import trace
model, ids = small_model(), torch.zeros(2, 5, dtype=torch.long)
for call in (
    lambda: model([[1, 2]]),
    lambda: trace(model, [[1, 2]]),
    lambda: model(ids, positions=3),
    lambda: model(ids, positions=ids[:1]),
    lambda: model(ids, mask="causal"),
    lambda: model(ids, mask=torch.ones(5, 5)),
    lambda: model(ids, mask=torch.ones(5, dtype=torch.bool)),
    lambda: model(ids, mask=torch.ones(4, 4, dtype=torch.bool)),
    lambda: model(ids, mask=torch.ones(3, 1, 5, 5, dtype=torch.bool)),
):
    try:
        call()
    except (TypeError, ValueError) as error:
        print(error)
"""


def test_the_decoder_and_trace_say_what_does_not_fit():
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_HOOK],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == [
        "ids is a list; give a tensor of integers, shape (B, T)",
        "ids is a list; give a tensor of integers, shape (B, T)",
        "positions is a int; give a tensor of integers",
        "positions has shape (1, 5); give that of ids, (2, 5)",
        "mask is str; give a boolean tensor, True = may attend",
        "mask is torch.float32; give a boolean tensor, True = may attend",
        "mask has shape (5,); give one that broadcasts to (B, H, T, T) = (2, 4, 5, 5)",
        "mask has shape (4, 4); give one that broadcasts to (B, H, T, T) = (2, 4, 5, 5)",
        "mask has shape (3, 1, 5, 5); give one that broadcasts to (B, H, T, T) = (2, 4, 5, 5)",
    ]


def test_every_parameter_gets_a_gradient(ids):
    model = Decoder(small_config(qkv_bias=True, qk_norm=True))
    model(ids).square().sum().backward()
    # a bias on k, before the norm of each head, still moves the scores: none is left out
    assert all(p.grad.abs().max() > 0 for p in model.parameters())
