r"""The tiles of `flash_forward` as one GPU kernel, written in Triton.

One program of the kernel takes one tile of queries of one head and passes over the keys; scores,
weights and the running $m$, $\ell$, $a$ stay on the chip. It differs from the plain tiles in three
things that make it fast.

Powers of two: the hardware has $2^x$, so scores carry the factor $\log_2 e$ from the start,

$$
e^{s - m} = 2^{\,s \log_2 e \,-\, m \log_2 e} \tag{1}
$$

Two passes: blocks that every query of the tile may see whole need no mask and run first; only the
blocks at the diagonal and the last, ragged one compare positions. Sharing: query head h reads
key/value head h // (H // K) by index, so nothing is copied for grouped queries.

**Shapes.** `q` is `(B, H, T, D)`, `k` `(B, K, S, D)`, `v` `(B, K, S, Dv)`, with any T and S and
with D and Dv out of 16, 32, 64, 128. Causal is aligned bottom-right; a query without any key gets
output 0 and log-sum-exp $-\infty$.

**Numerics.** Scores, $m$, $\ell$ and $a$ are fp32. The two products take 16-bit operands as they
are, with fp32 sums (the weights are rounded to the dtype of v for the second), and fp32 operands in
full fp32, not TF32.

**Needs** the optional package `triton` (Linux; `pip install "clearhead[triton]"`) and a GPU. With
`TRITON_INTERPRET=1` set before Triton is first imported, it runs slowly on a CPU.

**Source.** Dao, 2023 (FlashAttention-2), Algorithm 1 and section 3.1; OpenAI's Triton tutorial 06,
"Fused Attention", for equation (1) and the two passes.
"""

import functools
import math
import os
from typing import no_type_check

import torch
from jaxtyping import Float
from torch import Tensor

from ._checks import require_qkv, require_scale

try:
    import triton
    import triton.language as tl
    from triton.language import constexpr
except ImportError:
    triton = tl = constexpr = None

HEAD_SIZES = (16, 32, 64, 128)
jit = triton.jit if triton else lambda function: function


@jit
@no_type_check
def _kernel(
    Q, K, V, Out, Lse,
    q_b, q_h, q_t, q_d, k_b, k_h, k_s, k_d, v_b, v_h, v_s, v_d,
    H, queries_a_head, T, S, scale_log2,
    D: constexpr, Dv: constexpr, CAUSAL: constexpr, LONG: constexpr,
    PRECISION: constexpr, BLOCK_T: constexpr, BLOCK_S: constexpr,
):  # fmt: skip
    # One program: one tile of BLOCK_T queries of one head. The last tile first: with a causal
    # mask it has the most keys to pass.
    tiles = tl.cdiv(T, BLOCK_T)
    head = (tl.program_id(0) // tiles).to(tl.int64)
    first = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_T
    b, h = head // H, head % H
    kv = h // queries_a_head
    i, j = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_S)
    d, e = tl.arange(0, D), tl.arange(0, Dv)
    inside = first + i < T
    Q += b * q_b + h * q_h + first.to(tl.int64) * q_t
    q = tl.load(Q + i[:, None] * q_t + d[None, :] * q_d, mask=inside[:, None], other=0.0)
    k_ptr = K + b * k_b + kv * k_h + d[:, None] * k_d + j[None, :] * k_s  # D × BLOCK_S: transposed
    v_ptr = V + b * v_b + kv * v_h + j[:, None] * v_s + e[None, :] * v_d
    m = tl.full([BLOCK_T], float("-inf"), tl.float32)
    l = tl.zeros([BLOCK_T], tl.float32)  # noqa: E741
    acc = tl.zeros([BLOCK_T, Dv], tl.float32)

    # Keys before `whole` are seen by every query of the tile; from `end` on, by none.
    whole, end = S, S
    position = S + i  # without a causal mask each query stands after the last key
    if CAUSAL:
        whole = tl.maximum(tl.minimum(S, first + S - T + 1), 0)
        end = tl.maximum(tl.minimum(S, first + S - T + BLOCK_T), 0)
        position = first + i + S - T
    whole = whole // BLOCK_S * BLOCK_S
    m, l, acc, k_ptr, v_ptr = _pass(  # noqa: E741
        q, m, l, acc, k_ptr, v_ptr, k_s, v_s, 0, whole,
        position, S, scale_log2, False, PRECISION, BLOCK_S,
    )  # fmt: skip
    m, l, acc, k_ptr, v_ptr = _pass(  # noqa: E741
        q, m, l, acc, k_ptr, v_ptr, k_s, v_s, whole, end,
        position, S, scale_log2, True, PRECISION, BLOCK_S,
    )  # fmt: skip

    total = tl.where(l == 0.0, 1.0, l)  # 1 for a query without a key: output 0, lse = m = -inf
    output = (acc / total[:, None]).to(Out.dtype.element_ty)
    row = head * T + first + i
    tl.store(Out + row[:, None] * Dv + e[None, :], output, mask=inside[:, None])
    tl.store(Lse + row, (m + tl.log2(total)) * 0.6931471805599453, mask=inside)  # log2 to ln


