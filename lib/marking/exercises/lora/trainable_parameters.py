"""lora.trainable_parameters: how many numbers an adapted model trains."""

from functools import partial

from clearhead.lora import trainable_parameters
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def _size(draw, unlike=()):
    sizes = range(11, 40) if draw.level is None else range(4, 8)
    return draw.choice(*(n for n in sizes if n not in unlike))


def _rank(draw):
    return draw.size(2, 5, small=2)


def _layers(draw):
    return draw.size(2, 12, small=2)


def _oblong(draw):
    O = _size(draw)
    return O, _size(draw, unlike=(O,))


def _telling(shapes) -> bool:
    """No count of these shapes is that of squares, or of one of them many times over."""
    O, I = (sum(sizes) for sizes in zip(*shapes, strict=True))
    return O != I and all(len(shapes) * sum(shape) != O + I for shape in shapes)


def one_matrix(draw):
    return {"layers": 1, "shapes": [_oblong(draw)], "r": _rank(draw)}


def rank_one(draw):
    shapes = draw.until(lambda: [_oblong(draw), _oblong(draw)], _telling)
    return {"layers": _layers(draw), "shapes": shapes, "r": 1}


def attention_and_mlp(draw):
    """Square and oblong matrices, some of one shape, as in a decoder with fewer key heads."""

    def make():
        C = _size(draw)
        K, F = _size(draw, unlike=(C,)), _size(draw, unlike=(C,))
        return [(C, C), (K, C), (K, C), (C, C), (F, C), (F, C), (C, F)]

    shapes = draw.until(make, _telling)
    return {"layers": _layers(draw), "shapes": shapes, "r": _rank(draw)}


def query_and_value(draw):
    """Two square matrices of one shape, the paper's choice."""
    C = _size(draw)
    return {"layers": _layers(draw), "shapes": [(C, C), (C, C)], "r": _rank(draw)}


def gpt_3(draw):
    layers = 96 if draw.level is None else 2
    C = 12288 if draw.level is None else 8
    shapes = [(C, C)] * draw.choice(2, 3, 4)
    return {"layers": layers, "shapes": shapes, "r": draw.choice(2, 4, 8)}


def one_layer(draw):
    shapes = draw.until(lambda: [_oblong(draw) for _ in range(3)], _telling)
    return {"layers": 1, "shapes": shapes, "r": _rank(draw)}


# --- mistakes: one change each to `_count` ------------------------------------------------------


def _count(
    layers,
    shapes,
    r,
    *,
    matrix=lambda O, I, r: r * (O + I),
    picked=list,
    times=lambda layers, shapes: layers,
    whole=lambda n: n,
):
    """As it stands it is right."""
    counts = [matrix(O, I, r) for O, I in picked(shapes)]
    return whole(times(layers, shapes) * sum(counts))


def _matrix(matrix):
    return partial(_count, matrix=matrix)


whole_matrix = _matrix(lambda O, I, r: O * I)
base_too = _matrix(lambda O, I, r: O * I + r * (O + I))
only_a = _matrix(lambda O, I, r: r * I)
only_b = _matrix(lambda O, I, r: r * O)
r_times_both = _matrix(lambda O, I, r: r * O * I)
square_root_rank = _matrix(lambda O, I, r: r * r * (O + I))
rank_left_out = _matrix(lambda O, I, r: O + I)
both_multiplied = _matrix(lambda O, I, r: r * O * r * I)
square_by_inputs = _matrix(lambda O, I, r: 2 * r * I)
square_by_outputs = _matrix(lambda O, I, r: 2 * r * O)
square_by_least = _matrix(lambda O, I, r: 2 * r * min(O, I))
square_by_most = _matrix(lambda O, I, r: 2 * r * max(O, I))
with_bias = _matrix(lambda O, I, r: r * (O + I) + O)
with_all_biases = _matrix(lambda O, I, r: r * (O + I) + r + O)
with_core = _matrix(lambda O, I, r: r * (O + I) + r * r)
with_values = _matrix(lambda O, I, r: r * (O + I) + r)
with_magnitudes = _matrix(lambda O, I, r: r * (O + I) + I)
one_layer_only = partial(_count, times=lambda layers, shapes: 1)
times_the_shapes = partial(_count, times=lambda layers, shapes: layers * len(shapes))
first_shape = partial(_count, picked=lambda shapes: shapes[:1])
first_shape_for_all = partial(_count, picked=lambda shapes: shapes[:1] * len(shapes))
last_shape = partial(_count, picked=lambda shapes: shapes[-1:])
each_shape_once = partial(_count, picked=lambda shapes: sorted({tuple(s) for s in shapes}))
square_ones = partial(_count, picked=lambda shapes: [s for s in shapes if s[0] == s[1]])
as_float = partial(_count, whole=float)
in_millions = partial(_count, whole=lambda n: n / 1e6)
in_millions_rounded = partial(_count, whole=lambda n: round(n / 1e6, 1))
in_millions_to_two_places = partial(_count, whole=lambda n: round(n / 1e6, 2))
in_bytes = partial(_count, whole=lambda n: 4 * n)
doubled = partial(_count, whole=lambda n: 2 * n)


def a_tuple(layers, shapes, r):
    n = _count(layers, shapes, r)
    return n, sum(O * I for O, I in shapes) * layers


def share(layers, shapes, r):
    return _count(layers, shapes, r) / (sum(O * I for O, I in shapes) * layers)


def percentage(layers, shapes, r):
    return 100 * share(layers, shapes, r)


def times_fewer(layers, shapes, r):
    return 1 / share(layers, shapes, r)


