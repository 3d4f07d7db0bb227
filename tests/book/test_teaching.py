"""What the instructor's page says of commands, limits and statuses is what the grader has."""

import re

import pytest
from tooling.settings import ROOT

PAGE = (ROOT / "chapters" / "teaching.md").read_text(encoding="utf-8")


def test_every_clearhead_command_and_option_on_the_page_exists():
    import typer

    from marking.cli import app

    commands = typer.main.get_command(app).commands
    said = re.findall(r"clearhead ([a-z-]+)([^`\n]*)", PAGE)
    assert {name for name, _ in said} >= {"grade", "appeal", "similar", "export", "kill-matrix"}
    for name, rest in said:
        assert name in commands, name
        known = {flag for option in commands[name].params for flag in option.opts}
        known |= {flag for option in commands[name].params for flag in option.secondary_opts}
        for flag in re.findall(r"(?<!\S)--[a-z-]+", rest.partition("#")[0]):
            assert flag in known, f"clearhead {name} {flag}"


def test_every_make_verb_on_the_page_exists():
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)`?$", PAGE, re.MULTILINE)) <= verbs
    assert set(re.findall(r"`make ([a-z-]+)`", PAGE)) <= verbs


def test_the_table_of_statuses_is_that_of_the_grader():
    from marking.grading.judge import STATUSES

    table = PAGE.partition("| status |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)) == STATUSES


@pytest.mark.parametrize(("name", "default"), [("case_seconds", 5.0), ("cells_seconds", 30.0)])
def test_the_time_limits_that_the_page_names_are_the_judges(name, default):
    import inspect

    from marking.grading.judge import judge

    assert inspect.signature(judge).parameters[name].default == default
    assert "no answer in 5 seconds for one input, or in 30 for all its cells" in PAGE


def test_attention_has_as_many_sets_of_forbidden_functions_as_the_page_says():
    from marking.registry import exercises

    assert len({e.forbidden for e in exercises("attention").values()}) == 5
    assert "five for attention" in PAGE


def test_a_submission_may_use_the_memory_that_the_page_says():
    from marking.grading.sandbox import LIMITS

    assert LIMITS["AS"] == 2 << 30 and "2 GB more for what a submission may use" in PAGE
