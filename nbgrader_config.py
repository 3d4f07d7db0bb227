"""nbgrader's configuration: its ordinary commands work in this folder with nothing else.

    nbgrader generate_assignment attention
    nbgrader autograde attention
    nbgrader generate_feedback attention
    nbgrader export

Submissions go to _grading/submitted/<student>/attention/attention.ipynb.
"""

import os
import sys
from pathlib import Path

# nbgrader calls `alembic` by name: find it beside this Python, activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

ROOT = Path(__file__).resolve().parent
(ROOT / "_grading").mkdir(exist_ok=True)

c = get_config()

c.CourseDirectory.course_id = "clearhead"
c.CourseDirectory.root = str(ROOT)
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "chapters/exercises"  # generated notebooks and nothing else
c.CourseDirectory.submitted_directory = "_grading/submitted"
c.CourseDirectory.autograded_directory = "_grading/autograded"
c.CourseDirectory.feedback_directory = "_grading/feedback"
c.CourseDirectory.solution_directory = "_grading/solution"
c.CourseDirectory.db_url = f"sqlite:///{ROOT / '_grading' / 'gradebook.db'}"
c.ExportPlugin.to = "_grading/grades.csv"

# nbgrader publishes every file that lies beside a master: ignore all that does not end in .ipynb.
NOTEBOOK = ".ipynb"
c.CourseDirectory.ignore = [".*", "__pycache__", "feedback"] + [
    f"*[!{letter}]{NOTEBOOK[place + 1 :]}" for place, letter in enumerate(NOTEBOOK)
]

# A right answer that prints a warning is a right answer: nbgrader gives zero to any text on stderr.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"

c.Execute.timeout = 120