# --- other right answers ---------------------------------------------------------------------


def factor_by_factor(layers, shapes, r):
    total = 0
    for _ in range(layers):
        for out_features, in_features in shapes:
            total += out_features * r  # B
            total += r * in_features  # A
    return total


def all_sizes_summed(layers, shapes, r):
    return layers * r * sum(map(sum, shapes))


def counted_on_tensors(layers, shapes, r):
    """Tensors without storage, as a layer would make them."""
    import torch

    with torch.device("meta"):
        pairs = [(torch.empty(r, I), torch.empty(O, r)) for O, I in shapes]
    return layers * sum(A.numel() + B.numel() for A, B in pairs)


COUNT = "lora/02_mathematics#how-many-numbers-and-how-much-time"

TRAINABLE_PARAMETERS = Exercise(
    id="lora.trainable_parameters",
    title="How many numbers are trained",
    returns="an integer",
    points=2,
    difficulty=1,
    minutes=10,
    reference=trainable_parameters,
    cases={
        "one matrix": one_matrix,
        "rank one": rank_one,
        "attention and MLP": attention_and_mlp,
        "query and value": query_and_value,
        "GPT-3": gpt_3,
        "one layer": one_layer,
    },
    mistakes=(
        Mistake(
            "whole-matrix",
            whole_matrix,
            "the entries of ΔW are counted, O·I, as in full fine-tuning; only the entries of A and "
            "B are trained.",
            COUNT,
        ),
        Mistake(
            "base-too",
            base_too,
            "the frozen weight is counted too; it is not trained.",
            COUNT,
        ),
        Mistake("a-only", only_a, "only A is counted, r·I; B has O·r more.", COUNT),
        Mistake("b-only", only_b, "only B is counted, O·r; A has r·I more.", COUNT),
        Mistake(
            "sizes-multiplied",
            r_times_both,
            "r is multiplied by O·I; A has r·I entries and B has O·r, and the two are added.",
            COUNT,
            also=(both_multiplied,),
        ),
        Mistake(
            "rank-squared",
            square_root_rank,
            "r is counted twice over; each factor has r only once in its shape.",
            COUNT,
        ),
        Mistake(
            "rank-left-out",
            rank_left_out,
            "r is not in the count; A has r rows and B has r columns.",
            COUNT,
        ),
        Mistake(
            "square-assumed",
            square_by_inputs,
            "every matrix is taken to be square, 2·r·d; O and I may differ, so count r·(O + I).",
            COUNT,
            also=(square_by_outputs, square_by_least, square_by_most),
        ),
        Mistake(
            "square-only",
            square_ones,
            "matrices that are not square are left out; they are adapted like the others.",
            COUNT,
        ),
        Mistake(
            "bias-counted",
            with_bias,
            "a bias is counted for each matrix; the base's is frozen, and an adapter has none.",
            COUNT,
            also=(with_all_biases,),
        ),
        Mistake(
            "extra-in-the-middle",
            with_core,
            "numbers between A and B are counted, a matrix (r, r) or r singular values; LoRA's "
            "update is BA with nothing between.",
            COUNT,
            also=(with_values,),
        ),
        Mistake(
            "magnitudes-counted",
            with_magnitudes,
            "one more number is counted for each input of a matrix, as DoRA's magnitudes would be; "
            "LoRA trains A and B alone.",
            COUNT,
        ),
        Mistake(
            "one-layer-only",
            one_layer_only,
            "the matrices of one layer are counted; every one of the layers has them.",
            COUNT,
        ),
        Mistake(
            "layers-times-matrices",
            times_the_shapes,
            "the sum over the matrices is multiplied by their number again; multiply it by the "
            "layers alone.",
            COUNT,
        ),
        Mistake(
            "first-shape-only",
            first_shape,
            "only one of the shapes is counted; add up all of them.",
            COUNT,
            also=(last_shape,),
        ),
        Mistake(
            "first-shape-for-all",
            first_shape_for_all,
            "all matrices are taken to have the first one's shape; add up each by its own.",
            COUNT,
        ),
        Mistake(
            "each-shape-once",
            each_shape_once,
            "a shape that occurs twice is counted once; two matrices of one shape have an adapter "
            "each.",
            COUNT,
        ),
        Mistake(
            "not-integer",
            as_float,
            "the count comes back as a float; count in whole numbers.",
            COUNT,
        ),
        Mistake(
            "in-millions",
            in_millions,
            "the count comes back in millions; return the number itself, an int.",
            COUNT,
            also=(in_millions_rounded, in_millions_to_two_places),
        ),
        Mistake(
            "doubled",
            doubled,
            "twice as many are counted; A and B have r·(O + I) entries together, not each.",
            COUNT,
        ),
        Mistake(
            "bytes",
            in_bytes,
            "four bytes are counted for each; count parameters.",
            COUNT,
        ),
        Mistake(
            "share",
            share,
            "the number is set against that of the whole matrices; return the number of trained "
            "parameters itself.",
            COUNT,
            also=(percentage, times_fewer, a_tuple),
        ),
    ),
    alternatives=(factor_by_factor, all_sizes_summed, counted_on_tensors),
    hints=(
        "Take one matrix with 3 outputs and 5 inputs, and rank 2. Write out the shapes of A and "
        "B, and count their entries by hand.",
        "Which numbers change in training, and which are frozen? Only the former count, and every "
        "matrix in the list has its own pair.",
        "The list describes one layer of the model, and all layers are alike. No division is "
        "needed anywhere, so the count is an int by itself.",
    ),
    read=COUNT,
)
