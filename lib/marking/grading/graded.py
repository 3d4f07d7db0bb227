"""One graded row: what one submission's answer to one exercise is worth, as it is stored.

A row is found again by its key, which holds all that a score depends on: the submitted code, the
exercise, the version of the grader, and whether a sandbox was there.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from marking.grading.seed import VERSION


@dataclass(frozen=True)
class Graded:
    """A row of the store: a `verdict.Result` and where it comes from.

    `submission` is the hash of the student's own code and text, `version` the grader's, `sandbox`
    "bubblewrap" or "none", `seed` the seed of the hidden cases. `share` and `points` are None when
    there is no score ("our fault", "needs a look").
    """

    student: str
    assignment: str
    submission: str
    exercise: str
    version: str
    sandbox: str
    status: str
    share: float | None
    points: float | None
    says: str = ""
    note: str = ""
    cases: tuple[tuple[str, str, str], ...] = ()
    mistakes: tuple[str, ...] = ()
    smells: tuple[str, ...] = ()
    seed: str = ""

    @property
    def key(self) -> str:
        return row_key(self.submission, self.exercise, self.version, self.sandbox)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Graded":
        """The row that `to_json` wrote. Raises `ValueError` for any other text."""
        try:
            fields = json.loads(text)
            fields["cases"] = tuple(tuple(case) for case in fields["cases"])
            fields["mistakes"] = tuple(fields["mistakes"])
            fields["smells"] = tuple(fields["smells"])
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(f"This is no graded row: {error}.") from None


def row_key(submission: str, exercise: str, version: str, sandbox: str) -> str:
    """What a score depends on, as one hash: the key of a row and of a task."""
    return hashlib.sha256(f"{submission}|{exercise}|{version}|{sandbox}".encode()).hexdigest()


@dataclass(frozen=True)
class Task:
    """One exercise of one submission, with all that a worker needs to grade it and no more: the
    seed of its cases, never the course's secret."""

    student: str
    assignment: str
    submission: str
    exercise: str
    points: float
    cells: tuple[str, ...]
    seed: str
    sandbox: str = "bubblewrap"
    version: str = VERSION
    gpu: bool = False

    @property
    def key(self) -> str:
        return row_key(self.submission, self.exercise, self.version, self.sandbox)

    def graded(self, result) -> Graded:
        """The row for what the judge found, a `verdict.Result`."""
        return self._row(
            status=result.status,
            share=result.share,
            points=result.points(self.points),
            says=result.says,
            note=result.note,
            cases=result.cases,
            mistakes=result.mistakes,
            smells=result.smells,
        )

    def unscored(self, status: str, note: str) -> Graded:
        """The row where there is no score: `status` is "needs a look" or "our fault"."""
        says = "It could not be graded by itself; a person looks at it."
        return self._row(status=status, share=None, points=None, says=says, note=note)

    def _row(self, **found) -> Graded:
        return Graded(
            student=self.student,
            assignment=self.assignment,
            submission=self.submission,
            exercise=self.exercise,
            version=self.version,
            sandbox=self.sandbox,
            seed=self.seed,
            **found,
        )
