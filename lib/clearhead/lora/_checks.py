r"""Refuse a rank, a pair of factors or a name that does not fit, in one sentence.

Each function returns nothing and raises `TypeError` or `ValueError`; nothing has changed by then.
"""

from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer


def require_rank(r: int, out_features: int, in_features: int) -> None:
    """The rank is between 1 and the smaller side of the matrix."""
    require_integer(1, r=r)
    most = min(out_features, in_features)
    if r > most:
        raise ValueError(
            f"r is {r}, and a matrix of {out_features} × {in_features} has rank {most} at most; "
            f"give a rank from 1 to {most}."
        )


def require_matrix(**matrices: Tensor) -> None:
    """Every argument is a floating-point matrix, each in a dtype of its own."""
    for name, x in matrices.items():
        require_floating(**{name: x})
        if x.ndim != 2:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; give a matrix, two axes.")


def require_factors(
    A: Tensor,
    B: Tensor,
    alpha: float,
    *,
    out_features: int | None = None,
    in_features: int | None = None,
) -> None:
    """`A` is (R, I) and `B` is (O, R), of one rank, for a matrix of these sizes where given."""
    require_matrix(A=A, B=B)
    require_floating(A=A, B=B)
    require_finite(alpha=alpha)
    given = f"A {tuple(A.shape)} and B {tuple(B.shape)}"
    if A.shape[0] != B.shape[1] or A.shape[0] == 0:
        raise ValueError(
            f"Given {given}; expected A (R, I) and B (O, R) with one rank R of 1 or more."
        )
    if in_features not in (None, A.shape[1]):
        raise ValueError(
            f"Given {given} for {in_features} input features; expected A (R, {in_features})."
        )
    if out_features not in (None, B.shape[0]):
        raise ValueError(
            f"Given {given} for {out_features} output features; expected B ({out_features}, R)."
        )
