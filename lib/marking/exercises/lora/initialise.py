"""lora.initialise: A uniform within ±1/√I, B zero, from noise that is given."""

import math
from functools import partial

import torch

from clearhead.lora import initialise
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def _noise(draw, R, I):
    """Uniform in [0, 1); one decimal when small."""
    values = draw.integers(0, 10, R, I) / 10 if draw.level is not None else None
    if values is None:
        values = draw.integers(0, 2**24, R, I).double() / 2**24
    return values.to(draw.dtype)


def _sizes(draw, n):
    """R, and sizes above it that are all different; none is R², so that 1/R is not 1/√I."""
    return draw.until(lambda: sorted(draw.sizes(n, 2, 9)), lambda sizes: sizes[0] ** 2 not in sizes)


def _inputs(draw, R, I, O):
    return {"noise": _noise(draw, R, I), "out_features": O}


def sizes_differ(draw):
    R, I, O = _sizes(draw, 3)
    return _inputs(draw, R, *draw.choice((I, O), (O, I)))


def as_many_out_as_in(draw):
    R, I = _sizes(draw, 2)
    return _inputs(draw, R, I, I)


def rank_one(draw):
    I, O = draw.sizes(2, 2, 9)
    return _inputs(draw, 1, I, O)


def many_inputs(draw):
    return _inputs(draw, draw.size(2, 4), draw.size(40, 90, small=4), draw.size(5, 9, small=4))


def as_large_as_the_layer(draw):
    """R = I = O: every shape is the same, so only values tell."""
    n = draw.size(3, 6, small=2)
    return _inputs(draw, n, n, n)


# --- mistakes: one change each to `_start`, or a function of their own --------------------------


def _start(
    noise,
    out_features,
    *,
    bound=lambda R, I, O: 1 / math.sqrt(I),
    centre=lambda noise: 2 * noise - 1,
    zeros=lambda noise, O: noise.new_zeros(O, noise.shape[0]),
    back=lambda A, B: (A, B),
):
    """As it stands it is right."""
    R, I = noise.shape
    return back(centre(noise) * bound(R, I, out_features), zeros(noise, out_features))


def _bound(bound):
    return partial(_start, bound=bound)


never_negative = partial(_start, centre=lambda noise: noise)
half_as_wide = partial(_start, centre=lambda noise: noise - 0.5)
too_low = partial(_start, centre=lambda noise: noise - 1)
mirrored = partial(_start, centre=lambda noise: 1 - 2 * noise)
no_bound = _bound(lambda R, I, O: 1.0)
not_rooted = _bound(lambda R, I, O: 1 / I)
by_rank = _bound(lambda R, I, O: 1 / math.sqrt(R))
by_rank_not_rooted = _bound(lambda R, I, O: 1 / R)
by_output_size = _bound(lambda R, I, O: 1 / math.sqrt(O))
multiplied = _bound(lambda R, I, O: math.sqrt(I))
kaiming_of_relu = _bound(lambda R, I, O: math.sqrt(6 / I))
kaiming_of_linear = _bound(lambda R, I, O: math.sqrt(3 / I))
gain_of_relu = _bound(lambda R, I, O: math.sqrt(2 / I))
deviation = _bound(lambda R, I, O: 1 / math.sqrt(3 * I))
root_five = _bound(lambda R, I, O: math.sqrt(5 / I))
xavier = _bound(lambda R, I, O: math.sqrt(6 / (R + I)))
xavier_of_layer = _bound(lambda R, I, O: math.sqrt(6 / (O + I)))
b_transposed = partial(_start, zeros=lambda noise, O: noise.new_zeros(noise.shape[0], O))
b_like_a = partial(_start, zeros=lambda noise, O: torch.zeros_like(noise))
b_for_inputs = partial(_start, zeros=lambda noise, O: noise.new_zeros(O, noise.shape[1]))
order_swapped = partial(_start, back=lambda A, B: (B, A))
both_zero = partial(_start, back=lambda A, B: (torch.zeros_like(A), B))
a_transposed = partial(_start, back=lambda A, B: (A.T, B))
both_transposed = partial(_start, back=lambda A, B: (A.T, B.T))
only_a = partial(_start, back=lambda A, B: A)


def roles_swapped(noise, out_features):
    """A is zero and B is random: the noise turned over, as far as its size allows."""
    A, _ = _start(noise, out_features)
    return torch.zeros_like(A), A.T


# --- other right answers ---------------------------------------------------------------------


def between_two_ends(noise, out_features):
    bound = noise.shape[1] ** -0.5
    low, high = torch.full_like(noise, -bound), torch.full_like(noise, bound)
    return torch.lerp(low, high, noise), noise.new_zeros((out_features, noise.shape[0]))


def by_the_formula_of_kaiming(noise, out_features):
    """gain √(2/(1+a²)) with a = √5, deviation gain/√I, bound √3 · deviation."""
    gain = math.sqrt(2 / (1 + math.sqrt(5) ** 2))
    bound = math.sqrt(3) * gain / math.sqrt(noise.size(-1))
    A = -bound + noise * (bound - -bound)
    return A, torch.zeros(out_features, noise.size(0), dtype=noise.dtype)


