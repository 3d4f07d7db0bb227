"""The pictures: what is drawn where, and what is refused."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

from clearhead.plots import heatmap, token_heatmaps, use_style


@pytest.fixture(autouse=True)
def own_style():
    with matplotlib.rc_context():
        use_style()
        yield
    plt.close("all")


def test_heatmap_draws_the_first_row_at_the_top_with_its_names_and_values():
    figure, ax = plt.subplots()
    image = heatmap(ax, [[1, 2, 3], [4, 5, 6]], rows=["a", "b"], columns=list("xyz"),
                    title="t", x_label="keys", y_label="queries", show_values=True)  # fmt: skip
    figure.canvas.draw()
    assert image.get_array().tolist() == [[1, 2, 3], [4, 5, 6]]
    top_left, bottom_right = ax.texts[0], ax.texts[-1]
    assert (top_left.get_text(), bottom_right.get_text()) == ("1", "6")
    to_pixels = ax.transData.transform
    assert to_pixels(top_left.get_position())[1] > to_pixels(bottom_right.get_position())[1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("t", "keys", "queries")
    assert len(figure.axes) == 2, "no colour bar"


def test_minus_infinity_does_not_spoil_the_colour_scale():
    _, ax = plt.subplots()
    scores = torch.tensor([[1.0, float("-inf")], [3.0, 2.0]], requires_grad=True)
    image = heatmap(ax, scores, show_values=True)
    assert image.get_clim() == (1.0, 3.0)
    assert [text.get_text() for text in ax.texts] == ["1", "−∞", "3", "2"]


def test_a_diverging_scale_is_white_at_zero():
    _, ax = plt.subplots()
    image = heatmap(ax, [[-1.0, 4.0]], diverging=True)
    assert image.get_clim() == (-4.0, 4.0)


def test_token_heatmaps_draws_every_map_on_the_same_scale_also_with_a_dollar_token():
    weights = torch.eye(2).repeat(3, 1, 1)
    figure = token_heatmaps(weights, ["$", "5"], ["one", "two", "three"])
    figure.canvas.draw()
    maps = [ax for ax in figure.axes if ax.get_visible() and ax.images and ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in maps] == ["one", "two", "three"]
    assert {ax.images[0].get_clim() for ax in maps} == {(0.0, 1.0)}


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (torch.zeros(2, 3, 4), {}, "two axes"),
        (torch.zeros(2, 3), {"rows": ["a"]}, "1 labels were given for 2 rows"),
        (torch.zeros(2, 3), {"columns": ["a", "b"]}, "2 labels were given for 3 columns"),
    ],
)
def test_heatmap_refuses_what_it_cannot_draw(matrix, names, message):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=message):
        heatmap(ax, matrix, **names)


def test_token_heatmaps_refuses_a_missing_title():
    with pytest.raises(ValueError, match="1 and 2 were given"):
        token_heatmaps(torch.eye(2)[None].repeat(2, 1, 1), ["a", "b"], ["only one"])
