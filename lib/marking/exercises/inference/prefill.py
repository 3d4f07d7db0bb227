"""inference.prefill: causal attention over a whole prompt, and the cache that it leaves behind."""

import math
from functools import partial

import torch

from clearhead.inference import prefill_layer as reference
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.inference import _layer as parts
from marking.exercises.inference._given import rotary
from marking.exercises.inference._layer import HANDS, HOLDS, STANDS, alone, head_size, layer, shared

# --- situations ------------------------------------------------------------------------------


def _inputs(draw, H, K, *, T=None, B=None, theta=10000.0, **how):
    """B, T, H and K are all different, but where H = K."""
    B = parts.unlike(draw, 2, 3, H, K) if B is None else B
    T = parts.unlike(draw, 3, 8, B, H, K) if T is None else T
    matrices = parts.weights(draw, H, K, head_size(draw), **how)
    C = matrices["w_q"].shape[1]
    sizes = {"n_heads": H, "n_kv_heads": K, "theta": theta}
    return {"x": draw.normal(B, T, C), **matrices, **sizes}


def three_a_head(draw):
    return _inputs(draw, 6, 2) if draw.level is None else _inputs(draw, 4, 2)


def two_a_head(draw):
    return _inputs(draw, 6, 3, B=2)


def one_kv_head(draw):
    return _inputs(draw, draw.size(3, 4, small=2), 1, B=2)


def one_each(draw):
    H = draw.size(2, 4)
    return _inputs(draw, H, H)


def one_token(draw):
    return _inputs(draw, 4, 2, T=1, B=3 if draw.level is None else 1)


def another_theta(draw):
    """One request alone."""
    return _inputs(draw, 4, 2, B=1, theta=draw.choice(50.0, 100.0, 500.0))


def width_of_all_heads(draw):
    return _inputs(draw, 4, 2, square=True)


def widely_spread(draw):
    """Some query likes the keys that it may see less than −40, so a finite fill leaks."""

    def make():
        return _inputs(draw, 4, 2, T=5, B=3, scale=6.0)

    def holds(inputs):
        x, w_q, w_k = inputs["x"], inputs["w_q"], inputs["w_k"]
        T, D = x.shape[1], w_q.shape[0] // 4
        at = torch.arange(T)[None]
        q = rotary(parts.cut(x @ w_q.T, 4), at, 10000.0)
        k = parts.neighbours(rotary(parts.cut(x @ w_k.T, 2), at, 10000.0), 4)
        scores = q @ k.mT / math.sqrt(D)
        return bool((scores.masked_fill(~_causal(T), -math.inf).amax(-1) < -40).any())

    return draw.until(make, holds)


def transposed_views(draw):
    inputs = _inputs(draw, 4, 2, B=3)
    inputs["x"] = inputs["x"].transpose(0, 1).contiguous().transpose(0, 1)
    return inputs | parts.as_transposes(inputs, "w_q", "w_k", "w_v", "w_o")


# --- mistakes: one change each to `_prefill`, or a function of their own --------------------------


def _causal(T):
    return torch.ones(T, T, dtype=torch.bool).tril()


