"""What a paged gather refuses, and in which words."""

import pytest
import torch

from clearhead.inference import gather_row_by_row, paged_gather

POOL = torch.zeros(9, 4, 2, 3)
TABLE = torch.tensor([[7, 2, -1], [-1, -1, -1], [0, 1, 8], [3, -1, -1]])
LENGTHS = torch.tensor([5, 0, 12, 1])


@pytest.mark.parametrize("version", [gather_row_by_row, paged_gather])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pool": POOL.long()}, TypeError, "floating-point"),
        ({"pool": POOL[0]}, ValueError, r"expected \(P, block, K, D\)"),
        ({"pool": POOL[:, :0]}, ValueError, "no slots"),
        ({"pool": POOL[:8]}, ValueError, r"table\[2, 2\] is 8.*from 0 to 7"),
        ({"table": TABLE.double()}, TypeError, "table is torch.float64"),
        ({"table": TABLE.short()}, TypeError, "table is torch.int16"),
        ({"table": TABLE[0]}, ValueError, r"expected \(B, M\)"),
        ({"table": TABLE[:3]}, ValueError, r"expected \(P, block, K, D\)"),
        ({"table": TABLE - 1}, ValueError, r"table\[2, 0\] is -1.*of 12 tokens"),
        ({"lengths": [5, 0, 12, 1]}, TypeError, "lengths is a list"),
        ({"lengths": torch.tensor([5, 0, 13, 1])}, ValueError, "holds 0 to 12 tokens"),
        ({"lengths": torch.tensor([5, -1, 12, 1])}, ValueError, "lengths hold -1"),
        ({"lengths": torch.tensor([5, 1, 12, 1])}, ValueError, r"table\[1, 0\] is -1"),
    ],
)
def test_what_does_not_fit_is_refused(version, change, error, message):
    call = {"pool": POOL, "table": TABLE, "lengths": LENGTHS} | change
    with pytest.raises(error, match=message):
        version(**call)
