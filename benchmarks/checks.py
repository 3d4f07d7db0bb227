"""How long a learner waits for `check`: a right answer, and every known mistake, of every exercise.

    python benchmarks/checks.py [--quick]

Each answer is checked once, in turn, as a learner would call it, after one check to warm up.
Prints the median and the longest wait for each exercise, and the answer that took longest, against
the aim: median under 1 s, none over 3 s on two cores. Writes benchmarks/results/checks-cpu.json;
`--quick` tries three mistakes an exercise and writes nothing.
"""

import argparse
import os
import statistics
import tempfile
import time

from timing import device_name, write

from marking import check
from marking.registry import exercises

MEDIAN_AIM, LONGEST_AIM = 1.0, 3.0


def waits(exercise, most: int | None) -> dict[str, float]:
    """Seconds that `check` takes for the reference and for each mistake."""
    answers = {"a right answer": exercise.reference}
    answers |= {mistake.id: mistake.impl for mistake in exercise.mistakes[:most]}
    check(exercise.id, exercise.reference)
    seconds = {}
    for name, answer in answers.items():
        begin = time.perf_counter()
        check(exercise.id, answer)
        seconds[name] = time.perf_counter() - begin
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few mistakes, nothing written")
    quick = parser.parse_args().quick
    os.environ["CLEARHEAD_PROGRESS"] = os.path.join(tempfile.mkdtemp(), "progress.json")

    rows = {}
    print(f"{'exercise':32} {'right':>8} {'median':>8} {'longest':>8}  (s, {device_name('cpu')})")
    for exercise in exercises().values():
        seconds = waits(exercise, 3 if quick else None)
        slowest = max(seconds, key=seconds.get)
        rows[exercise.id] = {
            "right_answer": seconds["a right answer"],
            "median": statistics.median(seconds.values()),
            "longest": seconds[slowest],
            "slowest_answer": slowest,
        }
        row = rows[exercise.id]
        print(
            f"{exercise.id:32} {row['right_answer']:8.3f} {row['median']:8.3f} "
            f"{row['longest']:8.3f}  {slowest}"
        )
    within = all(r["median"] < MEDIAN_AIM and r["longest"] < LONGEST_AIM for r in rows.values())
    verdict = "met" if within else "MISSED"
    print(f"aim (median < {MEDIAN_AIM:g} s, longest < {LONGEST_AIM:g} s): {verdict}")
    if not quick:
        print(write("checks", "cpu", {"unit": "seconds", "exercises": rows}).name)


if __name__ == "__main__":
    main()
