"""What the driver and the workers agree on, and what needs no torch to know it."""

import hashlib
import hmac

VERSION = "4"  # of the grader: a change that can change a score raises it

# What a result can be. Only the last two wait for a person.
STATUSES = (
    "right",
    "partly right",
    "wrong",
    "not attempted",
    "crashed",
    "timed out",
    "forbidden",
    "needs a look",
    "our fault",
)
FOR_A_PERSON = STATUSES[-2:]


def seed_for(secret: bytes, exercise_id: str, submission: str) -> str:
    """The seed of one submission's hidden cases: unpredictable without the course's secret,
    the same again in an appeal. `submission` is the hash of the submitted notebook."""
    text = f"{exercise_id}|{submission}|{VERSION}".encode()
    return hmac.new(secret, text, hashlib.sha256).hexdigest()
