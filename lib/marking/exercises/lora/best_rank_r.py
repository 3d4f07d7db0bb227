"""lora.best_rank_r: the nearest matrix of rank r, from the singular value decomposition."""

from functools import partial

import torch

from clearhead.lora import best_rank_r
from marking.exercise import Exercise, Mistake, Tolerance

# --- situations ------------------------------------------------------------------------------


def _matrix(draw, O, I):
    """Singular values K, K−1, … 1, a little shifted, so that the nearest matrix is one and sure."""
    K = min(O, I)
    left, right = (torch.linalg.qr(draw.normal(n, n).double()).Q[:, :K] for n in (O, I))
    values = torch.arange(K, 0, -1) + draw.normal(K).double().clamp(-2, 2) / 8
    matrix = (left * values) @ right.T
    return (matrix if draw.level is None else matrix.mul(10).round() / 10).to(draw.dtype)


def tall(draw):
    I = draw.size(3, 6)
    return {"matrix": _matrix(draw, I + draw.size(1, 4), I), "r": draw.size(2, I - 1, small=2)}


def wide(draw):
    O = draw.size(3, 6)
    return {"matrix": _matrix(draw, O, O + draw.size(1, 4)), "r": draw.size(2, O - 1, small=2)}


def square(draw):
    n = draw.size(4, 7, small=2)
    return {"matrix": _matrix(draw, n, n), "r": draw.size(2, n - 1, small=1)}


def rank_one(draw):
    O, I = draw.sizes(2, 3, 7, small=2)
    return {"matrix": _matrix(draw, O, I), "r": 1}


def full_rank(draw):
    """As many as there are: the matrix itself."""
    O, I = sorted(draw.sizes(2, 2, 6))
    return {"matrix": _matrix(draw, O, I), "r": O}


def already_low_rank(draw):
    """A product of two thin factors, as an adapter's update is; r is its rank."""
    O, I = draw.sizes(2, 5, 8, small=3)
    R = draw.size(2, 3, small=2)
    thin = _matrix(draw, O, R) @ _matrix(draw, R, I)
    return {"matrix": thin if draw.level is None else thin.mul(10).round() / 10, "r": R}


def transposed_view(draw):
    inputs = tall(draw)
    return inputs | {"matrix": inputs["matrix"].T}


# --- mistakes: one change each to `_truncated`, or a function of their own ----------------------


def _truncated(
    matrix,
    r,
    *,
    full=False,
    values=lambda S: S,
    kept=lambda r: slice(0, r),
    left=lambda U, kept: U[:, kept],
    right=lambda Vh, kept: Vh[kept],
):
    """As it stands it is right."""
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=full)
    part = kept(r)
    return left(U, part) @ torch.diag(values(S)[part]) @ right(Vh, part)


one_too_many = partial(_truncated, kept=lambda r: slice(0, r + 1))
one_too_few = partial(_truncated, kept=lambda r: slice(0, r - 1))
smallest_kept = partial(_truncated, kept=lambda r: slice(-r, None))
leading_left_out = partial(_truncated, kept=lambda r: slice(r, None))
only_the_rth = partial(_truncated, kept=lambda r: slice(r - 1, r))
values_left_out = partial(_truncated, values=torch.ones_like)
values_squared = partial(_truncated, values=torch.square)
values_rooted = partial(_truncated, values=torch.sqrt)
columns_of_vh = partial(_truncated, right=lambda Vh, kept: Vh[:, kept].T)
columns_of_whole_vh = partial(_truncated, full=True, right=lambda Vh, kept: Vh[:, kept].T)
rows_of_v = partial(_truncated, right=lambda Vh, kept: Vh.T[kept])
columns_not_turned = partial(_truncated, right=lambda Vh, kept: Vh[:, kept])
columns_of_whole_not_turned = partial(_truncated, full=True, right=lambda Vh, kept: Vh[:, kept])
row_and_columns_of_vh = partial(_truncated, right=lambda Vh, kept: Vh[kept, kept])
rows_of_u = partial(_truncated, left=lambda U, kept: U[kept])
rows_and_columns_of_u = partial(_truncated, left=lambda U, kept: U[kept, kept])


def smallest_of_the_square(matrix, r):
    """torch.linalg.eigh sorts the other way round: the smallest eigenvalues come first."""
    _, vectors = torch.linalg.eigh(matrix.T @ matrix)
    return matrix @ vectors[:, :r] @ vectors[:, :r].T


