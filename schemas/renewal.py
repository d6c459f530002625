"""Terms that renew themselves: how a product with a last day goes on behind it. Pure.

It is in force until it is cancelled, and its bounds stand where they would with its last day, so
nothing has to be made at a renewal and no use can fall between two terms. What a term is only says
when the product ends once it no longer renews.
"""

from calendar import monthrange
from datetime import date, timedelta
from typing import Final

from schemas.periods import CycleUnit

_DAY: Final = timedelta(days=1)
_MONTHS: Final[dict[CycleUnit, int]] = {"MONTHLY": 1, "QUARTERLY": 3, "YEARLY": 12}


def anchor_of(start: date, end: date, unit: CycleUnit, cycle: int) -> date | None:
    """Return a day on or before the first on which a bound stands, as counted back from the last.

    None where bounds counted from the first day are the same.
    """
    bound, step = end + _DAY, _MONTHS[unit] * cycle
    months = _months_between(start, bound)
    if start.day == bound.day and months % step == 0:
        return None
    count = -(-max(months, 1) // step)
    while True:
        day = _shifted(bound, -count * step)
        if day <= start and day.day == bound.day:
            return day
        count += 1


def term_end(start: date, end: date, day: date) -> date:
    """Return the last day of the term that a day is in, or of the first one before it.

    Every term lasts as long as the first: whole months where that does, else so many days.
    """
    bound = end + _DAY
    months, length = _months_between(start, bound), (bound - start).days
    is_months = months > 0 and _shifted(start, months) == bound
    count = 0
    while end < day:
        count += 1
        after = (
            _shifted(start, months * (count + 1)) if is_months else bound + length * count * _DAY
        )
        end = after - _DAY
    return end


def _months_between(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month


def _shifted(day: date, months: int) -> date:
    """Return the same day so many months later, or earlier; the last one of a shorter month."""
    count = day.year * 12 + day.month - 1 + months
    year, month = count // 12, count % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))
