"""When a customer is reminded of a document that is not paid: a schedule of days, pure.

A step is a number of days after the due date, below zero before it. Each step happens once, and
none twice or backwards: who turned reminders on late, or was away, is not made to send all that
was missed.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

STEP_MIN: Final = -60
STEP_MAX: Final = 365
STEPS_MAX: Final = 10

STALE_DAYS: Final = 7
"""A step whose day is as long ago is not made up for."""


def next_step(steps: Sequence[int], due: date, today: date, made: Sequence[int]) -> int | None:
    """Return the step to be made today, None when there is none.

    steps: the schedule, in any order. today: the issuer's local day. made: steps made by now.
    """
    passed = (today - due).days
    last = max(made, default=STEP_MIN - 1)
    open_ = [step for step in steps if last < step <= passed and passed - step < STALE_DAYS]
    return max(open_, default=None)