def full_matrices(matrix, r):
    """By default U is (O, O) and Vᵀ is (I, I), and the values between them are only K."""
    U, S, Vh = torch.linalg.svd(matrix)
    S = torch.where(torch.arange(len(S)) < r, S, torch.zeros_like(S))
    return U @ torch.diag(S) @ Vh


def full_matrices_times_values(matrix, r):
    U, S, Vh = torch.linalg.svd(matrix)
    return U * torch.where(torch.arange(len(S)) < r, S, torch.zeros_like(S)) @ Vh


def _not_all_cut(*, left, values, right, full=False):
    """U, S and Vᵀ, only some of them cut down to r."""

    def answer(matrix, r):
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=full)
        U, S, Vh = U[:, :r] if left else U, S[:r] if values else S, Vh[:r] if right else Vh
        return U @ torch.diag(S) @ Vh

    return answer


only_values_cut = _not_all_cut(left=False, values=True, right=False)
only_values_cut_of_full = _not_all_cut(left=False, values=True, right=False, full=True)
values_not_cut = _not_all_cut(left=True, values=False, right=True)
values_not_cut_of_full = _not_all_cut(left=True, values=False, right=True, full=True)
right_not_cut = _not_all_cut(left=True, values=True, right=False)
left_not_cut = _not_all_cut(left=False, values=True, right=True)


def first_columns(matrix, r):
    kept = torch.zeros_like(matrix)
    kept[:, :r] = matrix[:, :r]
    return kept


def first_rows(matrix, r):
    kept = torch.zeros_like(matrix)
    kept[:r] = matrix[:r]
    return kept


def first_rows_and_columns(matrix, r):
    kept = torch.zeros_like(matrix)
    kept[:r, :r] = matrix[:r, :r]
    return kept


def factors(matrix, r):
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :r] * S[:r], Vh[:r]


def factors_of_equal_size(matrix, r):
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :r] * S[:r].sqrt(), S[:r, None].sqrt() * Vh[:r]


def three_factors(matrix, r):
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :r], S[:r], Vh[:r]


def centred(matrix, r):
    mean = matrix.mean(dim=0, keepdim=True)
    return mean + best_rank_r(matrix - mean, r)


def centred_and_left(matrix, r):
    return best_rank_r(matrix - matrix.mean(dim=0, keepdim=True), r)


def of_the_transpose(matrix, r):
    return best_rank_r(matrix, r).T


def residual(matrix, r):
    return matrix - best_rank_r(matrix, r)


def unchanged(matrix, r):
    return matrix.clone()


# --- other right answers ---------------------------------------------------------------------


def sum_of_outer_products(matrix, r):
    U, S, V = torch.svd(matrix)
    return sum(S[k] * torch.outer(U[:, k], V[:, k]) for k in range(r))


def small_values_to_zero(matrix, r):
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    S = torch.where(torch.arange(len(S)) < r, S, torch.zeros_like(S))
    return torch.einsum("ok,k,ki->oi", U, S, Vh)


def onto_the_leading_directions(matrix, r):
    """Projected on the r leading eigenvectors of MᵀM, which are the right singular vectors."""
    _, vectors = torch.linalg.eigh(matrix.T @ matrix)
    leading = vectors[:, -r:]
    return matrix @ leading @ leading.T


NEAREST = "lora/01_low_rank#why-is-no-matrix-of-rank-r-nearer"
SVD = "lora/01_low_rank#singular-values-once-by-hand"

