"""Losses to the loop: wrong input is refused with a sentence that says what came."""

import pytest
import torch

import clearhead.training as C
from clearhead.model import Config, Decoder


def f(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


def i(*shape):
    return torch.zeros(shape, dtype=torch.int64)


def byte(*shape):
    return torch.zeros(shape, dtype=torch.uint8)


def yes(*shape):
    return torch.ones(shape, dtype=torch.bool)


def model():
    sizes = dict(vocab_size=5, width=4, layers=1, heads=1, kv_heads=1, head_size=4)
    return Decoder(Config(**sizes, feed_forward=4))


def step(**changes):
    given = {"parameter": f(2), "gradient": f(2), "m": f(2), "v": f(2), "step": 1, "lr": 0.1}
    return C.adamw_step(**{**given, **changes})


def rate(function=C.learning_rate, **changes):
    return function(**{"step": 0, "peak": 1.0, "warmup": 2, "total": 9, **changes})


def recipe(**changes):
    return C.Recipe(**{"steps": 3, "batch": 2, "peak": 0.1, **changes})


RIGHT = C.make_rows(i(2, 4))
PARAMETER = torch.nn.Parameter(f(2))
UNREAL = torch.tensor([[True, False, True]])

CASES = [
    # the loss
    (lambda: C.next_token_loss(f(2, 3), i(2, 3), yes(2, 3)), ValueError, r"Given \(2, 3\) for ids"),
    (lambda: C.next_token_loss(f(2, 2, 5), i(2, 3), yes(2, 3)), ValueError, "neither of them shif"),
    (lambda: C.next_token_loss(i(2, 3, 5), i(2, 3), yes(2, 3)), TypeError, "scores is torch.int64"),
    (lambda: C.next_token_loss(f(2, 3, 5), f(2, 3), yes(2, 3)), TypeError, "ids is torch.float32"),
    (lambda: C.next_token_loss(f(2, 3, 5), i(2, 3), i(2, 3)), TypeError, "real is torch.int64"),
    (lambda: C.next_token_loss(f(2, 3, 5), i(2, 3), yes(2, 2)), ValueError, r"real has shape"),
    (
        lambda: C.next_token_loss(f(1, 3, 5), i(1, 3), UNREAL),
        ValueError,
        "nothing to average: no real token follows a real one",
    ),
    (
        lambda: C.next_token_loss(f(1, 3, 5), i(1, 3) + 5, yes(1, 3)),
        ValueError,
        "5 is to be predicted, and the logits are about 5 tokens, 0 to 4",
    ),
    (lambda: C.per_token_loss(f(1, 3, 5), i(1, 3) - 1), ValueError, "-1 is to be predicted"),
    (
        lambda: C.per_token_loss(f(1, 3, 5), byte(1, 3)),
        TypeError,
        "labels is torch.uint8; .*signed",
    ),
    (lambda: C.perplexity(f(1, 3), ~yes(1, 3), 4), ValueError, "real is False everywhere"),
    (lambda: C.perplexity(f(1, 3) - 1, yes(1, 3), 0), ValueError, "n_bytes is 0"),
    (lambda: C.perplexity(f(1, 3) + 1, yes(1, 3), 4), ValueError, "add up to 3, .* not the loss"),
    (
        lambda: C.weighted_prompt_loss(f(1, 3), yes(1, 3), ~yes(1, 3), 0.0),
        ValueError,
        "every token has weight zero",
    ),
    (lambda: C.weighted_prompt_loss(f(1, 3), yes(1, 3), yes(1, 3), 0.5), ValueError, "3 tokens"),
    (lambda: C.weighted_prompt_loss(f(1, 3), ~yes(1, 3), yes(1, 3), -1), ValueError, "weight is"),
    (lambda: C.weighted_prompt_loss(f(1, 3), f(1, 3), yes(1, 3), 1), TypeError, "prompt is"),
    # chunks and pieces
    (lambda: C.chunked_loss(f(1, 3, 4), f(5, 3), i(1, 3)), ValueError, r"matrix \(5, 3\)"),
    (lambda: C.chunked_loss(f(1, 3, 4), f(5, 4), i(1, 2)), ValueError, "neither of them shifted"),
    (lambda: C.chunked_loss(f(1, 3, 4), f(5, 4), i(1, 3) - 100), ValueError, "every label"),
    (lambda: C.chunked_loss(f(1, 3, 4), f(5, 4), i(1, 3) + 9), ValueError, "9 is to be predicted"),
    (lambda: C.chunked_loss(f(1, 3, 4), f(5, 4), i(1, 3), chunk=0), ValueError, "chunk is 0"),
    (lambda: C.chunked_loss(f(1, 3, 4), f(5, 4), i(1, 3), count=0), ValueError, "count is 0"),
    (
        lambda: C.chunked_loss(f(1, 3, 4), f(5, 4, dtype=torch.float64), i(1, 3)),
        TypeError,
        "hidden is torch.float32 and matrix is torch.float64",
    ),
    (lambda: C.accumulated_loss([], []), ValueError, "Given 0 tensors of losses and 0 masks"),
    (lambda: C.accumulated_loss([f(1, 2)], []), ValueError, "1 tensors of losses and 0 masks"),
    (lambda: C.accumulated_loss([f(1, 2)], [~yes(1, 2)]), ValueError, "no token counts in any"),
    (lambda: C.accumulated_loss([f(1, 2)], [yes(1, 3)]), ValueError, r"counted\[0\] has shape"),
    (lambda: C.accumulated_loss([f(1, 2)], [f(1, 2)]), TypeError, r"counted\[0\] is torch.float32"),
    (lambda: C.accumulated_loss([f(1, 2)], [yes(1, 2)], -1), ValueError, "tokens_elsewhere is -1"),
    (lambda: C.accumulated_loss([f(1, 2)], [yes(1, 2)], 0, 0), ValueError, "processes is 0"),
    # the step
    (lambda: step(step=0), ValueError, "step is 0; give an integer of 1 or more"),
    (lambda: step(m=f(3)), ValueError, r"parameter is \(2,\) and m \(3,\)"),
    (lambda: step(gradient=i(2)), TypeError, "gradient is torch.int64"),
    (lambda: step(lr=-0.1), ValueError, "lr is -0.1; give 0 or more"),
    (lambda: step(beta2=1.0), ValueError, "beta2 is 1.0; give a number from 0 to less than 1"),
    (lambda: C.AdamW([torch.nn.Parameter(f(2))], lr=0.1, beta1=-1), ValueError, "beta1 is -1"),
    (lambda: C.AdamW([{"params": [PARAMETER], "lr": -1.0}], lr=0.1), ValueError, "lr is -1.0"),
    (lambda: step(eps=0), ValueError, r"eps is 0; give 1e-37 or more, .* from 0"),
    (lambda: step(eps=1e-60), ValueError, "eps is 1e-60; give 1e-37 or more"),
    (lambda: C.decay_groups(model().requires_grad_(False), 0.1), ValueError, "unfreeze some"),
    (lambda: rate(step=-1), ValueError, "step is -1"),
    (lambda: rate(step=0.5), TypeError, "step is a float"),
    (lambda: rate(warmup=10), ValueError, "warmup is 10 of 9 updates"),
    (lambda: rate(floor=2.0), ValueError, "floor is 2.0 and peak 1.0"),
    (lambda: rate(C.warmup_stable_decay, decay=8), ValueError, "warmup 2 and decay 8"),
    (lambda: C.clip_gradients([], 1.0), ValueError, "gradients is empty"),
    (lambda: C.clip_gradients([f(2)], 0.0), ValueError, "most is 0.0; give a number above 0"),
    # the rows
    (lambda: C.make_rows(i(0, 4)), ValueError, r"ids is \(0, 4\); give one row or more"),
    (lambda: C.make_rows(i(2, 1)), ValueError, "of two tokens or more"),
    (lambda: C.make_rows(i(2, 4), i(2, 3)), ValueError, r"ids is \(2, 4\) and labels \(2, 3\)"),
    (lambda: C.make_rows(f(2, 4)), TypeError, "ids is torch.float32"),
    (lambda: C.make_rows(i(2, 4), documents=i(2, 4)), ValueError, "go together"),
    (lambda: C.make_rows(i(2, 4), i(2, 4) - 100), ValueError, "learn: 2 of 2, the first is row 0"),
    (lambda: C.make_rows(byte(2, 4)), TypeError, r"ids is torch.uint8; .*signed.* ids.long\(\)"),
    (lambda: C.batch_rows(0, 0, 0, 2), ValueError, "n_rows is 0"),
    (lambda: C.batch_rows(1.5, 0, 3, 2), TypeError, "seed is a float"),
    (lambda: C.batch_rows("x", 0, 3, 2), TypeError, "seed is a str"),
    # the run
    (lambda: recipe(steps=0), ValueError, "steps is 0"),
    (lambda: recipe(batch=2.0), TypeError, "batch is a float"),
    (lambda: recipe(micro_batch=0), ValueError, "micro_batch is 0"),
    (lambda: recipe(peak=0.0), ValueError, "peak is 0.0; give a number above 0"),
    (lambda: recipe(clip=0), ValueError, "clip is 0; give a number above 0"),
    (lambda: recipe(warmup=5), ValueError, "warmup is 5 of 3 updates"),
    (lambda: recipe(beta1=1.5), ValueError, "beta1 is 1.5"),
    (lambda: recipe(eps=0.0), ValueError, "eps is 0.0; give 1e-37 or more"),
    (lambda: recipe(dtype=torch.float16), ValueError, "dtype is torch.float16; give"),
    (lambda: C.train(model(), RIGHT, recipe(), every=0), ValueError, "every is 0"),
    (lambda: C.train(model(), i(2, 4), recipe()), TypeError, "rows is a Tensor; make_rows"),
    (
        lambda: C.train(model(), C.make_rows(i(2, 4) + 5), recipe()),
        ValueError,
        "token id 5 is out of range",
    ),
    (lambda: C.train(model().requires_grad_(False), RIGHT, recipe()), ValueError, "unfreeze some"),
    (lambda: C.evaluate(model(), RIGHT, batch=0), ValueError, "batch is 0"),
    (lambda: C.evaluate(model(), RIGHT, n_bytes=0), ValueError, "n_bytes is 0"),
    (lambda: C.initialise(model(), std=0.0), ValueError, "std is 0.0"),
    (lambda: C.progress(0), ValueError, "every is 0"),
    (lambda: C.training_flops(model().config, 0, 4), ValueError, "batch is 0"),
    (lambda: C.training_flops(model().config, 1, 2, learned=3), ValueError, "learned is 3 of 2 po"),
    (lambda: C.save_checkpoint("nowhere", -1, {}), ValueError, "step is -1"),
    (lambda: C.utilisation(1, 1.0, -1.0), ValueError, "peak is -1.0"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), CASES)
def test_it_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
