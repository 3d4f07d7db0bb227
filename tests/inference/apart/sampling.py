"""What the rules of choosing refuse; run by `test_bad_input`, without the jaxtyping hook."""

import math

import pytest
import torch

import clearhead.inference as I

INF = math.inf


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda z: I.temperature(z, 0.0), "greedy"),
        (lambda z: I.temperature(z, -1.0), "positive"),
        (lambda z: I.temperature(z, INF), "finite"),
        (lambda z: I.top_k(z, -1), "0 or more"),
        (lambda z: I.top_p(z, 1.1), "from 0 to 1"),
        (lambda z: I.top_p(z, -0.1), "from 0 to 1"),
        (lambda z: I.min_p(z, 2.0), "from 0 to 1"),
        (lambda z: I.repetition_penalty(z, torch.tensor([0]), 0.0), "positive"),
        (lambda z: I.repetition_penalty(z, torch.tensor([[0]]), 1.1), "all axes but"),
        (lambda z: I.repetition_penalty(z, torch.tensor([4]), 1.1), "vocabulary has 4"),
        (lambda z: I.repetition_penalty(z, torch.tensor([-2]), 1.1), "−1 is none"),
        (lambda z: I.top_k(z[:0], 1), "one or more tokens"),
        (lambda z: I.draw(z.softmax(-1), torch.tensor(1.0)), "outside"),
        (lambda z: I.draw(z.softmax(-1), torch.tensor([0.5])), "one number a row"),
        (lambda z: I.draw(torch.zeros(4), torch.tensor(0.5)), "adds up to 0"),
        (lambda z: I.draw(z * torch.nan, torch.tensor(0.5)), "no finite number"),
        (lambda z: I.draw(torch.tensor([-1.0, 2.0, 3.0]), torch.tensor(0.1)), "is negative"),
        (lambda z: I.draw(torch.zeros(2, 0), torch.rand(2)), "one or more tokens"),
        (lambda z: I.draw(torch.tensor(1.0), torch.tensor(0.5)), "one or more tokens"),
        (lambda z: I.Sampler(temperature=-0.1), "0 (greedy) or more"),
        (lambda z: I.Sampler(k=-1), "0 or more"),
        (lambda z: I.Sampler(p=1.5), "from 0 to 1"),
        (lambda z: I.Sampler(min_p=-1.0), "from 0 to 1"),
        (lambda z: I.Sampler(repetition_penalty=0.0), "positive"),
        (lambda z: I.Sampler(seed=-1), "0 or more"),
        (lambda z: I.Sampler(repetition_penalty=1.2)(z), "give `seen`"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_expected(wrong, says):
    with pytest.raises(ValueError) as refusal:
        wrong(torch.randn(4))
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda z: I.top_k(z, 1.0),
        lambda z: I.top_k(z.long(), 1),
        lambda z: I.temperature(z, "1"),
        lambda z: I.Sampler(k=True),
        lambda z: I.repetition_penalty(z, torch.tensor([1.9]), 1.1),
        lambda z: I.repetition_penalty(z, torch.tensor([True]), 1.1),
        lambda z: I.repetition_penalty(z, [1], 1.1),
    ],
)
def test_wrong_kinds_are_refused(wrong):
    with pytest.raises(TypeError, match="give"):
        wrong(torch.randn(4))