BEST_RANK_R = Exercise(
    id="lora.best_rank_r",
    title="The best matrix of rank r",
    returns="a tensor of the shape and dtype of matrix",
    points=3,
    difficulty=1,
    minutes=15,
    reference=best_rank_r,
    cases={
        "a tall matrix": tall,
        "a wide matrix": wide,
        "a square matrix": square,
        "rank one": rank_one,
        "as many ranks as there are": full_rank,
        "a matrix of rank r": already_low_rank,
        "a transposed view": transposed_view,
    },
    tolerance=Tolerance(fp32=1e-4),
    mistakes=(
        Mistake(
            "one-too-many",
            one_too_many,
            "r + 1 singular values are kept; the first r are those of index 0 to r − 1, the slice "
            ":r.",
            NEAREST,
        ),
        Mistake(
            "one-too-few",
            one_too_few,
            "r − 1 singular values are kept; a slice :r ends before r, so it holds r of them.",
            NEAREST,
        ),
        Mistake(
            "smallest-kept",
            smallest_kept,
            "the r smallest singular values are kept, which is the worst choice of r; torch's svd "
            "gives them largest first, and its eigh smallest first.",
            NEAREST,
            also=(smallest_of_the_square,),
        ),
        Mistake(
            "residual",
            residual,
            "this is what the nearest matrix leaves out, the part with the small singular values; "
            "keep the first r of them.",
            NEAREST,
            also=(leading_left_out,),
        ),
        Mistake(
            "only-the-rth",
            only_the_rth,
            "only the r-th singular value and its two vectors are kept, a matrix of rank 1; keep "
            "all of the first r.",
            NEAREST,
        ),
        Mistake(
            "values-left-out",
            values_left_out,
            "the singular vectors are multiplied without the singular values between them, so "
            "every direction comes out with length 1.",
            SVD,
        ),
        Mistake(
            "values-squared",
            values_squared,
            "the singular values enter squared; the eigenvalues of MᵀM are σ², and a σ put on both "
            "sides counts twice. Each enters once.",
            SVD,
        ),
        Mistake(
            "values-rooted",
            values_rooted,
            "the product holds √σ in place of σ; a square root on each side makes σ, on one side "
            "alone it does not.",
            SVD,
        ),
        Mistake(
            "columns-of-vh",
            columns_of_vh,
            "the columns of the third factor are used; torch.linalg.svd returns Vᵀ, whose rows are "
            "the right singular vectors: take its first r rows, and do not transpose them.",
            SVD,
            also=(
                columns_of_whole_vh,
                rows_of_v,
                columns_not_turned,
                columns_of_whole_not_turned,
                row_and_columns_of_vh,
            ),
        ),
        Mistake(
            "not-all-cut",
            only_values_cut,
            "not all three factors are cut down to r, so their shapes do not fit; take r columns "
            "of U, r values and r rows of Vᵀ.",
            SVD,
            also=(
                only_values_cut_of_full,
                values_not_cut,
                values_not_cut_of_full,
                right_not_cut,
                left_not_cut,
            ),
        ),
        Mistake(
            "full-matrices",
            full_matrices,
            "svd returns U as (O, O) and Vᵀ as (I, I) unless it is told full_matrices=False, and "
            "there are fewer values than that; ask for the short form, or cut all three to r.",
            SVD,
            also=(full_matrices_times_values,),
        ),
        Mistake(
            "rows-of-u",
            rows_of_u,
            "the rows of U are cut; the left singular vectors are its columns, so take U[:, :r].",
            SVD,
            also=(rows_and_columns_of_u,),
        ),
        Mistake(
            "first-columns",
            first_columns,
            "the first r columns are kept and the others set to 0, which is a matrix of rank r but "
            "not the nearest; the directions to keep come from the singular value decomposition.",
            NEAREST,
            also=(first_rows, first_rows_and_columns),
        ),
        Mistake(
            "centred",
            centred,
            "the mean of the rows is taken off first, as principal component analysis does; here "
            "the matrix is approximated as it is.",
            NEAREST,
            also=(centred_and_left,),
        ),
        Mistake(
            "factors",
            factors,
            "the factors are returned; multiply them: the answer is one matrix of the shape of "
            "the one that was given.",
            SVD,
            also=(factors_of_equal_size, three_factors),
        ),
        Mistake(
            "transposed",
            of_the_transpose,
            "the answer is transposed; keep the axes (O, I).",
            SVD,
        ),
        Mistake(
            "unchanged",
            unchanged,
            "all singular values are kept, so the matrix comes back as it was; keep r of them.",
            NEAREST,
        ),
    ),
    alternatives=(sum_of_outer_products, small_values_to_zero, onto_the_leading_directions),
    hints=(
        "torch.linalg.svd writes any matrix as a sum of matrices of rank 1, each with a length "
        "σ. Which r of them would you keep to lose least?",
        "Print the shapes of the three things that svd returns, with full_matrices=False. Along "
        "which axis of the first do the left vectors lie? And along which axis of the last the "
        "right ones, given that it is Vᵀ?",
        "The number of terms to keep is r, and each is a column, a number and a row. Put the r "
        "columns side by side, multiply each by its number, and think what has to stand to their "
        "right for the shape to come out as (O, I).",
    ),
    read=NEAREST,
)
