"""What a learner reads who has changed an input, and that a gradient is asked for without harm."""

import pytest
import torch

from marking import check
from marking.exercise import copy_inputs
from marking.outcome import Outcome, same
from marking.registry import find
from marking.unchanged import unchanged


def scales_in_place(nll, prompt, response, weight):
    nll[prompt] *= weight
    w = weight * prompt + 1.0 * response
    return (nll[prompt].sum() + nll[response].sum()) / w.sum().to(nll.dtype)


def cleans_the_pieces(nll, counted, tokens_elsewhere, processes):
    N = tokens_elsewhere + sum(int(c.sum()) for c in counted)
    for i, c in enumerate(counted):
        nll[i] = nll[i].masked_fill(~c, 0.0)
    parts = torch.stack([processes * x.sum() / N for x in nll])
    return parts, parts.sum()


def inserts_the_default(messages, default_system, add_generation_prompt):
    if default_system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": default_system})
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return text + "<|im_start|>assistant\n" * add_generation_prompt


@pytest.mark.parametrize(
    ("exercise", "answer", "told"),
    [
        ("weighted_prompt_loss", scales_in_place, ("its input nll", "end in an underscore")),
        ("accumulated_loss", cleans_the_pieces, ("its input nll", "`x[i] = …`", "[*x, …]")),
        ("render_chat", inserts_the_default, ("its input messages", "append, insert", "a copy")),
    ],
)
def test_an_input_changed_in_place_is_told_with_what_writes_into_it(exercise, answer, told):
    report = check(f"training.{exercise}", answer)
    faults = {outcome.fault for outcome in report.results.values()} - {None}
    assert faults == {"mutated"} and not report.mistakes
    assert all(part in str(report) for part in told)


@pytest.mark.parametrize(
    ("exercise", "name", "change"),
    [
        ("inference.kv_cache_bytes", "lengths", list.reverse),
        ("inference.schedule_step", "running", list.reverse),
        ("inference.schedule_step", "running", lambda x: x.append(None)),
        ("training.render_chat", "messages", list.clear),
        ("training.render_chat", "messages", lambda x: x.__setitem__(0, "x")),
        ("training.pack_documents", "documents", list.reverse),
        ("training.pack_documents", "documents", lambda x: x.__setitem__(0, None)),
    ],
)
def test_an_input_that_is_no_tensor_is_watched_as_well(exercise, name, change):
    def answer(**inputs):
        value = find(exercise).reference(**copy_inputs(inputs))
        change(inputs[name]) if inputs[name] else None
        return value

    faults = {outcome.fault for outcome in check(exercise, answer).results.values()}
    assert faults - {None} == {"mutated"}


def test_what_an_input_holds_is_compared_by_type_and_value():
    nan = float("nan")
    before = {"a": [1, (2.0, "b"), nan, None], "x": torch.tensor([nan])}
    assert unchanged(before, copy_inputs(before))
    for other in ([1, (2.0, "c"), nan, None], [True, (2.0, "b"), nan, None], None, "x"):
        assert not unchanged(before, {**before, "a": other})
    assert not unchanged(before, {**before, "x": None})


def test_a_mistake_is_known_by_its_values_where_the_input_was_changed_besides():
    changed = Outcome(value="text", fault="mutated")
    assert same(changed, Outcome(value="text", fault="value"), 1e-9)
    assert same(changed, Outcome(value="text"), 1e-9)
    assert not same(changed, Outcome(value="other", fault="value"), 1e-9)
