"""Answers that are right but for sizes of one: what mutants of the solutions showed was missing."""

import pytest
import torch

from marking.diagnosis import run_suite
from marking.exercise import map_tensors, suite
from marking.registry import find

KEEP_THEIR_AXES = """
attention.softmax attention.multi_head attention.online_softmax_update lora.forward
lora.dora_forward lora.gradients inference.top_k_top_p training.adamw_step
preference.kl_estimators
""".split()


def is_rejected(name, wrong) -> bool:
    """`wrong(reference, inputs)` is the answer; is it rejected in a situation, in float64?"""
    exercise = find(name)

    def answer(**inputs):
        return wrong(exercise.reference, inputs)

    cases = suite(exercise, 0, torch.float64)
    return not all(outcome.ok for outcome in run_suite(exercise, answer, cases, seconds=5))


@pytest.mark.parametrize("name", KEEP_THEIR_AXES)
def test_an_answer_without_its_axes_of_size_one_is_rejected(name):
    assert is_rejected(name, lambda right, i: map_tensors(right(**i), torch.Tensor.squeeze))


def k_of_one_keeps_all(right, i):
    return right(**i | {"k": 0 if i["k"] == 1 else i["k"]})


def no_chunk_of_one(right, i):
    plan = right(**i)
    done = {name: (prompt, cached) for name, prompt, cached in i["running"] + i["waiting"]}
    read = {name for name, (prompt, cached) in done.items() if cached < prompt}
    kept = {name: n for name, n in plan["tokens"].items() if n > 1 or name not in read}
    return plan | {"tokens": kept}


def no_answer_of_one(right, i):
    alone = i["mask"].sum(1, keepdim=True) == 1
    return right(**i | {"losses": torch.where(alone, i["losses"] / 2, i["losses"])})


def no_batch_of_one(right, i):
    for value in i.values():
        if isinstance(value, torch.Tensor) and value.shape[:1] == (1,):
            raise IndexError("a batch of one")
    return right(**i)


def no_short_row(right, i):
    if i["ids"].shape[1] < len(i["header"]):
        raise IndexError("shorter than the header")
    return right(**i)


def no_row_of_padding(right, i):
    if (i["ids"] == i["pad"]).all(1).any():
        raise IndexError("padding alone")
    return right(**i)


def rank_of_one_fails(right, i):
    if i["A"].shape[-2] == 1:
        raise IndexError("a rank of one")
    return right(**i)


def one_prediction_fails(right, i):
    if i["ids"].shape[1] == 2:
        raise IndexError("two tokens in all")
    return right(**i)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("inference.top_k_top_p", k_of_one_keeps_all),
        ("inference.schedule_step", no_chunk_of_one),
        ("preference.aggregate_loss", no_answer_of_one),
        ("training.sft_labels", no_short_row),
        ("training.sft_labels", no_row_of_padding),
        ("preference.sequence_log_prob", one_prediction_fails),
        *(
            (name, no_batch_of_one)
            for name in (
                "preference.aggregate_loss",
                "preference.clipped_surrogate",
                "inference.prefill",
                "inference.decode_step",
                "inference.chunked_prefill_mask",
            )
        ),
        *(
            (f"lora.{name}", rank_of_one_fails)
            for name in ("forward", "gradients", "dora_forward", "batched_adapters")
        ),
    ],
)
def test_an_answer_that_fails_where_a_size_is_one_is_rejected(name, wrong):
    assert is_rejected(name, wrong)
