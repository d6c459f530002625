"""The errors of the domain: one tree, forked by what the caller must do about it.

BillingError
├─ InvalidInput        never retry; correct the input. Lists every field that is wrong
│  └─ InvalidUsageEvent   one event can't be taken; the rater's dead letter
├─ NotFound            never retry; what was named does not exist for this tenant
├─ NotAllowed          never retry; the caller lacks the right
├─ Conflict            re-read, then decide anew
└─ TransientError      retry with backoff
   └─ RetryLater           after a time that it names

Every error has a `code` that stays the same over releases, and a `detail` for people.
How they become HTTP answers is the gateway's affair.
"""

from collections.abc import Sequence
from typing import Self

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with an input, as RFC 9457's `errors` members list them.

    code: stable name of the rule that was broken.
    detail: a sentence for people.
    pointer: JSON Pointer (RFC 6901) to the field; empty for the whole input.
    """

    code: str
    detail: str
    pointer: str = ""


class BillingError(Exception):
    """The root: whatever the domain raises on purpose."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.detail} ({self.code})"


class InvalidInput(BillingError):
    """The input breaks a rule and will break it again when it is repeated."""

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(code, detail)
        self.pointer = pointer
        self.problems: tuple[Problem, ...] = (Problem(code, detail, pointer),)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Self:
        """Join several problems into one error, which speaks with the first one's words."""
        assert problems
        first = problems[0]
        error = cls(first.code, first.detail, first.pointer)
        error.problems = tuple(problems)
        return error

    def __str__(self) -> str:
        return "; ".join(f"{p.pointer or '/'}: {p.detail} ({p.code})" for p in self.problems)


class InvalidUsageEvent(InvalidInput):
    """One usage event can't be taken as it is."""


class NotFound(BillingError):
    """What was named does not exist, or not for this tenant."""


class NotAllowed(BillingError):
    """The caller is known but lacks the right, or is not known at all."""


class Conflict(BillingError):
    """The state has moved on: re-read it and decide anew."""


class TransientError(BillingError):
    """Something outside is away or full: the same call may succeed later."""


class RetryLater(TransientError):
    """The caller has to slow down; retry_seconds says how long to wait."""

    def __init__(self, code: str, detail: str, retry_seconds: int) -> None:
        super().__init__(code, detail)
        self.retry_seconds = retry_seconds
