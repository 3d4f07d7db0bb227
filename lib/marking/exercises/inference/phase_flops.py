"""inference.phase_flops: the operations of prefill and of decode, counted by hand."""

from functools import partial

from clearhead.inference import phase_flops
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def _inputs(draw, prompt, generated):
    C = 4 * draw.size(4, 30, small=1)
    layers = draw.size(3, 12, small=2)
    return {
        "block_weights": layers * 12 * C * C,
        "head_weights": C * draw.size(50, 400, small=5),
        "layers": layers,
        "heads": draw.size(3, 9, small=2),
        "head_size": 2 * draw.size(3, 16, small=1),
        "prompt": prompt,
        "generated": generated,
    }


def short_prompt(draw):
    return _inputs(draw, draw.size(4, 12, small=3), draw.size(4, 12, small=3))


def one_token_prompt(draw):
    return _inputs(draw, 1, draw.size(4, 12, small=3))


def one_generated(draw):
    """Prefill gives the first token, so there is nothing to decode."""
    return _inputs(draw, draw.size(4, 12, small=3), 1)


def two_generated(draw):
    return _inputs(draw, draw.size(4, 12, small=3), 2)


def long_prompt(draw):
    return _inputs(draw, draw.size(300, 900, small=6), draw.size(4, 12, small=3))


def long_answer(draw):
    return _inputs(draw, draw.size(4, 12, small=2), draw.size(60, 300, small=5))


def a_real_model(draw):
    """SmolLM2-135M, Qwen3-0.6B, Llama 3.2 1B, Llama 3 8B: counted without the embedding."""
    real = (
        (106_168_320, 28_311_552, 30, 9, 64),
        (440_401_920, 155_582_464, 28, 16, 128),
        (973_078_528, 262_668_288, 16, 32, 64),
        (6_979_321_856, 525_336_576, 32, 32, 128),
    )
    sizes = draw.choice(*real) if draw.level is None else (100, 30, 2, 2, 4)
    names = ("block_weights", "head_weights", "layers", "heads", "head_size")
    tokens = {"prompt": draw.size(128, 4096, small=3), "generated": draw.size(16, 256, small=3)}
    return dict(zip(names, sizes, strict=True)) | tokens


# --- mistakes: one change each to `_count`, or a function of their own --------------------------


def _count(
    block_weights,
    head_weights,
    layers,
    heads,
    head_size,
    prompt,
    generated,
    *,
    per_weight=2,
    per_pair=4,
    width=lambda L, H, D: L * H * D,
    rows=lambda T: T,
    pairs=lambda T: T * (T + 1) // 2,
    head_in_prefill=lambda T: 1,
    steps=lambda n: range(1, n),
    decoded=lambda T, i: 1,
    keys=lambda T, i, n: T + i,
    head_in_decode=1,
    blocks=lambda weights, L: weights,
    finish=lambda prefill, decode: (prefill, decode),
):
    """As it stands it is right: step i = 1 … n − 1 reads T + i keys."""
    attention = per_pair * width(layers, heads, head_size)
    block = per_weight * blocks(block_weights, layers)
    head = per_weight * head_weights
    prefill = block * rows(prompt) + head * head_in_prefill(prompt) + attention * pairs(prompt)
    decode = 0
    for i in steps(generated):
        decode += block * decoded(prompt, i) + head * head_in_decode
        decode += attention * keys(prompt, i, generated)
    return finish(prefill, decode)


def _pairs(pairs):
    return partial(_count, pairs=pairs)


def _width(width):
    return partial(_count, width=width)


def _head_in_prefill(head_in_prefill):
    return partial(_count, head_in_prefill=head_in_prefill)


def _steps(steps):
    return partial(_count, steps=steps)


def _keys(keys):
    return partial(_count, keys=keys)


def _finish(finish):
    return partial(_count, finish=finish)


weights_once = partial(_count, per_weight=1)
multiply_add_as_one = partial(_count, per_weight=1, per_pair=2)
training = partial(_count, per_weight=6)
training_too = partial(_count, per_weight=6, per_pair=12)
one_product = partial(_count, per_pair=2)
attention_multiply_adds = partial(_count, per_pair=1)
attention_of_eight = partial(_count, per_pair=8)

