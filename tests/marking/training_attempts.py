"""Wrong answers to the training exercises as learners write them; see learner_attempts.py."""

from training_attempts_a import ATTEMPTS as TEXT
from training_attempts_b import ATTEMPTS as STEPS

ATTEMPTS = TEXT + STEPS
