"""Wrong answers in code of their own, not that of any record: rejected, and named."""

from collections import Counter

import pytest
import torch
from inference_attempts import ATTEMPTS as INFERENCE
from learner_attempts import ATTEMPTS as ATTENTION
from lora_attempts import ATTEMPTS as LORA
from preference_attempts import ATTEMPTS as PREFERENCE
from training_attempts import ATTEMPTS as TRAINING

from marking import check
from marking.registry import exercises

pytestmark = pytest.mark.timeout(1800)  # one fixture checks every attempt

ATTEMPTS = ATTENTION + LORA + INFERENCE + TRAINING + PREFERENCE
LEAST_NAMED = 0.9
NAMES = [f"{a.exercise.partition('.')[2]}-{a.answer.__name__}" for a in ATTEMPTS]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARHEAD_PROGRESS", str(tmp_path_factory.mktemp("own") / "progress.json"))
        return [check(a.exercise, a.answer) for a in ATTEMPTS]


@pytest.mark.parametrize(
    ("chapter", "attempts"),
    [
        ("attention", ATTENTION),
        ("lora", LORA),
        ("inference", INFERENCE),
        ("training", TRAINING),
        ("preference", PREFERENCE),
    ],
)
def test_there_are_forty_attempts_and_more_and_some_for_every_exercise(chapter, attempts):
    counts = Counter(a.exercise for a in attempts)
    assert len(attempts) >= 40
    assert counts.keys() == exercises(chapter).keys()
    assert min(counts.values()) >= 5
    assert len(set(NAMES)) == len(NAMES)


def test_every_expected_mistake_is_one_that_the_record_knows():
    for attempt in ATTEMPTS:
        known = {m.id for m in exercises()[attempt.exercise].mistakes}
        assert set(attempt.mistakes) <= known, attempt.answer.__name__


@pytest.mark.parametrize("i", range(len(ATTEMPTS)), ids=NAMES)
def test_every_attempt_is_rejected(i, reports):
    assert reports[i].attempted
    assert reports[i].share < 1


@pytest.mark.parametrize("chapter", ["attention", "lora", "inference", "training", "preference"])
def test_nine_in_ten_attempts_are_named_and_nothing_else_is(chapter, reports):
    """Named: exactly the mistakes that were made, one or two, and no other."""
    both = zip(ATTEMPTS, reports, strict=True)
    expected = [(a, r) for a, r in both if a.mistakes and a.exercise.startswith(chapter)]
    missed = [(a, r) for a, r in expected if {m.id for m in r.mistakes} != set(a.mistakes)]
    table = "\n".join(
        f"{a.exercise:32} {a.answer.__name__:36} expected {', '.join(a.mistakes):40} "
        f"named {', '.join(m.id for m in r.mistakes) or 'nothing'}"
        for a, r in missed
    )
    share = 1 - len(missed) / len(expected)
    assert share >= LEAST_NAMED, f"{share:.1%} of {len(expected)} were named; missed:\n{table}"


def test_an_attempt_that_no_mistake_fits_is_not_said_to_be_one(reports):
    for attempt, report in zip(ATTEMPTS, reports, strict=True):
        if not attempt.mistakes:
            assert not report.certain, attempt.answer.__name__


def test_two_mistakes_made_at_once_are_told_with_both_sentences(reports):
    by_name = dict(zip(NAMES, reports, strict=True))
    text = str(by_name["multi_head-view_and_no_scale"])
    assert "two mistakes at once" in text
    assert "cut-without-transpose" in text and "no-scale" in text


@pytest.mark.parametrize(
    "name",
    [
        "attention_cost-half_of_the_square",
        "attention_cost-right_counts_as_floats",
        "rotary-angles_by_row_and_token",
        "rotary-angles_by_row_and_token_in_float32",
        "softmax-maximum_lost_its_axis",
        "online_softmax_update-accumulator_times_factor",
        "flash_forward-sum_in_place_of_its_logarithm",
        "multi_head-view_of_transposed_heads",
        "grouped_query-einsum_over_unequal_heads",
        "grouped_query-product_over_unequal_heads",
        "forward-textbook_line",
        "initialise-fan_in_is_size_zero",
        "merge-a_times_b",
        "apply_to_model-closures_in_a_loop",
        "apply_to_model-freezes_last",
        "apply_to_model-trains_all_and_matches_too_much",
        "batched_adapters-gather_and_bmm",
        "nf4-divides_by_zero",
        "dora_forward-peft_without_minus_one",
        "kv_cache_update-slice_at_the_first_length",
        "prefill-caches_before_rotating",
        "decode_step-arange_of_the_new_tokens",
        "chunked_prefill_mask-square_triangle_made_wider",
        "padded_positions-as_transformers_does",
        "kv_cache_bytes-padded_batch",
        "phase_flops-a_step_for_each_token",
        "time_lower_bound-one_roofline_for_all",
        "top_k_top_p-mask_without_a_shift",
        "top_k_top_p-temperature_at_the_end",
        "speculative_accept-resamples_from_the_model",
        "paged_gather-mod_where_div_belongs",
        "schedule_step-IfInsteadOfWhile",
        "bpe_train-max_of_the_dict",
        "next_token_loss-averages_each_sequence",
        "next_token_loss-the_one_liner",
        "perplexity-a_perplexity_for_each_text",
        "accumulated_loss-divides_by_accumulation_steps",
        "adamw_step-adam_with_weight_decay",
        "learning_rate-nanogpt_style",
        "weighted_prompt_loss-divides_by_the_answers",
        "kl_estimators-ratio_of_ppo",
        "gae-done_in_delta_alone",
        "group_advantages-normalised_over_the_batch",
        "clipped_surrogate-min_before_the_product",
        "clipped_surrogate-open_r1_line",
        "aggregate_loss-both_the_same",
        "dynamic_sampling-std_is_not_zero",
        "overlong_penalty-cache_comes_after",
    ],
)
def test_what_people_write_first_is_named(name, reports):
    i = NAMES.index(name)
    assert {m.id for m in reports[i].mistakes} == set(ATTEMPTS[i].mistakes)
    assert reports[i].certain


def test_a_count_that_is_a_float_is_told_to_be_an_int(reports):
    report = reports[NAMES.index("attention_cost-right_counts_as_floats")]
    assert "flops must be an int; it is the float" in str(report)


def test_a_lost_axis_is_not_blamed_on_the_sum_alone(reports):
    report = reports[NAMES.index("softmax-maximum_lost_its_axis")]
    assert "the maximum or the sum has lost its axis" in str(report)


def test_angles_in_float32_fail_only_where_they_are_visibly_wrong(reports):
    report = reports[NAMES.index("rotary-hugging_face_habit")]
    assert [s for s, o in report.results.items() if not o.ok] == ["positions up to 100,000"]


@pytest.mark.parametrize(
    "name", ["multi_head-view_and_no_scale", "grouped_query-einsum_over_unequal_heads"]
)
def test_the_example_of_many_heads_can_be_followed_with_a_pencil(name, reports):
    case = reports[NAMES.index(name)].example.case
    sizes = [v.numel() for v in case.inputs.values() if isinstance(v, torch.Tensor)]
    assert max(sizes) <= 16 and sum(sizes) <= 60
