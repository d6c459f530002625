"""When to try again: exponential backoff with full jitter, never before the server asks for it."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

DOUBLINGS_MAX: Final = 30
"""More would overflow before they matter."""


def wait_seconds(tried: int, retry_after: float, *, first: float, longest: float) -> float:
    """Return how long to wait after `tried` tries (>= 1) that failed.

    retry_after: what the server asked for, 0 if nothing. first, longest: bounds of the jitter
    after the first try, and after any. Clients that failed together don't come back together.
    """
    bound = min(longest, first * 2.0 ** min(tried - 1, DOUBLINGS_MAX))
    return retry_after + random.uniform(0, bound)  # noqa: S311 - nothing secret


def read_retry_after(value: str | None, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks for; 0 without one that can be read."""
    if value is None:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
