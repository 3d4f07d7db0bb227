"""What a learner meets: whatever the function does, one clear sentence and no traceback."""

import threading
import time

import numpy
import pytest
import torch

from marking import check, hint
from marking.errors import CourseError, UnknownExercise
from marking.registry import exercises
from marking.show import as_text

EVERY = list(exercises())


def right(x, dim):
    top = x.amax(dim=dim, keepdim=True)
    top = torch.where(top.isinf(), torch.zeros_like(top), top)
    e = (x - top).exp()
    return torch.nan_to_num(e / e.sum(dim=dim, keepdim=True))


def first_fault(report):
    return next(o for o in report.results.values() if not o.ok)


def test_a_right_answer_passes_and_is_never_called_graded():
    report = check("attention.softmax", right)
    assert report.passed == report.total and report.points() == 3.0
    assert "all" in str(report) and "public checks" in str(report)
    assert "graded" not in str(report) + report._repr_html_()


@pytest.mark.parametrize("exercise_id", EVERY)
def test_the_reference_passes_its_own_check(exercise_id):
    report = check(exercise_id, exercises()[exercise_id].reference)
    assert report.share == 1.0, str(report)


def test_an_unknown_exercise_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownExercise, match=r"Did you mean 'attention\.softmax'"):
        check("attention.softmx", right)
    with pytest.raises(UnknownExercise, match=r"Did you mean 'attention\.softmax'"):
        check("softmax", right)
    with pytest.raises(UnknownExercise, match="not function"):
        check(right, "attention.softmax")
    with pytest.raises(UnknownExercise, match=r"There are: attention\.softmax"):
        hint("zzzzzzz")


def test_a_result_in_place_of_the_function_is_refused():
    with pytest.raises(CourseError, match="needs the function itself"):
        check("attention.softmax", right(torch.ones(2, 2), -1))


def test_in_a_notebook_an_error_of_use_shows_as_one_sentence():
    error = CourseError("Say it once.")
    assert error._render_traceback_() == ["CourseError: Say it once."]


def returns_none(x, dim):
    right(x, dim)


def returns_numpy(x, dim):
    return right(x, dim).numpy()


def returns_another_shape(x, dim):
    return right(x, dim).unsqueeze(0)


def returns_half(x, dim):
    return right(x, dim).half()


def returns_another_device(x, dim):
    return right(x, dim).to("meta")


def returns_sparse(x, dim):
    return right(x, dim).to_sparse()


def returns_nan(x, dim):
    return right(x, dim) * float("nan")


def changes_its_input(x, dim):
    out = right(x, dim)
    x -= 1
    return out


def raises(x, dim):
    return x.no_such_method()


def exits(x, dim):
    raise SystemExit(3)


def calls_the_built_in(x, dim):
    return torch.nn.functional.softmax(x, dim=dim)


def calls_the_method(x, dim):
    return x.softmax(dim)


