"""Every test keeps its own record of progress, away from the person's who runs the tests.

The courses that go through real nbgrader are made once for all tests: that takes most of a minute.
"""

import pytest


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    monkeypatch.setenv("CLEARHEAD_PROGRESS", str(file))
    return file


@pytest.fixture(scope="session")
def sent_course(tmp_path_factory):
    """A course whose class has handed in; nothing is graded. To be copied, not changed."""
    from tests.marking.nbgrader_class import submissions
    from tests.marking.nbgrader_course import NAME, Course

    from marking.grading.secret import course_secret

    made = Course(tmp_path_factory.mktemp("sent") / "course")
    made.nbgrader("generate_assignment", NAME)
    for student, notebook in submissions().items():
        made.submit(student, notebook)
    made.hand_in_late("late")
    course_secret(made.folder)
    return made


@pytest.fixture(scope="session")
def graded_course(sent_course, tmp_path_factory):
    """The class graded by `nbgrader autograde`, with feedback."""
    from tests.marking.nbgrader_course import NAME

    made = sent_course.copied(tmp_path_factory.mktemp("stock") / "course")
    made.nbgrader("autograde", NAME)
    made.nbgrader("generate_feedback", NAME)
    return made


@pytest.fixture(scope="session")
def written_course(sent_course, tmp_path_factory):
    """The class graded as `clearhead grade` does it."""
    made = sent_course.copied(tmp_path_factory.mktemp("ours") / "course")
    made.write_rows()
    return made


@pytest.fixture
def course_copy(written_course, tmp_path):
    """A graded course of one's own, to change."""
    return written_course.copied(tmp_path / "course")
