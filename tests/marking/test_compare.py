"""What the comparison calls the part of an answer that is wrong."""

import pytest
import torch

from marking.compare import compare


@pytest.mark.parametrize(
    ("value", "expected", "says"),
    [
        ((1, 2), (1, 3), "Part 1 is 2; expected 3."),
        ([(1, 2), (3, 4)], [(1, 2), (3, 5)], "Part 1[1] is 4; expected 5."),
        ({"ids": [7]}, {"ids": [8]}, "ids[0] is 7; expected 8."),
        ([{"done": 1}], [{"done": 2}], "Part 0[done] is 1; expected 2."),
        ([(1, 2), None], [(1, 2), (3, 4)], "Part 1 must be 2 values in a tuple; it is None."),
        (5, 6, "The output is 5; expected 6."),
    ],
)
def test_the_part_that_is_wrong_is_named_by_the_way_to_it(value, expected, says):
    assert compare(value, expected, expected, 1e-9, "")[1] == says


@pytest.mark.parametrize(
    ("mine", "wanted", "says"),
    [
        ((3,), (1, 3), "An axis of size 1 is missing: squeeze() takes all of them away"),
        ((2, 1), (2,), "An axis of size 1 is left that does not belong there."),
        ((1, 3), (3, 1), "expected (3, 1)."),
        ((3,), (1, 4), "expected (1, 4)."),
    ],
)
def test_axes_of_size_one_are_told_apart_from_other_shapes(mine, wanted, says):
    value, expected = torch.zeros(mine), torch.zeros(wanted)
    fault, text = compare(value, expected, expected, 1e-9, "")
    assert fault == "shape" and says in text
    assert ("size 1" in text) == ("size 1" in says)
