"""Wrong answers to the preference exercises as learners write them; see learner_attempts.py."""

from preference_attempts_a import ATTEMPTS as PAIRS
from preference_attempts_b import ATTEMPTS as POLICIES

ATTEMPTS = PAIRS + POLICIES
