"""One layer: a prompt token by token through decode is the prompt at once through prefill."""

import pytest
import torch

from clearhead.attention import multi_head, rotary
from clearhead.inference import decode_layer, prefill_layer

B, T, C, D = 2, 6, 10, 4


def weights(H, K, dtype=torch.float64):
    shapes = [(H * D, C), (K * D, C), (K * D, C), (C, H * D)]
    return [torch.randn(shape).to(dtype) for shape in shapes]


HEADS = pytest.mark.parametrize(("H", "K"), [(1, 1), (4, 4), (4, 2), (6, 1)])


@HEADS
def test_decoding_token_by_token_equals_prefill(H, K, dtype, close):
    x, w = torch.randn(B, T, C).to(dtype) / C**0.5, weights(H, K, dtype)
    sizes = dict(n_heads=H, n_kv_heads=K, theta=100.0)
    want, want_k, want_v = prefill_layer(x, *w, **sizes)
    k = v = torch.zeros(B, K, 0, D, dtype=dtype)
    steps = []
    for t in range(T):
        y, k, v = decode_layer(x[:, t : t + 1], k, v, *w, **sizes)
        steps.append(y)
    close((torch.cat(steps, dim=1), k, v), (want, want_k, want_v))


def test_prefill_without_rotation_is_multi_head_attention(close):
    """At position 0 nothing is turned: one token is enough to see every weight in its place."""
    x, w = torch.randn(B, 1, C).double(), weights(4, 4)
    y, k, v = prefill_layer(x, *w, n_heads=4, n_kv_heads=4)
    close(y, multi_head(x, *w, n_heads=4))
    close((k, v), tuple((x @ m.mT).unflatten(-1, (4, D)).transpose(1, 2) for m in w[1:3]))


def test_the_cached_keys_are_rotated_to_their_positions_and_the_values_are_not(close):
    x, w = torch.randn(B, T, C).double(), weights(4, 2)
    _, k, v = prefill_layer(x, *w, n_heads=4, n_kv_heads=2, theta=50.0)
    plain_k, plain_v = ((x @ m.mT).unflatten(-1, (2, D)).transpose(1, 2) for m in w[1:3])
    close(k, rotary(plain_k, torch.arange(T).expand(B, T), theta=50.0))
    close(v, plain_v)


def test_query_heads_share_key_value_heads_in_neighbours(close):
    """K = 2 for H = 4 is K = 4 with each key/value head written twice, side by side."""
    x, (w_q, w_k, w_v, w_o) = torch.randn(B, T, C).double(), weights(4, 2)
    twice = [m.unflatten(0, (2, D)).repeat_interleave(2, dim=0).flatten(0, 1) for m in (w_k, w_v)]
    want, _, _ = prefill_layer(x, w_q, *twice, w_o, n_heads=4, n_kv_heads=4)
    close(prefill_layer(x, w_q, w_k, w_v, w_o, n_heads=4, n_kv_heads=2)[0], want)


def test_the_cache_given_to_decode_is_not_changed():
    x, w = torch.randn(B, 1, C).double(), weights(4, 2)
    k, v = torch.randn(2, B, 2, 5, D).double().unbind()
    before = k.clone(), v.clone()
    _, grown_k, _ = decode_layer(x, k, v, *w, n_heads=4, n_kv_heads=2)
    assert grown_k.shape == (B, 2, 6, D)
    assert torch.equal(grown_k[:, :, :5], k)
    assert torch.equal(k, before[0])
    assert torch.equal(v, before[1])


def test_a_later_token_never_changes_an_earlier_output():
    x, w = torch.randn(B, T, C).double(), weights(4, 2)
    changed = x.clone()
    changed[:, 4] += 1
    a, b = (prefill_layer(z, *w, n_heads=4, n_kv_heads=2)[0] for z in (x, changed))
    assert torch.equal(a[:, :4], b[:, :4])
    assert ((a[:, 4:] - b[:, 4:]).abs().amax(-1) > 1e-6).all()
