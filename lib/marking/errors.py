"""Mistakes in using the course, told in one sentence."""


class CourseError(Exception):
    """Something the user can put right. In a notebook it shows as its sentence, no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class UnknownExercise(CourseError, LookupError):
    """There is no exercise, or no chapter, of that name."""