@jit
@no_type_check
def _pass(
    q, m, l, acc, k_ptr, v_ptr, k_s, v_s, start, stop, position, S, scale_log2,  # noqa: E741
    MASKED: constexpr, PRECISION: constexpr, BLOCK_S: constexpr,
):  # fmt: skip
    # The online softmax over the keys start…stop, a block at a time.
    j = tl.arange(0, BLOCK_S)
    for block in tl.range(start, stop, BLOCK_S):
        if MASKED:
            known = block + j < S
            k = tl.load(k_ptr, mask=known[None, :], other=0.0)
            v = tl.load(v_ptr, mask=known[:, None], other=0.0)
        else:
            k = tl.load(k_ptr)
            v = tl.load(v_ptr)
        scores = tl.dot(q, k, input_precision=PRECISION)
        if MASKED:
            allowed = known[None, :] & (block + j[None, :] <= position[:, None])
            scores = tl.where(allowed, scores, float("-inf"))
        new_m = tl.maximum(m, tl.max(scores, 1) * scale_log2)
        shift = new_m
        if MASKED:
            shift = tl.where(new_m == float("-inf"), 0.0, new_m)
        p = tl.exp2(tl.fma(scores, scale_log2, -shift[:, None]))  # equation (1)
        rescale = tl.exp2(m - shift)
        l = l * rescale + tl.sum(p, 1)  # noqa: E741
        acc = acc * rescale[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        m = new_m
        k_ptr += BLOCK_S * k_s
        v_ptr += BLOCK_S * v_s
    return m, l, acc, k_ptr, v_ptr


def flash_forward_triton(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S Dv"],
    *,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Float[Tensor, "B H T Dv"], Float[Tensor, "B H T"]]:
    r"""Attention in one kernel. Returns the output and the fp32 log-sum-exp of each row.

    Forward only: the results carry no gradient. Raises `ImportError` when Triton is missing,
    `TypeError` for a dtype other than fp32, bf16 and fp16, and `ValueError` for shapes that do not
    fit, a head size out of 16, 32, 64, 128, or tensors on the CPU without `TRITON_INTERPRET=1`.
    """
    _require_triton(q, k, v)
    require_scale(scale)
    given = q.dtype
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if scale <= 0:  # the kernel scales a maximum, which needs a positive factor
        q, scale = q * scale, 1.0
    if _interpreted() and given == torch.bfloat16:  # the interpreter cannot multiply bf16
        q, k, v = q.float(), k.float(), v.float()
    (B, H, T, D), (K, S, Dv) = q.shape, (k.shape[1], *v.shape[2:])
    output = torch.empty(B, H, T, Dv, dtype=q.dtype, device=q.device)
    logsumexp = torch.empty(B, H, T, dtype=torch.float32, device=q.device)
    if output.numel():
        kernel, tiles = _tuned()
        kernel[lambda meta: (triton.cdiv(T, meta["BLOCK_T"]) * B * H,)](
            *(q.detach(), k.detach(), v.detach(), output, logsumexp),
            *(*q.stride(), *k.stride(), *v.stride()),
            *(H, H // K, T, S, scale * math.log2(math.e)),
            **{"D": D, "Dv": Dv, "CAUSAL": causal, "LONG": T * S > 2**20, **tiles},
            enable_fp_fusion=True,  # let a multiply and an add become one instruction
            PRECISION="ieee" if q.dtype == torch.float32 else "tf32",  # 16-bit operands ignore it
        )
    return output.to(given), logsumexp


@functools.cache
def _tuned() -> tuple:
    """The kernel, and its tile sizes: fixed for the interpreter, tuned on a GPU.

    `LONG` is nothing to the kernel; the tuner keeps one choice for short inputs, one for long.
    """
    if _interpreted():
        return _kernel, {"BLOCK_T": 32, "BLOCK_S": 32}
    tiles = [(64, 32, 4, 2), (64, 64, 4, 3), (128, 32, 4, 3), (128, 64, 4, 3)]
    tiles += [(128, 64, 8, 3), (128, 64, 8, 4), (128, 128, 8, 2), (128, 128, 8, 3)]
    configs = [
        triton.Config({"BLOCK_T": t, "BLOCK_S": s}, num_warps=warps, num_stages=stages)
        for t, s, warps, stages in tiles
    ]
    return triton.autotune(configs, key=["D", "Dv", "CAUSAL", "LONG"])(_kernel), {}


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _require_triton(q: Tensor, k: Tensor, v: Tensor) -> None:
    if triton is None:
        raise ImportError(
            "flash_forward_triton needs the package triton, which is not installed; "
            'run pip install "clearhead[triton]" on Linux, or use flash_forward.'
        )
    require_qkv(q, k, v, grouped=True)
    if q.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"q is {q.dtype}; the kernel takes float32, bfloat16 or float16.")
    for name, x in {"q": q, "v": v}.items():
        if x.shape[-1] not in HEAD_SIZES:
            raise ValueError(
                f"{name} has head size {x.shape[-1]}; the kernel takes one of {HEAD_SIZES}."
            )
    if q.device.type == "cpu" and not _interpreted():
        raise ValueError(
            "q is on the CPU; move q, k and v to a GPU, or set TRITON_INTERPRET=1 in the "
            "environment before Triton is first imported."
        )
