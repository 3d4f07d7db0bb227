"""Wrong input is refused with a sentence that says what came and what is expected."""

import subprocess
import sys

import pytest
import torch

import clearhead.attention as A


def t(*shape, dtype=torch.float32, device="cpu"):
    return torch.zeros(shape, dtype=dtype, device=device)


Q, K, V = t(2, 4, 5, 8), t(2, 4, 7, 8), t(2, 4, 7, 6)
WEIGHTS = [t(12, 6), t(12, 6), t(9, 6), t(5, 9)]
X, AT = t(2, 3, 5, 8), torch.zeros(2, 5, dtype=torch.int64)

CASES = [
    # dtypes
    (lambda: A.softmax(t(3, dtype=torch.int64)), TypeError, "x is torch.int64; give a floating"),
    (lambda: A.softmax([1.0, 2.0]), TypeError, "x is a list; give a torch.Tensor"),
    (lambda: A.scaled_dot_product(Q, K.double(), V), TypeError, "k is torch.float64; convert both"),
    (lambda: A.attention(Q, K, V.bfloat16()), TypeError, "v is torch.bfloat16; convert both"),
    (lambda: A.attention(Q, K, V, t(5, 7)), TypeError, "mask is torch.float32; give a boolean"),
    (
        lambda: A.scaled_dot_product(Q, K, V, t(5, 7, dtype=torch.int64)),
        TypeError,
        "True = this query may attend",
    ),
    (
        lambda: A.scaled_dot_product(Q, K, V, bias=t(5, 7, dtype=torch.bool)),
        TypeError,
        "bias is torch.bool; give a floating-point term",
    ),
    (lambda: A.rotary(X, AT.float()), TypeError, "positions are torch.float32; give an integer"),
    (lambda: A.rotary(X, 3), TypeError, "positions are int; give an integer tensor"),
    # shapes
    (lambda: A.scaled_dot_product(Q, t(2, 4, 7, 9), V), ValueError, "head size 8 and k has 9"),
    (lambda: A.flash_forward(Q, K, t(2, 4, 6, 6)), ValueError, "k has 7 keys and v has 6 values"),
    (lambda: A.flash_attention(Q, K[:1], V[:1]), ValueError, "the batch axes must be equal"),
    (lambda: A.scaled_dot_product(Q, K[0], V), ValueError, "equally many axes"),
    (lambda: A.attention(Q[0], K[0], V[0]), ValueError, r"expected shapes \(B, H, T, D\)"),
    (lambda: A.attention(Q, K[:, :3], V[:, :3]), ValueError, "q has 4 heads and k has 3"),
    (lambda: A.grouped_query(Q, K[:, :3], V[:, :3]), ValueError, "a multiple of the number"),
    (lambda: A.grouped_query(Q, K[:, :0], V[:, :0]), ValueError, "q has 4 heads and k has 0"),
    (
        lambda: A.scaled_dot_product(Q, K, V, A.causal_mask(7, 5)),
        ValueError,
        r"mask has shape \(7, 5\); expected one that broadcasts to the scores, \(2, 4, 5, 7\)",
    ),
    (lambda: A.attention(Q, K, V, A.causal_mask(5, 7)[0]), ValueError, "at least two axes"),
    (lambda: A.attention(Q, K, V, bias=t(3, 5, 7)), ValueError, r"bias has shape \(3, 5, 7\)"),
    (lambda: A.multi_head(t(5, 6), *WEIGHTS, n_heads=3), ValueError, r"expected \(B, T, C\)"),
    (
        lambda: A.multi_head(t(2, 5, 7), *WEIGHTS, n_heads=3),
        ValueError,
        r"w_q has shape \(12, 6\); expected \(out, in\) with in = 7",
    ),
    (
        lambda: A.multi_head(t(2, 5, 6), *WEIGHTS, n_heads=5),
        ValueError,
        "w_q gives 12 features, which 5 heads do not divide",
    ),
    (
        lambda: A.multi_head(t(2, 5, 6), WEIGHTS[0][:6], *WEIGHTS[1:], n_heads=3),
        ValueError,
        "w_q gives 6 features and w_k 12",
    ),
    (
        lambda: A.multi_head(t(2, 5, 6), *WEIGHTS[:3], t(5, 12), n_heads=3),
        ValueError,
        "with in = 9, the features that w_v gives",
    ),
    (lambda: A.rotary(t(2, 3, 5, 7), AT), ValueError, "head size D is 7; rotary needs an even one"),
    (lambda: A.rotary(t(2, 5, 8), AT), ValueError, r"x has shape \(2, 5, 8\); expected \(B, H"),
    (lambda: A.rotary(X, AT[:1]), ValueError, r"positions have shape \(1, 5\); expected \(B, T\)"),
    (lambda: A.rotary(X, AT, theta=0.0), ValueError, "theta is 0.0; give a positive number"),
    (
        lambda: A.online_softmax_update(t(5), t(5), t(5, 3), t(5, 4), t(3, 3)),
        ValueError,
        r"values \(3, 3\); expected m and l",
    ),
    (
        lambda: A.online_softmax_update(t(5), t(5), t(5, 3), t(5, 0), t(0, 3)),
        ValueError,
        "S of 1 or more",
    ),
    (
        lambda: A.flash_backward(t(2, 4, 5, 6), Q, K, V, t(2, 4, 5, 6), t(2, 4, 7)),
        ValueError,
        r"logsumexp has shape \(2, 4, 7\); expected \(2, 4, 5\)",
    ),
    # devices
    (
        lambda: A.attention(Q, K, t(2, 4, 7, 6, device="meta")),
        ValueError,
        "q is on cpu and v is on meta; move both to one device",
    ),
    (
        lambda: A.attention(Q, K, V, A.causal_mask(5, 7, device="meta")),
        ValueError,
        "mask is on meta and q is on cpu",
    ),
    (lambda: A.rotary(X, AT.to("meta")), ValueError, "positions are on meta and x is on cpu"),
    # sizes
    (lambda: A.causal_mask(-1, 4), ValueError, "T is -1; give an integer of 0 or more"),
    (lambda: A.causal_mask(3, 4.0), TypeError, r"S is a float \(4.0\); give an integer"),
    (lambda: A.sliding_window_mask(3, 4, 0), ValueError, "window is 0; give an integer of 1"),
    (lambda: A.flash_forward(Q, K, V, block_size=0), ValueError, "block_size is 0; give"),
    (lambda: A.attention_cost(1, 1, 1, True, 1, 1), TypeError, "T is a bool"),
    (lambda: A.attention_cost(1, 1, 1, -2, 1, 1), ValueError, "T is -2"),
    (lambda: A.attention_cost(1, 2, 4, 1, 1, 1), ValueError, "H is 2 and K is 4; the number of"),
    (lambda: A.attention_cost(1, 6, 4, 1, 1, 1), ValueError, "H is 6 and K is 4; the number of"),
    (lambda: A.attention_cost(1, 6, 0, 1, 1, 1), ValueError, "H is 6 and K is 0; the number of"),
    (lambda: A.split_heads(t(2, 5, 7), 3), ValueError, r"\(2, 5, 7\) and n_heads is 3; expected"),
    (lambda: A.split_heads(t(2, 6), 3), ValueError, r"\(2, 6\) and n_heads is 3; expected"),
    (lambda: A.scaled_dot_product(Q, K, V, scale="1"), TypeError, "scale is a str; give a number"),
    (lambda: A.attention(Q, K, V, scale=t(1)), TypeError, "scale is a Tensor; give a number"),
    (lambda: A.flash_forward(Q, K, V, scale="1"), TypeError, "scale is a str; give a number"),
    (
        lambda: A.scaled_dot_product(Q, K[:, :2], V[:, :2]),
        ValueError,
        "q has 4 heads and k has 2 .*call grouped_query or attention",
    ),
]


