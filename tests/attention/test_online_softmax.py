"""Online softmax: however the keys are cut, the result is that of all keys at once."""

import math

import pytest
import torch

from clearhead.attention import online_softmax_update, softmax


def start(T, Dv, dtype=torch.float64):
    m = torch.full((T,), -torch.inf, dtype=dtype)
    return m, torch.zeros(T, dtype=dtype), torch.zeros(T, Dv, dtype=dtype)


def run(scores, values, cuts):
    state = start(scores.shape[0], values.shape[1], scores.dtype)
    for s, v in zip(scores.split(cuts, dim=1), values.split(cuts, dim=0), strict=True):
        state = online_softmax_update(*state, s, v)
    return state


def test_two_blocks_of_one_key_worked_by_hand():
    state = start(1, 1)
    state = online_softmax_update(*state, torch.zeros(1, 1).double(), torch.ones(1, 1).double())
    assert [x.item() for x in state] == [0.0, 1.0, 1.0]
    higher = torch.full((1, 1), math.log(4), dtype=torch.float64)
    m, l, acc = online_softmax_update(*state, higher, torch.full((1, 1), 6.0).double())  # noqa: E741
    # The old sum and output shrink by e^(0 - ln 4) = 1/4; the new key adds e^0 = 1.
    assert m.item() == pytest.approx(math.log(4))
    assert l.item() == pytest.approx(1.25)
    assert acc.item() == pytest.approx(6.25)


@pytest.mark.parametrize("cuts", [[12], [1] * 12, [5, 7], [7, 5], [3, 1, 8]])
def test_any_cutting_gives_the_output_and_log_sum_exp_of_all_keys(cuts, close):
    scores, values = torch.randn(7, 12).double() * 10, torch.randn(12, 3).double()
    m, l, acc = run(scores, values, cuts)  # noqa: E741
    close(acc / l[:, None], softmax(scores) @ values)
    close(m + l.log(), scores.logsumexp(-1))
    close(m, scores.amax(-1))


def test_scores_of_ten_thousand_do_not_overflow():
    scores = torch.tensor([[10_000.0, -10_000.0, 10_000.0]])
    m, l, acc = run(scores, torch.tensor([[2.0], [5.0], [4.0]]), [1, 1, 1])  # noqa: E741
    assert (m.item(), l.item(), acc.item()) == (10_000.0, 2.0, 6.0)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
def test_blocks_of_minus_infinity_count_for_nothing_wherever_they_come(order):
    nothing = torch.full((4, 3), -torch.inf, dtype=torch.float64)
    blocks = [nothing, torch.randn(4, 3).double(), torch.randn(4, 3).double()]
    blocks[2][1] = -torch.inf  # a row masked in one block only
    values = torch.randn(9, 2).double()
    scores = torch.cat([blocks[i] for i in order], dim=1)
    m, l, acc = run(scores, values, [3, 3, 3])  # noqa: E741
    torch.testing.assert_close(acc / l[:, None], softmax(scores) @ values)
    assert all(x.isfinite().all() for x in (m, l, acc))


def test_a_row_that_sees_nothing_stays_as_it_began():
    scores = torch.full((2, 4), -torch.inf)
    scores[1] = 0.0
    m, l, acc = run(scores, torch.randn(4, 3), [2, 2])  # noqa: E741
    assert (m[0], l[0]) == (-torch.inf, 0.0)
    assert acc[0].tolist() == [0.0, 0.0, 0.0]
    assert not any(x.isnan().any() for x in (m, l, acc))


def test_what_is_given_is_not_changed():
    state = start(2, 3)
    before = [x.clone() for x in state]
    online_softmax_update(*state, torch.randn(2, 4).double(), torch.randn(4, 3).double())
    assert all(torch.equal(x, y) for x, y in zip(state, before, strict=True))
