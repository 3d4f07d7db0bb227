"""nbgrader's configuration: its ordinary commands work in this folder with nothing else.

    nbgrader generate_assignment attention
    nbgrader autograde attention
    nbgrader generate_feedback attention --force
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

# Nobody believes a student's kernel: exercises are judged in the sandbox (bubblewrap) and the grade
# cells' outputs are ours. To grade without one, which is stamped on every score:
#     nbgrader autograde attention --TrustedGrade.sandboxed=False
OURS = "marking.grading.trusted_grade."
NBGRADER = "nbgrader.preprocessors."
c.Autograde.sanitize_preprocessors = [
    OURS + "Rebuild",  # first: on the release's skeleton there is nothing that nbgrader trips over
    NBGRADER + "ClearOutput",
    NBGRADER + "OverwriteKernelspec",
    NBGRADER + "OverwriteCells",
    NBGRADER + "CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    OURS + "TrustedGrade",
    NBGRADER + "LimitOutput",
    OURS + "SaveTrustedGrades",
    NBGRADER + "AssignLatePenalties",
    NBGRADER + "CheckCellMetadata",
]

# What a student wrote is shown as text, never run, in feedback and in formgrader alike.
SHOWN = "marking.grading.feedback."
c.HTMLExporter.preprocessors = [SHOWN + "PlainOutputs"]
c.HTMLExporter.filters = {"markdown2html": SHOWN + "safe_markdown"}
c.GenerateFeedback.exporter_class = SHOWN + "FeedbackExporter"
