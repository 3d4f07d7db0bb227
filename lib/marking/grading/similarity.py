"""Which answers are nearly the same: within a class, and as the reference. Advice, never a score.

Fingerprints are copydetect's: names of variables and functions, spaces and comments do not count,
and what the released notebook gives is left out. Short exercises make everybody similar, so those
whose reference is shorter than `SHORTEST` are not compared at all, and the report says so. Only
answer cells are read; helper cells of a student's own are not.
"""

import inspect
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from marking.errors import CourseError
from marking.registry import exercises

SHORTEST = 80  # characters after copydetect has renamed everything; about six lines of tensor code
NEAR = 0.9  # the share of each of the two answers that is found in the other
LENGTH = 10  # characters that must agree in a row to count
LIBRARY, MASTER = REFERENCES = ("the library", "the master")


@dataclass(frozen=True)
class Pair:
    """Two answers to one exercise: the share of each that is found in the other."""

    exercise: str
    first: str
    second: str
    shares: tuple[float, float]
    texts: tuple[str, str]
    common: tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]  # in each text

    @property
    def similarity(self) -> float:
        return min(self.shares)


@dataclass(frozen=True)
class Group:
    """Students whose answers to one exercise are near, directly or by way of one another."""

    exercise: str
    students: tuple[str, ...]
    references: tuple[str, ...]  # of the master and the library, those that are in the group
    nearest: Pair


@dataclass(frozen=True)
class Similar:
    """All near pairs of a class, and the exercises that are too short to tell."""

    pairs: tuple[Pair, ...]
    too_short: tuple[str, ...]
    compared: tuple[str, ...]
    students: int

    def groups(self) -> list[Group]:
        """The groups, those without a reference first, the larger before the smaller."""
        found = []
        for exercise in self.compared:
            pairs = [pair for pair in self.pairs if pair.exercise == exercise]
            for members in _joined((pair.first, pair.second) for pair in pairs):
                inside = [pair for pair in pairs if pair.first in members]
                references = tuple(sorted(members & set(REFERENCES)))
                students = tuple(sorted(members - set(REFERENCES)))
                found.append(Group(exercise, students, references, inside[0]))
        return sorted(found, key=lambda g: (bool(g.references), -len(g.students), g.students))

    def together(self) -> list[tuple[int, str, str]]:
        """(exercises, one, other): in how many groups without a reference two students meet."""
        met: Counter = Counter()
        for group in self.groups():
            if not group.references:
                met.update(itertools.combinations(group.students, 2))
        rows = [(count, *pair) for pair, count in met.items() if count > 1]
        return sorted(rows, key=lambda row: (-row[0], row[1], row[2]))


def similar(submissions: Iterable, master: Path, release: Path, *, near: float = NEAR) -> Similar:
    """Compare the answers of all submissions with each other and with the reference.

    Raises `CourseError` without copydetect, the master or the release.
    """
    submissions = list(submissions)
    given, solved = answers_of(_notebook(release)), answers_of(_notebook(master))
    records = {e.name: e for name in _chapters(given) for e in exercises(name).values()}
    pairs, short, compared = [], [], []
    for name in (n for n in records if n in given):
        known = _fingerprint(given[name])
        prints = {MASTER: _fingerprint(_solution(solved.get(name, "")), known)}
        if prints[MASTER].token_coverage < SHORTEST:
            short.append(name)
            continue
        compared.append(name)
        prints[LIBRARY] = _fingerprint(inspect.getsource(records[name].reference), known)
        for submission in submissions:
            text = answers_of(submission.notebook).get(name, "")
            prints[submission.student] = _fingerprint(text, known)
        pairs += _near(name, prints, near)
    pairs.sort(key=lambda pair: (-pair.similarity, pair.exercise, pair.first, pair.second))
    return Similar(tuple(pairs), tuple(short), tuple(compared), len(submissions))


def answers_of(notebook: dict) -> dict[str, str]:
    """Exercise name → source of its answer cell."""
    found = {}
    for cell in notebook["cells"]:
        mark = cell.get("metadata", {}).get("nbgrader", {})
        if cell["cell_type"] == "code" and mark.get("solution"):
            found[mark["grade_id"].removesuffix("-answer")] = "".join(cell["source"])
    return found


def _near(name: str, prints: dict, near: float) -> Iterator[Pair]:
    """The near pairs of one exercise; of the library and the master nothing is said."""
    long = [who for who, found in prints.items() if found.token_coverage >= SHORTEST / 2]
    for one, other in itertools.combinations(long, 2):
        if one in REFERENCES and other in REFERENCES:
            continue
        one, other = (other, one) if one in REFERENCES else (one, other)
        first, second = prints[one], prints[other]
        sizes = sorted((first.token_coverage, second.token_coverage))
        if sizes[0] < near * sizes[1] / 2:  # too unequal in length to be near: the quick way out
            continue
        _, shares, slices = _copydetect().compare_files(first, second)
        if min(shares) >= near:
            common = tuple(tuple((int(a), int(b)) for a, b in part.T) for part in slices)
            shares = tuple(min(1.0, float(share)) for share in shares)
            yield Pair(name, one, other, shares, (first.raw_code, second.raw_code), common)


def _joined(links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The sets of names that the links connect."""
    sets: list[set[str]] = []
    for link in links:
        touched = [found for found in sets if found & set(link)]
        sets = [found for found in sets if found not in touched] + [set(link).union(*touched)]
    return sets


def _fingerprint(text: str, known=None):
    """copydetect's fingerprint of a text, without what stands in `known`."""
    import numpy as np

    boilerplate = np.array(sorted(known.hashes)) if known and known.hashes else None
    return _copydetect().CodeFingerprint(
        "answer.py", LENGTH, 1, boilerplate=boilerplate, fp=io.StringIO(text)
    )


def _solution(text: str) -> str:
    marks = ("### BEGIN SOLUTION", "### END SOLUTION")
    return "\n".join(line for line in text.splitlines() if line.strip() not in marks)


def _notebook(path: Path) -> dict:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CourseError(
            f"There is no notebook that can be read at {path}: put it there, for the answers are "
            "compared with it."
        ) from None


def _chapters(names: Iterable[str]) -> list[str]:
    """The chapters whose exercises a notebook asks for."""
    wanted = set(names)
    return sorted({e.chapter for e in exercises().values() if e.name in wanted})


def _copydetect():
    try:
        import copydetect
    except ImportError:
        raise CourseError(
            "Comparing answers needs copydetect, which is not here: pip install -e '.[grade]'."
        ) from None
    return copydetect
