"""The numbers that a page prints, each beside the value it was computed from.

A page at the whiteboard has its prose first and its cells last. Each cell hands over a number as
the text prints it and as it was computed. A number that does not round to its print stops the page,
and `tests/book/test_quoted.py` looks for each print in the answer that it belongs to.
"""

from numbers import Real

from torch import Tensor


class Quotes:
    """Records numbers as a page prints them; a notebook shows the record as a table.

    ```python
    quote = Quotes()
    quote(6, "the bound of the speed ratio", "1.5", 3 / 2)
    ```
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, str]] = []

    def __call__(self, question: int, what: str, printed: str, value: Real | Tensor) -> None:
        """Record that the answer to `question` prints `value` as `printed`, "1,024" or "0.58".

        Raises `AssertionError` when `value`, rounded to the decimals of `printed`, is not it.
        """
        digits = printed.replace(",", "")
        decimals = len(digits.partition(".")[2])
        if f"{float(value):.{decimals}f}" != digits:
            raise AssertionError(f"question {question}, {what}: {float(value)} is not {printed}")
        self.rows.append((question, what, printed))

    def _repr_markdown_(self) -> str:
        rows = sorted(self.rows, key=lambda row: row[0])
        lines = [f"| {question} | {what} | {printed} |" for question, what, printed in rows]
        return "\n".join(["| question | what | as printed |", "|---|---|---|", *lines])
