"""Values as a person reads them: in plain text, and as small coloured tables."""

import html
from typing import Any

import torch

from marking.compare import LARGEST, too_large

LARGEST_SHOWN = 64


def as_text(value: Any, indent: int = 0, digits: int = 4) -> str:
    """A tensor as nested lists of short numbers, or its shape when it is large."""
    if too_large(value):
        return f"a number larger than {LARGEST:g}"
    if not isinstance(value, torch.Tensor) and not _holds_tensors(value):
        return f"{value:,}" if type(value) is int else repr(value)
    if isinstance(value, dict):
        pad = " " * indent
        return f"\n{pad}".join(
            f"{name}: {as_text(part, indent + 2, digits)}" for name, part in value.items()
        )
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", range(len(value)))
        pad = " " * indent
        return f"\n{pad}".join(
            f"{name}: {as_text(part, indent + 2, digits)}"
            for name, part in zip(names, value, strict=True)
        )
    shape = "×".join(map(str, value.shape)) or "scalar"
    if value.numel() > LARGEST_SHOWN or not _readable(value):
        return f"tensor of shape {shape}"
    return f"{_nested(value.detach().tolist(), digits)}   ({shape})"


def as_different_texts(a: Any, b: Any, indent: int = 0) -> tuple[str, str]:
    """Two values that differ, with as many digits as it takes to see it (four, if they can)."""
    for digits in range(4, 18):
        pair = as_text(a, indent, digits), as_text(b, indent, digits)
        if pair[0] != pair[1]:
            break
    return pair


def _holds_tensors(value: Any) -> bool:
    """Or has named parts, which are worth a line each."""
    if isinstance(value, torch.Tensor) or hasattr(value, "_fields"):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return isinstance(value, tuple | list | dict) and any(map(_holds_tensors, parts))


def _readable(value: torch.Tensor) -> bool:
    return value.layout == torch.strided and value.device.type != "meta"


def _nested(value: Any, digits: int) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_nested(item, digits) for item in value) + "]"
    if isinstance(value, bool):
        return "True" if value else "False"
    value = value + 0  # −0.0 is shown as 0
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.{max(digits, 7)}g}"


def as_grid(value: Any) -> torch.Tensor | None:
    """The value as one small matrix worth drawing, or None."""
    if isinstance(value, tuple | list) and value:
        value = next((part for part in reversed(value) if as_grid(part) is not None), None)
    if not isinstance(value, torch.Tensor) or not _readable(value):
        return None
    grid = value.detach()
    while grid.ndim > 2 and grid.shape[0] == 1:
        grid = grid[0]
    if grid.ndim != 2 or min(grid.shape) < 2 or max(grid.shape) > 12:
        return None
    return grid.double()


def grid_html(title: str, grid: torch.Tensor) -> str:
    """A matrix as a table, one coloured cell a value; the number is there too, as its title."""
    top = grid[grid.isfinite()].abs().max().item() if grid.isfinite().any() else 1.0
    rows = "".join(
        "<tr>" + "".join(_cell(float(x), top or 1.0) for x in row) + "</tr>" for row in grid
    )
    return (
        '<figure style="display:inline-block;margin:.3em 1em .3em 0;vertical-align:top">'
        f'<figcaption style="font-size:.85em">{html.escape(title)}</figcaption>'
        f'<table style="border-collapse:collapse">{rows}</table></figure>'
    )


def _cell(x: float, top: float) -> str:
    if x != x or x in (float("inf"), float("-inf")):
        colour, text = "#d5a200", str(x)
    else:
        strength = min(abs(x) / top, 1.0)
        hue = "31,119,180" if x >= 0 else "213,94,0"
        colour, text = f"rgba({hue},{strength:.2f})", f"{x:.3g}"
    return (
        f'<td title="{text}" style="width:1.1em;height:1.1em;padding:0;'
        f'border:1px solid #8888;background:{colour}"></td>'
    )


def grid_text(grid: torch.Tensor) -> list[str]:
    """A mask as rows of ■ (True) and · (False)."""
    return ["".join("■" if x else "·" for x in row) for row in grid.bool().tolist()]