@pytest.mark.parametrize(
    "answer, fault, words",
    [
        (returns_none, "type", "it is None. Is a return missing?"),
        (returns_numpy, "type", "must be a torch.Tensor; it is of type ndarray"),
        (returns_another_shape, "shape", "expected"),
        (returns_half, "dtype", "dtype torch.float16; expected torch.float64"),
        (returns_another_device, "device", "on meta; the inputs are on cpu"),
        (returns_sparse, "type", "ordinary (strided) tensor"),
        (returns_nan, "nan", "is NaN at [0, 0]; expected"),
        (changes_its_input, "mutated", "changed its input x in place"),
        (raises, "raised", "AttributeError"),
        (exits, "raised", "SystemExit"),
        (calls_the_built_in, "forbidden", "It calls softmax"),
        (calls_the_method, "forbidden", "It calls softmax"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_a_function_that_goes_wrong_is_told_how(answer, fault, words):
    report = check("attention.softmax", answer)
    assert report.share < 1.0
    assert first_fault(report).fault == fault
    assert words in first_fault(report).message
    assert words in str(report)


def test_an_error_names_the_learners_line():
    assert "return x.no_such_method()" in first_fault(check("attention.softmax", raises)).message


def test_a_function_that_never_returns_is_stopped():
    def never(x, dim):
        while True:
            pass

    start = time.monotonic()
    report = check("attention.softmax", never, seconds=0.3)
    assert first_fault(report).fault == "timeout"
    assert "loop that never ends" in str(report)
    assert time.monotonic() - start < 30


def test_a_loop_that_swallows_errors_is_stopped_too():
    def never(x, dim):
        while True:
            try:
                x.no_such_method()
            except Exception:
                continue

    assert first_fault(check("attention.softmax", never, seconds=0.3)).fault == "timeout"


def test_a_loop_is_stopped_outside_the_main_thread():
    def never(x, dim):
        while True:
            pass

    reports = []
    worker = threading.Thread(
        target=lambda: reports.append(check("attention.softmax", never, seconds=0.3))
    )
    worker.start()
    worker.join(30)
    assert reports and first_fault(reports[0]).fault == "timeout"


def test_an_unwritten_function_is_told_so_and_earns_nothing(own_progress):
    def unwritten(x, dim):
        raise NotImplementedError()

    report = check("attention.softmax", unwritten)
    assert "not written yet" in str(report)
    assert report.points(3) == 0.0
    assert not own_progress.exists()


def test_points_are_a_plain_float_and_the_share_of_cases():
    def last_axis_only(x, dim):
        return right(x, -1)

    report = check("attention.softmax", last_axis_only)
    points = report.points(7)
    assert type(points) is float and repr(points) == repr(round(7 * report.share, 2))
    assert 0 < points < 7


def test_the_failing_example_stays_put_between_calls():
    def wrong(x, dim):
        return right(x, dim) * 1.1

    assert str(check("attention.softmax", wrong)) == str(check("attention.softmax", wrong))


def test_the_smallest_example_is_small():
    def wrong(x, dim):
        return right(x, dim) * 1.1

    example = check("attention.softmax", wrong).example
    assert example.case.inputs["x"].numel() <= 9


def test_the_function_cannot_change_torch_for_the_next_caller():
    def meddles(x, dim):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        return right(x, dim)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check("attention.softmax", meddles)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.rand(3), expected)


def test_warnings_and_prints_cost_nothing(capsys):
    import warnings

    def chatty(x, dim):
        warnings.warn("look", stacklevel=1)
        print("debugging")
        return right(x, dim)

    assert check("attention.softmax", chatty).share == 1.0
    assert capsys.readouterr().err == ""


def test_what_a_failing_function_prints_is_shown():
    def wrong(x, dim):
        print("my sum is", numpy.pi)
        return x

    assert "my sum is 3.14" in str(check("attention.softmax", wrong))


def test_two_mistakes_at_once_are_both_named():
    def two(x, dim):
        e = (x - x.max(dim=-1, keepdim=True).values).exp()
        return torch.where(x.isinf(), 0.0, e) / e.sum()

    told = str(check("attention.softmax", two))
    assert "this looks like" in told and "global-sum" in told


def test_hints_come_one_at_a_time_and_end():
    texts = [str(hint("attention.causal_mask")) for _ in range(4)]
    assert [t[:11] for t in texts[:3]] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3"]
    assert "no more hints" not in texts[2]
    assert texts[3].startswith("There are no more hints. Read chapters/attention/")


def test_a_hint_wraps_in_a_notebook():
    page = hint("attention.softmax")._repr_html_()
    assert page.startswith("<p") and "Hint 1 of 3: " in page


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), r'check\("attention\.softmax", softmax\)'),
        (("attention.softmax",), r'check\("attention\.softmax", softmax\)'),
        (("attention.softmax", None), "It got None"),
        (("attention.softmax", "softmax"), "leave the quotation marks out"),
        (("attention.softmax", torch.ones(2)), "is there a call, with"),
        (("attention.softmax", 3), "of type int\\.$"),
    ],
    ids=str,
)
def test_a_call_that_lacks_something_is_told_what_to_write(arguments, words):
    with pytest.raises(CourseError, match=words):
        check(*arguments)


