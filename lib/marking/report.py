"""What a learner reads after a check: rich in a notebook, plain text anywhere else."""

import html
from dataclasses import dataclass

import torch

from marking.diagnosis import Example
from marking.exercise import Exercise, Mistake
from marking.outcome import GRADIENT, Outcome
from marking.reading import place
from marking.show import as_different_texts, as_grid, as_text, grid_html, grid_text

# Faults whose sentence says everything; an example would only distract.
RIGHT_VALUE = ("mutated", *GRADIENT)  # what came back may well be right
NO_EXAMPLE = ("not-attempted", "forbidden", "timeout")


@dataclass(frozen=True)
class Report:
    """The result of `check`.

    `results` holds, for each situation, the outcome that decides it. `mistakes` are the known
    mistakes that the answer equals (`certain`: one of them, on every case), `example` is the
    smallest failing case, `printed` what the first case that printed anything printed.
    """

    exercise: Exercise
    results: dict[str, Outcome]
    mistakes: tuple[Mistake, ...] = ()
    certain: bool = False
    example: Example | None = None
    printed: str = ""

    @property
    def passed(self) -> int:
        return sum(outcome.ok for outcome in self.results.values())

    @property
    def total(self) -> int:
        return len(self.results)

    @property
    def share(self) -> float:
        """The share of cases passed, from 0.0 to 1.0."""
        return self.passed / self.total

    @property
    def attempted(self) -> bool:
        return all(outcome.fault != "not-attempted" for outcome in self.results.values())

    def points(self, most: float | None = None) -> float:
        """Show the report, and give the points: the share of cases, as a plain float."""
        _display(self)
        most = self.exercise.points if most is None else most
        return round(self.share * float(most), 2)

    # The same facts twice: as text, as HTML.

    def headline(self) -> str:
        if not self.attempted:
            return (
                f"{self.exercise.id}: not written yet. Replace the body of {self.exercise.name} "
                "in the cell above, run that cell, then this one."
            )
        if self.passed == self.total:
            return f"{self.exercise.id}: all {self.total} public checks passed."
        return f"{self.exercise.id}: {self.passed} of {self.total} public checks passed."

    def diagnosis(self) -> str:
        """The mistake in a sentence, or what is wrong with the first failing case."""
        if not self.mistakes and self.example:
            wanted = (
                f" Return {self.exercise.returns}."
                if self.example.outcome.fault == "type" and not self.exercise.through
                else ""
            )
            return self.example.outcome.message + wanted
        told = " And ".join(f"“{m.id}”: {m.says}" for m in self.mistakes)
        if self.certain:
            many = "two mistakes at once:" if len(self.mistakes) > 1 else "the mistake"
            return f"This is {many} {told}"
        many = "two mistakes at once:" if len(self.mistakes) > 1 else "the mistake"
        return f"Where it fails, this looks like {many} {told}"

    def facts(self) -> list[tuple[str, str]]:
        """The smallest failing example, as name and value."""
        if self.example is None or self.example.outcome.fault in NO_EXAMPLE:
            return []
        case, outcome = self.example.case, self.example.outcome
        rows = [(name, as_text(value, 4)) for name, value in case.inputs.items()]
        if outcome.fault in RIGHT_VALUE:
            return [*rows, ("so", outcome.message)]
        expected, yours = _with_names(case.expected, case.like), outcome.value
        if yours is None:
            rows.append(("expected", as_text(expected, 4)))
        else:
            pair = as_different_texts(expected, _with_names(yours, case.like), 4)
            rows += zip(("expected", "yours"), pair, strict=True)
        rows.append(("so", outcome.message))
        return rows

    def read(self) -> str:
        """The pages to read, without repeats."""
        pages = [m.read for m in self.mistakes] or [self.exercise.read]
        return "; ".join(place(page) for page in dict.fromkeys(pages))

    def prints(self) -> tuple[str, str] | None:
        """What to say about prints, and the text: the example's, or else the first."""
        if self.passed == self.total and self.printed:
            said = "Your prints are kept out of the way during a check; the first:"
            return said, _shorten(self.printed.strip(), 200)
        shown = (self.example and self.example.outcome.printed) or self.printed
        return ("It printed:", _shorten(shown.strip())) if shown else None

    def __str__(self) -> str:
        lines = [self.headline()]
        if not self.attempted:
            return lines[0]
        if self.passed == self.total:
            return "\n".join([f"{lines[0]} A grader draws other inputs.", *self._print_lines()])
        for situation, outcome in self.results.items():
            mark = "✓" if outcome.ok else "✗"
            lines.append(f"  {mark} {situation}" + ("" if outcome.ok else f" ({outcome.fault})"))
        lines += ["", self.diagnosis()]
        if facts := self.facts():
            lines.append(f"Smallest failing example ({self.example.case.situation}):")
            lines += [f"  {name} = {value}" for name, value in facts if name != "so"]
            lines += self._mask_rows()
            lines.append(f"  {facts[-1][1]}")
        lines += self._print_lines()
        lines.append(f'Read: {self.read()}.  For a hint: hint("{self.exercise.id}")')
        return "\n".join(lines)

    __repr__ = __str__

    def _print_lines(self) -> list[str]:
        return [" ".join(self.prints())] if self.prints() else []

    def _print_html(self) -> list[str]:
        if not self.prints():
            return []
        said, text = map(html.escape, self.prints())
        return [f"<p>{said}</p><pre>{text}</pre>"]

    def _mask_rows(self) -> list[str]:
        if self.example.case.like is None or self.example.outcome.value is None:
            return []
        if self.example.outcome.fault in RIGHT_VALUE:
            return []
        like = self.example.case.like
        if not (isinstance(like, torch.Tensor) and like.dtype == torch.bool):
            return []
        pair = as_grid(like), as_grid(self.example.outcome.value)
        if any(grid is None for grid in pair) or pair[0].shape != pair[1].shape:
            return []
        left, right = map(grid_text, pair)
        return ["  expected   yours"] + [f"  {a:<10} {b}" for a, b in zip(left, right, strict=True)]

    def _repr_html_(self) -> str:
        parts = [f"<p><strong>{html.escape(self.headline())}</strong></p>"]
        if not self.attempted:
            return _frame("#8888", parts)
        if self.passed == self.total:
            other = "<p>A grader draws other inputs.</p>"
            return _frame("#009e73", [*parts, other, *self._print_html()])
        items = "".join(
            f"<li>{'✓' if o.ok else '✗'} {html.escape(s)}"
            + ("" if o.ok else f" <em>({o.fault})</em>")
            + "</li>"
            for s, o in self.results.items()
        )
        parts.append(f"<p>{html.escape(self.diagnosis())}</p>")
        if facts := self.facts():
            rows = "".join(
                f'<tr><th style="text-align:left;vertical-align:top">{html.escape(name)}</th>'
                f'<td style="text-align:left"><pre style="margin:0;white-space:pre-wrap">'
                f"{html.escape(value)}</pre></td></tr>"
                for name, value in facts
            )
            situation = html.escape(self.example.case.situation)
            parts.append(f"<p>Smallest failing example ({situation}):</p><table>{rows}</table>")
            parts.append(self._pictures())
        parts += self._print_html()
        parts.append(
            f"<p>Read: <code>{html.escape(self.read())}</code>. "
            f'For a hint: <code>hint("{self.exercise.id}")</code></p>'
            f"<details><summary>All checks</summary><ul>{items}</ul></details>"
        )
        return _frame("#d55e00", parts)

    def _pictures(self) -> str:
        if self.example.outcome.fault in RIGHT_VALUE:
            return ""
        like, value = self.example.case.expected, self.example.outcome.value
        wanted, mine = as_grid(like), as_grid(value)
        if wanted is None or mine is None or wanted.shape != mine.shape:
            return ""
        return (
            grid_html("expected", wanted)
            + grid_html("yours", mine)
            + grid_html("yours − expected", mine - wanted)
        )


def _with_names(value, like):
    """A plain tuple of the learner's, shown with the names of the reference's fields."""
    if hasattr(like, "_fields") and isinstance(value, tuple | list) and len(value) == len(like):
        return type(like)(*value)
    return value


def _shorten(text: str, most: int = 600) -> str:
    return text if len(text) <= most else text[:most] + " …"


def _frame(colour: str, parts: list[str]) -> str:
    return f'<div style="border-left:4px solid {colour};padding-left:1em">{"".join(parts)}</div>'


def _display(report: Report) -> None:
    """Rich in a notebook, printed elsewhere."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(report)
        return
    if get_ipython() is None:
        print(report)
    else:
        display(report)
