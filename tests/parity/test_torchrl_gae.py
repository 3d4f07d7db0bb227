"""torchrl's generalised advantage estimate is ours, episodes that end in the middle included."""

import pytest
import torch

from clearhead.preference import gae

functional = pytest.importorskip(
    "torchrl.objectives.value.functional", reason="pip install 'clearhead[parity]'"
)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 0.0), (0.7, 1.0)])
def test_advantages_and_returns(gamma, lam):
    """Their `value_target` is our returns; shapes (B, T, 1); `done` ends the trajectory, and
    `terminated` says that its next state has no value: our `done` is both. They keep gamma and
    lambda in fp32."""
    B, T = 4, 11
    rewards, values = torch.randn(B, T).double(), torch.randn(B, T + 1).double()
    done = torch.rand(B, T) < 0.2
    done[0] = False
    done[1, -1] = True
    assert done[:, :-1].any()
    theirs = functional.generalized_advantage_estimate(
        gamma,
        lam,
        values[:, :-1, None],
        values[:, 1:, None],
        rewards[:, :, None],
        done[:, :, None],
        done[:, :, None],
    )
    ours = gae(rewards, values, done, gamma=gamma, lam=lam)
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want[..., 0], atol=1e-6, rtol=1e-6)
