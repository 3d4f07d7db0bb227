r"""Refuse a rank, a pair of factors or a name that does not fit, in one sentence.

Each function returns nothing and raises `TypeError` or `ValueError`; nothing has changed by then.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from clearhead._checks import require_finite, require_floating, require_integer

INITS = ("kaiming", "gaussian", "pissa")


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
    alpha: float | int,
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


def require_new_name(name: str, known: Iterable[str]) -> None:
    """`name` can be given to an adapter: a string that is free and can be part of a dotted name."""
    if not isinstance(name, str):
        raise TypeError(f"The name is a {type(name).__name__} ({name!r}); give a string.")
    if name in known:
        raise ValueError(
            f"There is an adapter {name!r} already; give another name (known: {listed(known)})."
        )
    if not name or "." in name or hasattr(nn.ModuleDict, name):
        raise ValueError(f"{name!r} can't be the name of an adapter; give one such as 'pirate'.")


def require_known_name(name: str | None, known: Iterable[str]) -> None:
    """`name` is the name of an adapter, or None for the base alone."""
    if name is not None and name not in known:
        raise ValueError(f"There is no adapter {name!r}; known: {listed(known)}.")


def require_options(alpha: float | int, init: str, dropout: float | int) -> None:
    """What an adapter is made with, apart from its rank."""
    require_finite(alpha=alpha, dropout=dropout)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; give a number from 0 to less than 1.")
    if init not in INITS:
        raise ValueError(f"init is {init!r}; give one of {listed(INITS)}.")
    if init == "pissa" and alpha <= 0:
        raise ValueError(f"alpha is {alpha}; PiSSA divides by the scale, so give a positive one.")


def listed(names: Iterable[str | None]) -> str:
    """The names, each in quotation marks, None as it is; or "none" where there are no names."""
    return ", ".join(map(repr, names)) or "none"