def half_taken_off(noise, out_features):
    A = (noise - 0.5).mul(2).div(noise.shape[-1] ** 0.5)
    return [A, A.new_zeros(out_features, len(A))]


ZERO = "lora/02_mathematics#why-is-b-zero-and-not-both"
BOUND = ZERO

INITIALISE = Exercise(
    id="lora.initialise",
    title="How an adapter starts",
    returns="two tensors: A (R, I) and B (O, R), in the dtype of noise",
    points=2,
    difficulty=1,
    minutes=10,
    reference=initialise,
    outputs=("A", "B"),
    cases={
        "three different sizes": sizes_differ,
        "as many outputs as inputs": as_many_out_as_in,
        "rank one": rank_one,
        "many inputs": many_inputs,
        "a rank as large as the layer": as_large_as_the_layer,
    },
    mistakes=(
        Mistake(
            "both-zero",
            both_zero,
            "A and B are both zero; each gets its gradient through the other, so neither would "
            "ever move. Fill A from the noise.",
            ZERO,
        ),
        Mistake(
            "roles-swapped",
            roles_swapped,
            "A is zero and B is random; here it is A that is filled from the noise, and B that "
            "starts at zero.",
            ZERO,
        ),
        Mistake(
            "order-swapped",
            order_swapped,
            "B comes back before A; return A first.",
            ZERO,
        ),
        Mistake(
            "b-transposed",
            b_transposed,
            "B has the shape (R, O); it takes R numbers to O, and is stored as nn.Linear would "
            "store it: (O, R).",
            BOUND,
        ),
        Mistake(
            "b-like-a",
            b_like_a,
            "B has the shape of A, (R, I); it takes R numbers to O, so its shape is (O, R).",
            BOUND,
            also=(b_for_inputs,),
        ),
        Mistake(
            "a-transposed",
            a_transposed,
            "A comes back as (I, R); it takes I numbers to R, and is stored as nn.Linear would "
            "store it: (R, I), the shape of the noise.",
            BOUND,
            also=(both_transposed,),
        ),
        Mistake("only-a", only_a, "only A comes back; return the pair A, B.", ZERO),
        Mistake(
            "never-negative",
            never_negative,
            "A lies between 0 and 1/√I; it has to reach from −1/√I to 1/√I, so move the middle of "
            "the noise to 0 first.",
            BOUND,
            also=(too_low,),
        ),
        Mistake(
            "half-as-wide",
            half_as_wide,
            "A reaches only ±1/(2√I): noise − ½ is ½ wide on each side. Make it reach ±1 before "
            "you multiply.",
            BOUND,
        ),
        Mistake(
            "mirrored",
            mirrored,
            "the range is right but turned round: noise 0 must give −1/√I, and noise near 1 must "
            "give nearly 1/√I.",
            BOUND,
        ),
        Mistake(
            "no-bound",
            no_bound,
            "A reaches ±1; divide by √I, so that A's outputs stay of one size however many inputs "
            "there are.",
            BOUND,
        ),
        Mistake(
            "not-rooted",
            not_rooted,
            "A is divided by I; the bound is 1/√I, with a square root.",
            BOUND,
        ),
        Mistake(
            "bound-by-rank",
            by_rank,
            "the bound is made of the rank; it is 1/√I, I being the number of inputs: each output "
            "of A is a sum of I terms.",
            BOUND,
            also=(by_rank_not_rooted,),
        ),
        Mistake(
            "bound-by-output-size",
            by_output_size,
            "the bound is made of the number of outputs; it is 1/√I, I being the number of inputs.",
            BOUND,
        ),
        Mistake(
            "multiplied-by-root",
            multiplied,
            "A is multiplied by √I; divide by it.",
            BOUND,
        ),
        Mistake(
            "kaiming-of-relu",
            kaiming_of_relu,
            "the bound is √(6/I), Kaiming's for ReLU (a = 0); with a = √5 it is √(6/((1 + 5)·I)) = "
            "1/√I.",
            BOUND,
            also=(kaiming_of_linear, gain_of_relu, root_five),
        ),
        Mistake(
            "deviation-for-bound",
            deviation,
            "1/√(3I) is the standard deviation; the bound of a uniform distribution is √3 times "
            "as large.",
            BOUND,
        ),
        Mistake(
            "xavier",
            xavier,
            "the bound is Xavier's, which averages the two sizes of a layer; here it is made of "
            "the inputs alone: 1/√I.",
            BOUND,
            also=(xavier_of_layer,),
        ),
    ),
    alternatives=(between_two_ends, by_the_formula_of_kaiming, half_taken_off),
    hints=(
        "The noise lies between 0 and 1, and A has to lie between −1/√I and 1/√I. Which number "
        "must become which end?",
        "Two steps: first move and stretch the noise so that it reaches from −1 to 1, then make "
        "it as small as the bound. Which axis of the noise is I, and which is the rank?",
        "For B ask what BA must be before the first step, and which shape takes R numbers to "
        "out_features. Take the dtype from the noise: torch.zeros alone gives float32.",
    ),
    read=ZERO,
)
