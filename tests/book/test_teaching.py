"""What the instructor's page says of commands, limits and statuses is what the grader has."""

import re
from importlib import metadata
from pathlib import Path

import pytest
from tooling import demo_class, grade_demo
from tooling.settings import ROOT

PAGE = (ROOT / "chapters" / "teaching.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = re.compile(
    r"(?:^|[\s/(`])(nbgrader|clearhead|make|jupyter) ([a-z][\w-]*)([^\n#&`)]*)", re.M
)
NBGRADER = "pip install -e '.[grade]'"


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


def typed() -> list[tuple[str, str, str]]:
    """Program, subcommand and the rest of every command in a block of code, in the page or the
    README, between backticks in the page, and in what the sample class says to open."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE + README, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"(?<!`)`[^`\n]+`(?!`)", PAGE)
    opened = [
        line
        for chapter in demo_class.CHAPTERS
        for line in grade_demo.to_open(
            Path("_grading/demo"), demo_class.students(chapter), chapter
        ).values()
    ]
    return COMMAND.findall("\n".join([*blocks, *inline, *opened]))


def test_every_subcommand_that_a_reader_types_exists():
    apps = pytest.importorskip("nbgrader.apps.nbgraderapp", reason=NBGRADER)
    import typer

    from marking.cli import app

    verbs = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {
        "nbgrader": set(apps.NbGraderApp.subcommands),
        "clearhead": set(typer.main.get_command(app).commands),
        "make": set(verbs),
        "jupyter": {"lab"},
    }
    said = {(program, name) for program, name, _ in typed()}
    assert {program for program, _ in said} == set(known)
    assert not {f"{program} {name}" for program, name in said if name not in known[program]}


def test_every_option_of_nbgrader_that_a_reader_types_exists():
    apps = pytest.importorskip("nbgrader.apps.nbgraderapp", reason=NBGRADER)
    for program, name, rest in typed():
        if program == "nbgrader":
            flags = set(apps.NbGraderApp.subcommands[name][0].flags)
            assert set(re.findall(r"--([a-z-]+)", rest)) <= flags, f"nbgrader {name} {rest}"


def test_feedback_is_always_written_anew():
    rests = [rest for program, name, rest in typed() if name == "generate_feedback"]
    assert len(rests) > 4 and all("--force" in rest for rest in rests)


def test_jupyter_lab_comes_with_nbgrader_and_formgrader_is_a_page_of_it():
    pytest.importorskip("nbgrader", reason=NBGRADER)
    required = {re.match(r"[\w-]+", line)[0] for line in metadata.requires("nbgrader")}
    assert "jupyterlab" in required
    from nbgrader.server_extensions.formgrader import handlers

    assert "/formgrader/?" in {address for address, *_ in handlers.default_handlers}
    assert "`/formgrader`" in PAGE


def test_every_make_verb_on_the_page_exists():
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)`?$", PAGE, re.MULTILINE)) <= verbs
    assert set(re.findall(r"`make ([a-z-]+)`", PAGE)) <= verbs


def test_the_table_of_statuses_is_that_of_the_grader():
    from marking.grading.judge import STATUSES

    table = PAGE.partition("| status |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)) == STATUSES


LIMITS = [("case_seconds", 5.0), ("cells_seconds", 30.0), ("total_seconds", 60.0)]


@pytest.mark.parametrize(("name", "default"), LIMITS)
def test_the_time_limits_that_the_page_names_are_the_judges(name, default):
    import inspect

    from marking.grading.judge import judge

    assert inspect.signature(judge).parameters[name].default == default
    said = (
        "no answer in 5 seconds for one input, or in 30 for all its cells, or in 60 for all inputs"
    )
    assert said in PAGE


def test_a_submission_may_use_the_memory_that_the_page_says():
    from marking.grading.sandbox import LIMITS

    assert LIMITS["AS"] == 2 << 30 and "2 GB more for what a submission may use" in PAGE
