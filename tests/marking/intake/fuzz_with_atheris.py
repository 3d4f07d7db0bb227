"""Coverage-guided fuzzing of intake, by hand where atheris installs (`pip install atheris`):

python -m tests.marking.intake.fuzz_with_atheris -max_total_time=60 -rss_limit_mb=2048 -timeout=20
"""

import sys

import atheris

with atheris.instrument_imports(include=["marking.grading", "json"]):
    from marking.grading.intake import Unreadable, rebuild
    from marking.grading.markdown_text import harmless
    from marking.grading.python_source import without_magics

from tests.marking.intake.class_work import NAME, as_bytes, code, release, text

RELEASE = release()


def one(data: bytes) -> None:
    """The bytes as a file, as JSON pieces between known keys, and as the sources of cells."""
    provider = atheris.FuzzedDataProvider(data)
    words = provider.ConsumeUnicode(provider.remaining_bytes())
    harmless(words)
    without_magics(words)
    cells = [*RELEASE["cells"][:5], code(words), text(words)]
    for file in (data, b'{"cells": [' + data + b"]}", as_bytes({"cells": cells})):
        try:
            submission = rebuild(file, RELEASE, "ada", NAME)
        except Unreadable:
            continue
        assert len(submission.notebook["cells"]) >= len(RELEASE["cells"])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
