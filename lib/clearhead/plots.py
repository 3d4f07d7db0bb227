r"""Pictures of small matrices and of attention maps, in one style for the whole book.

This is the only room of `clearhead` that imports matplotlib.
`use_style` sets the look once, `heatmap` draws one matrix, and `token_heatmaps` draws several real
attention maps side by side, with the same colour scale in all of them so that they can be compared.

The line colours are the eight of Okabe and Ito, which people with the common forms of colour
blindness can tell apart.
Matrices use viridis (values from low to high) or, when the sign matters, a red-to-blue map that is
white at zero.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
NOT_A_NUMBER = "#d9d9d9"  # the grey of a cell that holds -inf or NaN


def use_style() -> None:
    """Set the book's look for every figure drawn after this call; changes matplotlib's defaults.

    The page is always white, also on a dark site.
    A figure is 5.6 inches wide at 120 dots an inch, so its text is still legible when a telephone
    shows it 360 pixels wide.
    """
    plt.rcParams.update(
        {
            "axes.edgecolor": "#444444",
            "axes.facecolor": "white",
            "axes.grid": False,
            "axes.prop_cycle": plt.cycler(color=OKABE_ITO),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titlepad": 8,
            "figure.constrained_layout.use": True,
            "figure.dpi": 120,
            "figure.facecolor": "white",
            "figure.figsize": (5.6, 3.6),
            "font.size": 11,
            "image.cmap": "viridis",
            "legend.frameon": False,
            "lines.linewidth": 2,
            "savefig.dpi": 120,
            "savefig.facecolor": "white",
        }
    )


def _as_matrix(matrix: object) -> np.ndarray:
    array = torch.as_tensor(matrix).detach().to("cpu", torch.float64).numpy()
    if array.ndim != 2:
        raise ValueError(
            f"heatmap draws a matrix with two axes, but the one given has {array.ndim}: "
            "choose one slice, for example weights[0, 0]"
        )
    return array


def _label(ax: Axes, axis: str, labels: Sequence[str] | None, count: int) -> None:
    if labels is None:
        return
    if len(labels) != count:
        raise ValueError(f"{len(labels)} labels were given for {count} {axis}: give one for each")
    shown = [str(label).replace("$", r"\$") for label in labels]  # a lone $ would start mathematics
    if axis == "rows":
        ax.set_yticks(range(count), shown)
    else:
        steep = sum(len(label) for label in shown) > 24
        ax.set_xticks(range(count), shown, rotation=90 if steep else 0)


def _write_values(ax: Axes, image: AxesImage, array: np.ndarray) -> None:
    finite = array[np.isfinite(array)]
    pattern = "{:.0f}" if np.all(finite == np.round(finite)) else "{:.2f}"
    for (row, column), value in np.ndenumerate(array):
        if np.isfinite(value):
            text = pattern.format(value)
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        else:
            text = "NaN" if np.isnan(value) else ("∞" if value > 0 else "−∞")
            dark = False
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black")


def heatmap(
    ax: Axes,
    matrix: Tensor | Sequence,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str | None = None,
    x_label: str | None = None,
    y_label: str | None = None,
    show_values: bool = False,
    diverging: bool = False,
) -> AxesImage:
    """Draw a matrix as coloured cells on `ax`, with a colour bar; return matplotlib's image.

    `matrix` is a tensor or a nested list with two axes; its first row is drawn at the top.
    `rows` and `columns` name them, `show_values` writes each number into its cell, and `diverging`
    colours by sign, white at zero.
    A cell that holds -inf or NaN is grey and takes no part in the colour scale.
    Raises ValueError when there are not two axes, or when a list of names has the wrong length.
    """
    array = _as_matrix(matrix)
    finite = array[np.isfinite(array)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if diverging:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    cmap = plt.get_cmap("RdBu" if diverging else "viridis").with_extremes(bad=NOT_A_NUMBER)
    image = ax.imshow(np.ma.masked_invalid(array), cmap=cmap, vmin=low, vmax=high)
    _label(ax, "rows", rows, array.shape[0])
    _label(ax, "columns", columns, array.shape[1])
    ax.set(title=title or "", xlabel=x_label or "", ylabel=y_label or "")
    if show_values:
        _write_values(ax, image, array)
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    return image


def token_heatmaps(
    weights: Float[Tensor, "N T T"], tokens: Sequence[str], titles: Sequence[str]
) -> Figure:
    """Draw N attention maps over the same T tokens, two a row, all on one scale from 0 to 1.

    Rows are queries, columns are keys.
    Give the figure a name (`figure = token_heatmaps(...)`): a notebook draws open figures at the
    end of the cell, and would draw this one twice if it were also the cell's value.
    Raises ValueError when there is not one title a map and one token a row.
    """
    count, size = weights.shape[0], weights.shape[1]
    if len(titles) != count or len(tokens) != size:
        raise ValueError(
            f"{count} maps over {size} tokens need {count} titles and {size} tokens, "
            f"but {len(titles)} and {len(tokens)} were given"
        )
    across = min(count, 2)
    down = -(-count // across)
    figure, grid = plt.subplots(
        down, across, figsize=(3.1 * across, 3.3 * down + 0.5), squeeze=False, layout="constrained"
    )
    for ax in grid.flat[count:]:
        ax.set_visible(False)
    for ax, matrix, title in zip(grid.flat, weights, titles, strict=False):
        image = ax.imshow(_as_matrix(matrix), cmap="viridis", vmin=0, vmax=1)
        _label(ax, "rows", tokens, size)
        _label(ax, "columns", tokens, size)
        ax.tick_params(axis="x", rotation=90)
        ax.tick_params(labelsize=min(9, 150 / size))  # points: a name a row, no overlap
        ax.set_title(title, fontsize=10)
    for ax in grid[-1]:
        ax.set_xlabel("key: the token that is read", fontsize=10)
    figure.supylabel("query: the token that reads", fontsize=10)
    figure.colorbar(image, ax=grid, location="bottom", shrink=0.6, label="attention weight")
    return figure
