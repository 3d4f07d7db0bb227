"""A page's numbers are those that its cells compute."""

import pytest
import torch

from clearhead.quotes import Quotes


def test_a_number_is_recorded_as_printed_when_its_value_rounds_to_that():
    quote = Quotes()
    quote(2, "a count", "1,024", 1024)
    quote(1, "a share", "0.58", torch.tensor(0.5751))
    assert quote.rows == [(2, "a count", "1,024"), (1, "a share", "0.58")]


@pytest.mark.parametrize("printed, value", [("0.58", 0.574), ("1,024", 1025), ("0.5", 0.58)])
def test_a_number_that_rounds_otherwise_stops_the_page(printed, value):
    quote = Quotes()
    with pytest.raises(AssertionError, match="question 3, a share: "):
        quote(3, "a share", printed, value)
    assert quote.rows == []


def test_a_notebook_shows_the_record_by_question():
    quote = Quotes()
    quote(2, "second", "7", 7)
    quote(1, "first", "8", 8)
    table = quote._repr_markdown_().splitlines()
    assert table == [
        "| question | what | as printed |",
        "|---|---|---|",
        "| 1 | first | 8 |",
        "| 2 | second | 7 |",
    ]