layers_left_out = _width(lambda L, H, D: H * D)
heads_left_out = _width(lambda L, H, D: L * D)
head_size_left_out = _width(lambda L, H, D: L * H)
no_attention = _width(lambda L, H, D: 0)
layers_again = partial(_count, blocks=lambda weights, L: weights * L)

whole_square = _pairs(lambda T: T * T)
own_key_left_out = _pairs(lambda T: T * (T - 1) // 2)
half_square = _pairs(lambda T: T * T // 2)
prompt_as_one_query = _pairs(lambda T: T)
no_attention_in_prefill = _pairs(lambda T: 0)
half_as_float = _pairs(lambda T: T * (T + 1) / 2)
half_square_as_float = _pairs(lambda T: T * T / 2)
prompt_read_once = partial(_count, rows=lambda T: 1)

head_everywhere = _head_in_prefill(lambda T: T)
no_head_in_prefill = _head_in_prefill(lambda T: 0)
no_head_in_decode = partial(_count, head_in_decode=0)
no_head = partial(_count, head_in_prefill=lambda T: 0, head_in_decode=0)

one_step_more = _steps(lambda n: range(1, n + 1))
one_step_more_from_zero = _steps(lambda n: range(n))
one_step_less = _steps(lambda n: range(1, n - 1))
one_step = _steps(lambda n: range(1, min(n, 2)))

prompt_alone = _keys(lambda T, i, n: T)
one_key_less = _keys(lambda T, i, n: T + i - 1)
one_key_more = _keys(lambda T, i, n: T + i + 1)
last_step_for_all = _keys(lambda T, i, n: T + n - 1)
whole_text_for_all = _keys(lambda T, i, n: T + n)
generated_alone = _keys(lambda T, i, n: i)
no_attention_in_decode = _keys(lambda T, i, n: 0)
square_in_decode = _keys(lambda T, i, n: (T + i) ** 2)
triangle_in_decode = _keys(lambda T, i, n: (T + i) * (T + i + 1) // 2)

without_a_cache = partial(
    _count,
    decoded=lambda T, i: T + i,
    keys=lambda T, i, n: (T + i) * (T + i + 1) // 2,
)
without_a_cache_square = partial(
    _count, decoded=lambda T, i: T + i, keys=lambda T, i, n: (T + i) ** 2
)
weights_for_all_tokens = partial(_count, decoded=lambda T, i: T + i)

order_swapped = _finish(lambda prefill, decode: (decode, prefill))
added_up = _finish(lambda prefill, decode: prefill + decode)
decode_includes_prefill = _finish(lambda prefill, decode: (prefill, prefill + decode))
as_floats = _finish(lambda prefill, decode: (float(prefill), float(decode)))
in_billions = tuple(
    _finish(partial(lambda unit, prefill, decode: (prefill / unit, decode / unit), unit))
    for unit in (1e9, 1e12, 1e6)
)
decode_as_float = _finish(lambda prefill, decode: (prefill, float(decode)))


def a_step_of_decode(generated, **sizes):
    """Of one token, the mean of all."""
    prefill, decode = _count(generated=generated, **sizes)
    return prefill, decode // max(generated - 1, 1)


def a_step_of_decode_as_float(generated, **sizes):
    prefill, decode = _count(generated=generated, **sizes)
    return prefill, decode / max(generated - 1, 1)


# --- other right answers ---------------------------------------------------------------------


def token_by_token(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    def one_query(keys):
        scores = 2 * keys * head_size
        mix = 2 * keys * head_size
        return layers * heads * (scores + mix)

    prefill = sum(2 * block_weights + one_query(t + 1) for t in range(prompt)) + 2 * head_weights
    decode, length = 0, prompt
    for _ in range(generated - 1):
        length += 1
        decode += 2 * block_weights + 2 * head_weights + one_query(length)
    return prefill, decode


def closed_form(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    T, m = prompt, generated - 1
    a = 4 * layers * heads * head_size
    prefill = 2 * (block_weights * T + head_weights) + a * (T**2 + T) // 2
    decode = 2 * (block_weights + head_weights) * m + a * (m * T + m * (m + 1) // 2)
    return prefill, decode


def whole_less_prefill(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    """One causal pass over all tokens but the last does the same products as both phases."""

    def causal(n):
        return 2 * n * block_weights + 2 * layers * heads * head_size * n * (n + 1)

    prefill = causal(prompt) + 2 * head_weights
    whole = causal(prompt + generated - 1) + 2 * generated * head_weights
    return [prefill, whole - prefill]


COUNT = "inference/02_counting#how-many-operations-has-each-phase"
OVERTAKES = "inference/02_counting#where-does-attention-overtake"
PHASES = "inference/01_prefill_and_decode#two-phases-by-hand"

PHASE_FLOPS = Exercise(
    id="inference.phase_flops",
    title="What the two phases compute",
    returns="two integers: prefill, decode",
    outputs=("prefill", "decode"),
    points=3,
    difficulty=2,
    minutes=20,
    reference=phase_flops,
    cases={
        "a short prompt": short_prompt,
        "a prompt of one token": one_token_prompt,
        "one token generated": one_generated,
        "two tokens generated": two_generated,
        "a long prompt": long_prompt,
        "a long answer": long_answer,
        "a real model": a_real_model,
    },
    mistakes=(
        Mistake(
            "multiply-add-as-one",
            weights_once,
            "the weights' products are counted once a weight; each weight is multiplied and added, "
            "two operations a token.",
            COUNT,
            also=(multiply_add_as_one,),
        ),
        Mistake(
            "six-a-weight",
            training,
            "six operations a weight are those of training, forward and backward; inference has "
            "the forward pass alone, two a weight.",
            COUNT,
            also=(training_too,),
        ),
        Mistake(
            "attention-halved",
            one_product,
            "attention is counted with 2 (or 1) a pair and number of the head; scores and mixing "
            "the values are two products, of two operations each.",
            OVERTAKES,
            also=(attention_multiply_adds,),
        ),
        Mistake(
            "attention-doubled",
            attention_of_eight,
            "attention is counted with 8 a pair; q·k and weight·v are two products, of two "
            "operations each, so 4.",
            OVERTAKES,
        ),
        Mistake(
            "layers-left-out-of-attention",
            layers_left_out,
            "attention is counted for one layer; every layer has its own.",
            OVERTAKES,
        ),
        Mistake(
            "heads-left-out-of-attention",
            heads_left_out,
            "attention is counted for one head; every query head has its own scores and its own "
            "sum of values.",
            OVERTAKES,
        ),
        Mistake(
            "head-size-left-out",
            head_size_left_out,
            "head_size is not in attention's count; a score is a dot product of head_size terms.",
            OVERTAKES,
        ),
        Mistake(
            "no-attention",
            no_attention,
            "only the weights are counted, the rule of thumb of 2 a parameter; queries against "
            "keys and weights against values are products as well, without parameters.",
            OVERTAKES,
        ),
        Mistake(
            "layers-multiplied-again",
            layers_again,
            "block_weights is multiplied by the layers; it is the number of all blocks together.",
            COUNT,
        ),
        Mistake(
            "full-square",
            whole_square,
            "prefill's attention is counted on all T·T pairs; a causal query sees itself and what "
            "stands before it, T(T + 1)/2 pairs in all.",
            OVERTAKES,
        ),
        Mistake(
            "own-key-left-out",
            own_key_left_out,
            "T(T − 1)/2 leaves out the diagonal; each token attends to itself too.",
            OVERTAKES,
        ),
        Mistake(
            "half-the-square",
            half_square,
            "the causal pairs are taken as T²/2; with the diagonal there are T(T + 1)/2.",
            OVERTAKES,
            also=(half_square_as_float,),
        ),
        Mistake(
            "prompt-as-one-query",
            prompt_as_one_query,
            "prefill's attention is counted as one query with T keys; every token of the prompt is "
            "a query.",
            OVERTAKES,
        ),
        Mistake(
            "no-attention-in-prefill",
            no_attention_in_prefill,
            "prefill has no attention in the count; the prompt's tokens attend to one another.",
            OVERTAKES,
        ),
        Mistake(
            "prompt-read-once",
            prompt_read_once,
            "the blocks are counted for one token in prefill; all T tokens go through them. What "
            "is read once is the weights, and those are bytes.",
            COUNT,
        ),
        Mistake(
            "head-at-every-position",
            head_everywhere,
            "prefill sends all T tokens through the head; only the last one's logits are needed.",
            COUNT,
        ),
        Mistake(
            "no-head-in-prefill",
            no_head_in_prefill,
            "prefill has no head in the count; the first new token comes from its last position, "
            "through the head.",
            COUNT,
        ),
        Mistake(
            "no-head-in-decode",
            no_head_in_decode,
            "decode has no head in the count; each step needs logits, so each goes through it.",
            COUNT,
        ),
        Mistake(
            "no-head",
            no_head,
            "head_weights is not in the count; the last position of prefill and every step of "
            "decode go through the head.",
            COUNT,
        ),
        Mistake(
            "one-step-too-many",
            one_step_more,
            "there are as many decode steps as new tokens; prefill has given the first of them, so "
            "there is one step less.",
            PHASES,
            also=(one_step_more_from_zero,),
        ),
        Mistake(
            "one-step-too-few",
            one_step_less,
            "there are only generated − 2 decode steps: range(1, n − 1) ends one early.",
            PHASES,
        ),
        Mistake(
            "one-step-only",
            one_step,
            "decode is counted for one step; add up all of them.",
            PHASES,
        ),
        Mistake(
            "mean-step",
            a_step_of_decode,
            "decode is the count of a single step, the mean; return that of all steps together.",
            PHASES,
            also=(a_step_of_decode_as_float,),
        ),
        Mistake(
            "keys-stay-at-prompt",
            prompt_alone,
            "every decode step is counted with T keys; each step adds one, so step i reads T + i.",
            OVERTAKES,
        ),
        Mistake(
            "one-key-too-few",
            one_key_less,
            "each decode step is counted with one key too few: the new token attends to itself "
            "too, so the first step reads T + 1 keys.",
            OVERTAKES,
        ),
        Mistake(
            "one-key-too-many",
            one_key_more,
            "each decode step is counted with one key too many: in the first step the cache holds "
            "T keys, and the token that goes in adds one.",
            OVERTAKES,
        ),
        Mistake(
            "keys-of-the-last-step",
            last_step_for_all,
            "every decode step is counted with the keys of the last (or with the whole text's); "
            "the number grows from T + 1 by one a step.",
            OVERTAKES,
            also=(whole_text_for_all,),
        ),
        Mistake(
            "prompt-not-seen",
            generated_alone,
            "decode's queries are counted against the new tokens' keys alone; the prompt's keys "
            "are in the cache, and are read too.",
            OVERTAKES,
        ),
        Mistake(
            "no-attention-in-decode",
            no_attention_in_decode,
            "decode has no attention in the count; every step's query meets all keys so far.",
            OVERTAKES,
        ),
        Mistake(
            "square-in-decode",
            square_in_decode,
            "a decode step is counted with a square (or triangle) of pairs; it has one query, so "
            "as many pairs as keys.",
            OVERTAKES,
            also=(triangle_in_decode,),
        ),
        Mistake(
            "no-cache",
            without_a_cache,
            "each decode step computes the whole text anew; with a cache only the new token goes "
            "through the model.",
            PHASES,
            also=(without_a_cache_square, weights_for_all_tokens),
        ),
        Mistake(
            "phases-swapped",
            order_swapped,
            "the two counts have changed places; prefill comes first.",
            PHASES,
        ),
        Mistake(
            "decode-includes-prefill",
            decode_includes_prefill,
            "the second number holds prefill as well; return the two phases apart.",
            PHASES,
        ),
        Mistake(
            "added-up",
            added_up,
            "one number comes back, both phases together; return two.",
            PHASES,
        ),
        Mistake(
            "not-integer",
            half_as_float,
            "a count comes back as a float, as every division with / does, and floats lose large "
            "counts; use //, or count in whole numbers.",
            COUNT,
            also=(as_floats, decode_as_float),
        ),
        Mistake(
            "in-billions",
            in_billions[0],
            "the counts come back in another unit; return the numbers of operations themselves.",
            COUNT,
            also=in_billions[1:],
        ),
    ),
    alternatives=(token_by_token, closed_form, whole_less_prefill),
    hints=(
        "Take a prompt of 2 tokens and 3 to generate. On which pass does each new token come out, "
        "and how many passes are there?",
        "For each pass write down three numbers: tokens through the blocks, positions through the "
        "head, and pairs of a query and a key that it sees. Only then multiply.",
        "One weight and one token: how many operations? One pair and one head: two products run "
        "over head_size numbers. Mind which numbers are given for all layers together and which "
        "for one.",
    ),
    read=COUNT,
)