def _prefill(
    x,
    w_q,
    w_k,
    w_v,
    w_o,
    n_heads,
    n_kv_heads,
    theta,
    *,
    positions=torch.arange,
    allowed=_causal,
    kept=parts.turned,
    back=lambda y, k, v: (y, k, v),
    **changes,
):
    """As it stands it is right; `changes` are for `layer`."""
    T = x.shape[1]
    given = (x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    y, k, raw, v, *_ = layer(
        *given, positions(T)[None], lambda k, raw, v: (k, v, allowed(T)), **changes
    )
    return back(y, kept(k, raw), v)


def _at(positions):
    return alone(_prefill, positions=positions)


def _allowed(*masks):
    """The first may be made together with another mistake."""
    first, *others = masks
    return partial(_prefill, allowed=first), *(alone(_prefill, allowed=mask) for mask in others)


def _hidden_by(number):
    return lambda scores, mask: scores.masked_fill(~mask, number)


def _back(back):
    return alone(_prefill, back=back)


positions_from_one = partial(_prefill, positions=lambda T: torch.arange(T) + 1)
positions_backwards = _at(lambda T: torch.arange(T - 1, -1, -1))
not_rotated = partial(_prefill, positions=lambda T: torch.zeros(T, dtype=torch.int64))
all_at_the_end = (_at(lambda T: torch.full((T,), T - 1)), _at(lambda T: torch.full((T,), T)))

not_causal = _allowed(lambda T: None)
looks_ahead = _allowed(
    lambda T: _causal(T).T, lambda T: ~_causal(T), lambda T: torch.ones(T, T).triu(1) == 1
)
hides_itself = (
    *_allowed(lambda T: _causal(T).tril(-1)),
    *(
        alone(_prefill, allowed=lambda T: _causal(T).tril(-1), hide=_hidden_by(number))
        for number in (-1e9, -1e4, torch.finfo(torch.float32).min)
    ),
)
one_ahead = _allowed(lambda T: torch.ones(T, T, dtype=torch.bool).tril(1))
mask_after_softmax = partial(
    _prefill, hide=lambda scores, mask: scores, after=lambda weights, mask: weights * mask
)
mask_multiplies = alone(_prefill, hide=lambda scores, mask: scores * mask)
fill_too_small = tuple(alone(_prefill, hide=_hidden_by(n)) for n in (-10.0, -1.0, -5.0, -30.0))

unrotated_kept = partial(_prefill, kept=parts.raw)


def copied_heads_kept(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    y, k, v = _prefill(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    return y, parts.neighbours(k, n_heads), parts.neighbours(v, n_heads)


key_for_value = partial(_prefill, back=lambda y, k, v: (y, k, k))
keys_and_values_swapped = _back(lambda y, k, v: (y, v, k))
tokens_before_heads = partial(
    _prefill, back=lambda y, k, v: (y, k.transpose(1, 2), v.transpose(1, 2))
)
heads_joined = _back(lambda y, k, v: (y, parts.joined(k), parts.joined(v)))
last_query_only = _back(lambda y, k, v: (y[:, -1:], k, v))
last_query_without_axis = (_back(lambda y, k, v: (y[:, -1], k, v)),)
last_row_kept = _back(lambda y, k, v: (y, k[:, :, -1:], v[:, :, -1:]))
last_row_missing = _back(lambda y, k, v: (y, k[:, :, :-1], v[:, :, :-1]))
cache_not_returned = _back(lambda y, k, v: y)
cache_before_y = (_back(lambda y, k, v: (k, v, y)),)
cache_in_a_pair = (_back(lambda y, k, v: (y, (k, v))),)


def head_size_from_width(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    D = x.shape[-1] // n_heads

    def cut(y, n):
        return y.reshape(*y.shape[:2], n, D).transpose(1, 2)

    return _prefill(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta, cut=cut)


def view_after_transpose(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    def join(heads):
        B, H, T, D = heads.shape
        return heads.transpose(1, 2).view(B, T, H * D)

    return _prefill(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta, join=join)


def _turned_before_transpose(y, n, at, theta, *, turn, cut):
    """The heads stand where the tokens should, (B, T, n, D), when the angles are applied."""
    heads = y.unflatten(-1, (n, -1))
    return turn(heads, at, theta).transpose(1, 2), heads.transpose(1, 2)


rotated_along_heads = partial(_prefill, project=_turned_before_transpose)


def _counted_by_heads(y, n, at, theta, *, turn, cut):
    heads = y.unflatten(-1, (n, -1))
    return turn(heads, torch.arange(n)[None], theta).transpose(1, 2), heads.transpose(1, 2)


counted_by_heads = (alone(_prefill, project=_counted_by_heads),)

# --- other right answers ---------------------------------------------------------------------


def by_grouped_einsum(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """Keys and values are never copied; the queries are laid out in groups."""
    B, T, _ = x.shape
    D = w_q.shape[0] // n_heads
    at = torch.arange(T).expand(B, T)
    q = rotary((x @ w_q.T).view(B, T, n_heads, D).transpose(1, 2), at, theta)
    k = rotary((x @ w_k.T).view(B, T, n_kv_heads, D).transpose(1, 2), at, theta)
    v = (x @ w_v.T).view(B, T, n_kv_heads, D).transpose(1, 2)
    q = q.reshape(B, n_kv_heads, n_heads // n_kv_heads, T, D)
    scores = torch.einsum("bkgtd,bksd->bkgts", q, k) / math.sqrt(D)
    future = torch.arange(T) > torch.arange(T)[:, None]
    weights = torch.softmax(scores.masked_fill(future, -1e9), dim=-1)
    heads = torch.einsum("bkgts,bksd->btkgd", weights, v)
    return heads.reshape(B, T, n_heads * D) @ w_o.T, k, v


def by_fused_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    at = torch.arange(x.shape[1])[None]
    q = torch.nn.functional.linear(x, w_q).unflatten(-1, (n_heads, -1)).transpose(1, 2)
    k = torch.nn.functional.linear(x, w_k).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
    v = torch.nn.functional.linear(x, w_v).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
    q, k = rotary(q, at, theta), rotary(k, at, theta)
    copies = n_heads // n_kv_heads
    heads = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(copies, 1), v.repeat_interleave(copies, 1), is_causal=True
    )
    return torch.nn.functional.linear(heads.transpose(1, 2).flatten(2), w_o), k, v


def token_by_token(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """Each token attends to the cache so far: slow, and right."""
    B, T, _ = x.shape
    D = w_q.shape[0] // n_heads
    k = x.new_zeros(B, n_kv_heads, T, D)
    v = x.new_zeros(B, n_kv_heads, T, D)
    outputs = []
    for t in range(T):
        at = torch.full((B, 1), t)
        q = rotary((x[:, t] @ w_q.T).view(B, n_heads, 1, D), at, theta)
        k[:, :, t] = rotary((x[:, t] @ w_k.T).view(B, n_kv_heads, 1, D), at, theta)[:, :, 0]
        v[:, :, t] = (x[:, t] @ w_v.T).view(B, n_kv_heads, D)
        heads = []
        for h in range(n_heads):
            kv = h * n_kv_heads // n_heads
            scores = (q[:, h] @ k[:, kv, : t + 1].transpose(1, 2)) * D**-0.5
            heads.append(torch.softmax(scores, dim=-1) @ v[:, kv, : t + 1])
        outputs.append(torch.cat(heads, dim=-1) @ w_o.T)
    return torch.cat(outputs, dim=1), k, v


def rotate_half_in_float32(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """Angles as transformers computes them."""
    B, T, _ = x.shape
    D = w_q.shape[0] // n_heads
    inverse = 1.0 / theta ** (torch.arange(0, D, 2).float() / D)
    angles = torch.outer(torch.arange(T).float(), inverse)
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    def turn(heads):
        half = torch.cat((-heads[..., D // 2 :], heads[..., : D // 2]), dim=-1)
        return heads * cos + half * sin

    q = turn((x @ w_q.T).reshape(B, T, n_heads, D).permute(0, 2, 1, 3))
    k = turn((x @ w_k.T).reshape(B, T, n_kv_heads, D).permute(0, 2, 1, 3))
    v = (x @ w_v.T).reshape(B, T, n_kv_heads, D).permute(0, 2, 1, 3)
    copied = (B, n_kv_heads, n_heads // n_kv_heads, T, D)
    all_k = k[:, :, None].expand(copied).reshape(B, n_heads, T, D)
    all_v = v[:, :, None].expand(copied).reshape(B, n_heads, T, D)
    scores = q @ all_k.transpose(2, 3) / D**0.5
    scores = scores + torch.full((T, T), float("-inf"), dtype=x.dtype).triu(1)
    heads = torch.softmax(scores, dim=-1) @ all_v
    return heads.permute(0, 2, 1, 3).reshape(B, T, -1) @ w_o.T, k, v


CHUNK = "inference/01_prefill_and_decode#what-may-a-chunk-see"

PREFILL = Exercise(
    id="inference.prefill",
    title="Prefill: the whole prompt at once",
    returns="three tensors: y (B, T, C), the keys and the values (B, K, T, D)",
    points=4,
    difficulty=2,
    minutes=30,
    reference=reference,
    outputs=("y", "k", "v"),
    cases={
        "2 key/value heads, 6 query heads": three_a_head,
        "3 key/value heads, 6 query heads": two_a_head,
        "one key/value head": one_kv_head,
        "as many key/value heads as query heads": one_each,
        "a prompt of one token": one_token,
        "another theta": another_theta,
        "as wide as all heads together": width_of_all_heads,
        "scores spread over ±50": widely_spread,
        "transposed views": transposed_views,
    },
    # Angles in float32 are off by 1e-7 at these positions, and are no mistake here.
    tolerance=Tolerance(fp32=1e-4, fp64=1e-5),
    mistakes=(
        Mistake(
            "unrotated-kept",
            unrotated_kept,
            "the attention is right, but the keys come back as they were before the rotation; "
            "whoever reads this cache expects them turned.",
            HOLDS,
        ),
        Mistake(
            "copied-heads-kept",
            copied_heads_kept,
            "keys and values come back with a copy for each query head, H / K times what has to "
            "be kept.",
            HOLDS,
        ),
        Mistake(
            "key-for-value",
            key_for_value,
            "the keys come back twice, the second time where the values belong.",
            HOLDS,
        ),
        Mistake(
            "keys-and-values-swapped",
            keys_and_values_swapped,
            "the values come back before the keys.",
            HOLDS,
        ),
        Mistake(
            "tokens-before-heads",
            tokens_before_heads,
            "keys and values come back as (B, T, K, D); the heads come before the tokens.",
            HOLDS,
        ),
        Mistake(
            "heads-joined",
            heads_joined,
            "keys and values come back with their heads joined, as the projections gave them.",
            HOLDS,
        ),
        Mistake(
            "last-query-only",
            last_query_only,
            "y holds the last token alone; that is what the head of a model needs, but the next "
            "layer needs all T.",
            HANDS,
            also=last_query_without_axis,
        ),
        Mistake(
            "last-row-kept",
            last_row_kept,
            "only the last token's key and value are kept; the next token attends to all T.",
            HOLDS,
        ),
        Mistake(
            "last-row-missing",
            last_row_missing,
            "the last token's key and value are missing from what is kept.",
            HOLDS,
        ),
        Mistake(
            "cache-not-returned",
            cache_not_returned,
            "only y comes back, and the keys and values of the prompt are lost.",
            HOLDS,
        ),
        Mistake(
            "order-of-the-three",
            cache_before_y[0],
            "the three results come back in another order, or keys and values as a pair; y comes "
            "first, then the keys, then the values.",
            HANDS,
            also=cache_in_a_pair,
        ),
        Mistake(
            "not-causal",
            not_causal[0],
            "every token sees the whole prompt, also what comes after it; cached keys would then "
            "depend on tokens that follow.",
            HANDS,
        ),
        Mistake(
            "looks-ahead",
            looks_ahead[0],
            "the triangle lies the wrong way round, so a token sees what follows and not what "
            "came before.",
            HANDS,
            also=looks_ahead[1:],
        ),
        Mistake(
            "hides-itself",
            hides_itself[0],
            "a token can't see itself, and the first one sees nothing at all.",
            HANDS,
            also=hides_itself[1:],
        ),
        Mistake(
            "one-ahead",
            one_ahead[0],
            "every token sees one token that comes after it; the triangle is off by one.",
            HANDS,
        ),
        Mistake(
            "mask-after-softmax",
            mask_after_softmax,
            "the mask is applied to the weights, so what remains no longer sums to 1.",
            HANDS,
        ),
        Mistake(
            "mask-multiplies-scores",
            mask_multiplies,
            "the scores are multiplied by the mask, and a score of 0 still has the weight of "
            "exp(0) = 1.",
            HANDS,
        ),
        Mistake(
            "fill-too-small",
            fill_too_small[0],
            "hidden scores are set to a number that real scores can fall below, so the future "
            "leaks in.",
            HANDS,
            also=fill_too_small[1:],
        ),
        Mistake(
            "not-rotated",
            not_rotated,
            "nothing is rotated, or every token by position 0, so the layer can't tell the order "
            "of the tokens.",
            STANDS,
        ),
        Mistake(
            "one-position-for-all",
            all_at_the_end[0],
            "every token is turned by the same position, the end of the prompt; token t stands at "
            "position t.",
            STANDS,
            also=all_at_the_end[1:],
        ),
        Mistake(
            "positions-from-one",
            positions_from_one,
            "positions are counted from 1; y is the same, as only distances count, but the kept "
            "keys are turned too far.",
            STANDS,
        ),
        Mistake(
            "positions-backwards",
            positions_backwards,
            "positions run backwards; the first token of the prompt stands at 0.",
            STANDS,
        ),
        Mistake(
            "rotated-along-heads",
            rotated_along_heads,
            "the rotation runs over (B, T, H, D), before the axes are swapped, so the angles meet "
            "the heads where the tokens should be.",
            STANDS,
            also=counted_by_heads,
        ),
        *shared(
            _prefill,
            "queries-not-rotated",
            "keys-not-rotated",
            "values-rotated",
            "interleaved",
            "backwards",
            "theta-ignored",
            "rotated-before-the-cut",
            "no-scale",
            "scale-by-d",
            "scale-by-width",
            "softmax-over-queries",
            "heads-tiled",
            "not-shared",
            "first-head-for-all",
            "kv-cut-into-query-heads",
            "values-from-keys",
            "weights-not-transposed",
            "no-output-projection",
            "cut-without-transpose",
            "joined-without-transpose",
        ),
        Mistake(
            "head-size-from-width",
            head_size_from_width,
            "the head size is taken as C // n_heads, but the width of x need not be H·D.",
            HANDS,
        ),
        Mistake(
            "view-after-transpose",
            view_after_transpose,
            "transpose swaps the axes and leaves the memory as it was, and view can't join axes "
            "that are apart in memory.",
            HANDS,
        ),
    ),
    alternatives=(by_grouped_einsum, by_fused_attention, token_by_token, rotate_half_in_float32),
    hints=(
        "Follow the shapes first: x is (B, T, C), the queries need (B, H, T, D), keys and values "
        "(B, K, T, D). Where do you read off D, if C need not be H·D?",
        "Two things leave this layer: y, for which each query needs a key/value head to read, and "
        "the cache. Which form of the keys does the next token expect there, and how many heads?",
        "Check the pieces apart. With n_kv_heads = n_heads nothing needs to be shared; with one "
        "token in the prompt neither the mask nor the position matters. Which of the situations "
        "still fail, and what do they have in common?",
    ),
    read=HANDS,
)