@pytest.mark.parametrize(("call", "kind", "sentence"), CASES, ids=[case[2] for case in CASES])
def test_wrong_input_is_refused(call, kind, sentence):
    with pytest.raises(kind, match=sentence) as error:
        call()
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_the_triton_kernel_refuses_what_it_cannot_take(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for given, kind, sentence in [
        ((Q.double(), K.double(), V.double()), TypeError, "the kernel takes float32, bfloat16"),
        ((Q, K, V), ValueError, r"q has head size 8; the kernel takes one of \(16, 32, 64, 128\)"),
        ((t(2, 4, 5, 16), t(2, 4, 7, 16), V), ValueError, "v has head size 6"),
        ((t(2, 4, 5, 16),) * 3, ValueError, "q is on the CPU; move q, k and v to a GPU"),
    ]:
        with pytest.raises(kind, match=sentence):
            A.flash_forward_triton(*given)


WITHOUT_TRITON = """
import sys
import clearhead.attention as A
assert "triton" not in sys.modules, "importing the library imported triton"
sys.modules["triton"] = None  # as if it were not installed
import torch
q = torch.zeros(1, 1, 4, 16)
assert A.flash_forward(q, q, q)[0].shape == q.shape
try:
    A.flash_forward_triton(q, q, q)
except ImportError as error:
    print(error)
"""


def test_a_missing_triton_is_named_when_asked_for_and_needed_by_nothing_else():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRITON], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("flash_forward_triton needs the package triton")
    assert done.stdout.count("\n") == 1


def test_the_library_has_no_other_names():
    with pytest.raises(AttributeError, match="no attribute 'flash_forward_tritone'"):
        _ = A.flash_forward_tritone