def test_the_function_alone_is_told_its_id():
    def rotary(x, positions, theta): ...

    with pytest.raises(CourseError, match=r'check\("attention\.rotary", rotary\)'):
        check(rotary)


def test_a_hint_for_nothing_is_told_what_to_write():
    with pytest.raises(CourseError, match=r'hint\("attention\.softmax"\)'):
        hint()


def test_prints_of_a_function_that_passes_are_shown_too():
    def chatty(x, dim):
        print("shape", tuple(x.shape))
        return right(x, dim)

    report = check("attention.softmax", chatty)
    for told in (str(report), report._repr_html_()):
        assert "Your prints are kept out of the way during a check; the first:" in told
        assert "shape (" in told


def test_a_renamed_argument_is_told_to_keep_the_given_names():
    def renamed(scores, dim):
        return right(scores, dim)

    told = first_fault(check("attention.softmax", renamed)).message
    assert "unexpected keyword argument 'x'. Keep the argument names of the given cell." in told


def test_an_exit_is_reported_at_the_learners_line():
    def leaves(x, dim):
        exit(3)

    told = first_fault(check("attention.softmax", leaves)).message
    assert "SystemExit" in told and "of leaves: exit(3)" in told


def test_booleans_that_differ_are_told_as_booleans():
    def upside_down(T, S):
        return ~exercises()["attention.causal_mask"].reference(T, S)

    told = first_fault(check("attention.causal_mask", upside_down)).message
    assert "it is False, expected True" in told or "it is True, expected False" in told


def test_numbers_that_print_alike_are_given_more_digits():
    def slightly_off(x, dim):
        return right(x, dim) + 2e-7 * (x.dtype == torch.float64)

    facts = dict(check("attention.softmax", slightly_off).facts())
    assert facts["expected"] != facts["yours"]
    assert facts["so"].partition("it is ")[2].partition(", expected ")[0] not in facts["expected"]
    it_is, _, expected = facts["so"].partition("it is ")[2].rstrip(".").partition(", expected ")
    assert it_is != expected


def test_an_example_of_another_shape_comes_before_one_of_another_value():
    def no_head_axis(x, positions, theta):
        D = x.shape[-1]
        f = theta ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
        a, b = x.chunk(2, dim=-1)
        angles = positions[..., None] * f
        c, s = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        return torch.cat((a * c - b * s, a * s + b * c), dim=-1)

    report = check("attention.rotary", no_head_axis)
    assert {o.fault for o in report.results.values()} >= {"raised"}
    assert report.example.outcome.fault in ("raised", "shape")


def test_an_example_that_raises_comes_before_a_smaller_one_with_a_wrong_value():
    def two_faults(x, dim):
        if x.ndim > 2:
            raise ValueError("two axes only")
        return right(x, dim) * 1.1

    assert check("attention.softmax", two_faults).example.outcome.fault == "raised"


def test_of_examples_about_as_small_the_plain_situation_is_shown():
    example = check("attention.softmax", lambda x, dim: right(x, dim) * 1.1).example
    assert example.case.situation == "rows of a matrix"


def test_a_negative_zero_is_shown_as_zero():
    assert as_text(torch.tensor([-0.0, 0.5])) == "[0, 0.5]   (2)"


def test_the_report_says_which_notebook_to_open_and_which_section():
    told = str(check("attention.multi_head", lambda **inputs: inputs["x"].mT))
    assert "Read: chapters/attention/03_masks_heads_positions.ipynb, section “Why several" in told


def test_the_report_is_html_without_scripts_and_escapes_what_the_learner_prints():
    def wrong(x, dim):
        print("<script>alert(1)</script>")
        return x

    page = check("attention.softmax", wrong)._repr_html_()
    assert "<script" not in page and "&lt;script&gt;" in page
