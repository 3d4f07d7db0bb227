"""Is an answer the expected one? If not, in what, in a sentence for the learner."""

import math

import torch

LARGEST = 1e300  # of an answer that is an int
FLOATS = 1e-9  # how far a Python float may lie from the expected one: several roundings


def compare(value, expected, like, tolerance: float, label: str) -> tuple[str | None, str]:
    """(None, "") if `value` is the expected answer, else the fault and a sentence about it.

    `expected` holds the values in float64; `like` fixes type, shape and dtype.
    """
    what = f"Part {label}" if label[:1].isdigit() else label or "The output"
    if isinstance(like, torch.Tensor):
        return _compare_tensor(value, expected, like, tolerance, what)
    if isinstance(like, dict):
        return _compare_dict(value, expected, like, tolerance, what, label)
    if isinstance(like, tuple | list):
        return _compare_sequence(value, expected, like, tolerance, what, label)
    if isinstance(like, int | float) and not isinstance(like, bool):
        return _compare_number(value, expected, what)
    if type(value) is not type(like):
        return "type", f"{what} must be {_kind(like)}; it is {_kind(value)}."
    return (None, "") if value == like else ("value", f"{what} is {value!r}; expected {like!r}.")


def _compare_sequence(value, expected, like, tolerance, what, label) -> tuple[str | None, str]:
    if not isinstance(value, tuple | list) or len(value) != len(like):
        kind = f"{len(like)} values in a tuple" if isinstance(like, tuple) else _kind(like)
        return "type", f"{what} must be {kind}; it is {_kind(value)}."
    for v, e, item, name in zip(value, expected, like, _fields(like), strict=True):
        fault, text = compare(v, e, item, tolerance, _inside(label, name))
        if fault:
            return fault, text
    return None, ""


def _compare_dict(value, expected, like, tolerance, what, label) -> tuple[str | None, str]:
    if not isinstance(value, dict):
        return "type", f"{what} must be a dict; it is {_kind(value)}."
    if missing := [repr(key) for key in like if key not in value]:
        return "type", f"{what} lacks {', '.join(missing)}."
    if extra := [repr(key) for key in value if key not in like]:
        does = "does" if len(extra) == 1 else "do"
        return "type", f"{what} holds {', '.join(extra)}, which {does} not belong there."
    for key in like:
        fault, text = compare(
            value[key], expected[key], like[key], tolerance, _inside(label, str(key))
        )
        if fault:
            return fault, text
    return None, ""


def _compare_tensor(value, expected, like, tolerance, what) -> tuple[str | None, str]:
    if not isinstance(value, torch.Tensor):
        hint = " Is a return missing?" if value is None else ""
        return "type", f"{what} must be a torch.Tensor; it is {_kind(value)}.{hint}"
    if value.layout != torch.strided:
        return "type", f"{what} must be an ordinary (strided) tensor; it is {value.layout}."
    if value.device != like.device:
        return "device", f"{what} is on {value.device}; the inputs are on {like.device}."
    if value.shape != like.shape:
        sizes = f"{what} has shape {tuple(value.shape)}; expected {tuple(like.shape)}."
        return "shape", sizes + _axes_of_one(value.shape, like.shape)
    if value.dtype != like.dtype:
        return "dtype", f"{what} has dtype {value.dtype}; expected {like.dtype}."
    mine, wanted = value.detach().double(), expected.double()
    near = close(mine, wanted, tolerance)
    if bool(near.all()):
        return None, ""
    wrong, no_number = ~near, mine.isnan() & ~wanted.isnan()
    if bool(no_number.any()):
        at = _index(no_number)
        return "nan", f"{what} is NaN at {at}; expected {_at(wanted, at):.4g}."
    show = _as_bools if like.dtype == torch.bool else apart
    gap = torch.where(wrong, (mine - wanted).abs().nan_to_num(posinf=1e300), -1.0)
    at = _index(gap == gap.max())
    a, b = show(_at(mine, at), _at(wanted, at))
    return "value", (
        f"{what} is wrong in {int(wrong.sum())} of {wrong.numel()} places; "
        f"at {at} it is {a}, expected {b}."
    )


def _axes_of_one(mine, wanted) -> str:
    """A sentence, where axes of size 1 are all that tells two shapes apart."""
    if [n for n in mine if n != 1] != [n for n in wanted if n != 1] or len(mine) == len(wanted):
        return ""
    if len(mine) > len(wanted):
        return " An axis of size 1 is left that does not belong there."
    return " An axis of size 1 is missing: squeeze() takes all of them away, squeeze(dim) one."


def apart(a: float, b: float) -> tuple[str, str]:
    """Two numbers with four digits, or as many as they need to look different."""
    for digits in range(4, 18):
        pair = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if pair[0] != pair[1]:
            break
    return pair


def _as_bools(a: float, b: float) -> tuple[str, str]:
    return str(bool(a)), str(bool(b))


def _compare_number(value, expected, what) -> tuple[str | None, str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "type", f"{what} must be a plain Python number; it is {_kind(value)}."
    if isinstance(expected, int) and isinstance(value, float):
        return "type", f"{what} must be an int; it is the float {value!r}."
    if too_large(value):
        near, pair = False, (f"a number larger than {LARGEST:g}", f"{expected:,}")
    elif isinstance(expected, float):
        near = math.isclose(value, expected, rel_tol=FLOATS, abs_tol=FLOATS)
        pair = apart(value, expected)
    else:
        near, pair = value == expected, (f"{value:,}", f"{expected:,}")
    return (None, "") if near else ("value", f"{what} is {pair[0]}; expected {pair[1]}.")


def too_large(value) -> bool:
    """An int that is no float any more, and perhaps too long to be printed."""
    return isinstance(value, int) and abs(value) > LARGEST


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Elementwise: |a − b| ≤ tolerance · (1 + |b|), infinities and NaN only to themselves."""
    return torch.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _fields(like: tuple) -> tuple[str, ...]:
    return getattr(like, "_fields", None) or tuple(str(i) for i in range(len(like)))


def _inside(label: str, name: str) -> str:
    """The label of a part of a part: 2[0], or cache[keys]."""
    return f"{label}[{name}]" if label else name


def _kind(value) -> str:
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, bool | str):
        return "a bool" if isinstance(value, bool) else "a text"
    return f"of type {type(value).__name__}"


def _index(where: torch.Tensor) -> list[int]:
    return where.nonzero()[0].tolist()


def _at(x: torch.Tensor, index: list[int]) -> float:
    return float(x[tuple(index)])
