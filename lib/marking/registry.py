"""Every exercise of the course, by id. A chapter is a module of `marking.exercises`."""

import difflib
import importlib
import pkgutil
from functools import cache

import marking.exercises
from marking.errors import UnknownExercise
from marking.exercise import Exercise


def chapters() -> list[str]:
    """The chapters that have exercises."""
    return sorted(module.name for module in pkgutil.iter_modules(marking.exercises.__path__))


@cache
def exercises(chapter: str | None = None) -> dict[str, Exercise]:
    """The exercises of one chapter, or of all, by id, in the order of the book."""
    if chapter is None:
        return {k: v for name in chapters() for k, v in exercises(name).items()}
    if chapter not in chapters():
        raise UnknownExercise(f"There is no chapter {chapter!r}. There are: {_list(chapters())}.")
    module = importlib.import_module(f"marking.exercises.{chapter}")
    return {exercise.id: exercise for exercise in module.EXERCISES}


def find(exercise_id: str) -> Exercise:
    """The exercise of that id.

    Raises `UnknownExercise`, with the nearest name, if there is none.
    """
    known = exercises()
    if exercise_id in known:
        return known[exercise_id]
    if not isinstance(exercise_id, str):
        raise UnknownExercise(
            f'The first argument is an exercise id such as "{next(iter(known))}", '
            f"not {type(exercise_id).__name__}."
        )
    bare = [k for k in known if k.partition(".")[2] == exercise_id]
    near = bare or difflib.get_close_matches(exercise_id, known, n=1, cutoff=0.4)
    advice = f"Did you mean {near[0]!r}?" if near else f"There are: {_list(known)}."
    raise UnknownExercise(f"There is no exercise {exercise_id!r}. {advice}")


def _list(names) -> str:
    return ", ".join(names)
