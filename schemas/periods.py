"""Billing periods: how the terms of a contract product cut time into half-open pieces that tile.

Bounds are local midnights of the entity's zone: the first instant of the local day, also where a
clock change skips midnight or repeats it. They stand at an anchor plus every whole number of
cycles, before as after, and are clipped to the first day of the contract and the day after its
last. An anchor on the 29th to 31st falls on a shorter month's last day and returns to its own day
after, since every bound is counted from the anchor and none from its neighbour.
"""

from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final, Literal, Protocol, Self
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from schemas.errors import InvalidInput, Problem

CycleUnit = Literal["ONE_TIME", "MONTHLY", "QUARTERLY", "YEARLY"]
PaymentTime = Literal["BEFORE_USE", "DURING_USE", "AFTER_USE"]

DATE_MIN: Final = date(1900, 1, 1)
DATE_MAX: Final = date(2999, 12, 31)
CYCLE_MAX: Final = 120

_MONTHS: Final[dict[CycleUnit, int]] = {"MONTHLY": 1, "QUARTERLY": 3, "YEARLY": 12}
_DAY: Final = timedelta(days=1)


class Row(Protocol):
    """A row of a database's answer."""

    def __getitem__(self, name: str, /) -> Any: ...  # noqa: ANN401 - a column of any type


class BillingTerms(msgspec.Struct, frozen=True):
    """When a contract product is billed; checked when it is built.

    start_date, end_date: first and last day in force, local to the zone; None: until cancelled.
    cycle: units that one period lasts, without meaning for ONE_TIME.
    issue_day: the first issue date and the anchor of all bounds; None: bounds count back from the
    day after the last, or on from the first day where there is no last.
    timezone: an IANA name.
    since, until: these terms count from the one day on and before the other, None for no such
    bound: a contract that is edited has others before or after. Cycles stand where they would
    without these bounds; no period of terms that begin to count later is the contract's first.
    ahead_since: periods that begin before are not billed ahead, whatever the payment time; None:
    there are none such. With since they are billed behind their end, as after use: an edit rates
    them anew, and a part of them may have been billed ahead before it.
    Raises InvalidInput that lists every wrong field.
    """

    start_date: date
    end_date: date | None
    unit: CycleUnit
    cycle: int = 1
    issue_day: date | None = None
    payment_time: PaymentTime = "AFTER_USE"
    timezone: str = "UTC"
    since: date | None = None
    until: date | None = None
    ahead_since: date | None = None

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise InvalidInput.of(problems)

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """Read the columns of the table contract_product that say it."""
        return cls(
            start_date=row["billing_start_date"],
            end_date=row["billing_end_date"],
            unit=row["cycle_unit"],
            cycle=row["cycle_length"],
            issue_day=row["issue_day"],
            payment_time=row["payment_time"],
            timezone=row["timezone"],
            since=row["since_date"],
            until=row["until_date"],
            ahead_since=row["ahead_since"],
        )

    @property
    def first_day(self) -> date:
        """The first day that these terms count on."""
        return max(self.start_date, self.since or self.start_date)

    @property
    def end_day(self) -> date | None:
        """The day after the last one that these terms count on; None: there is no last."""
        bounds = [day for day in (_end_bound(self), self.until) if day is not None]
        return min(bounds, default=None)


def _problems(terms: BillingTerms) -> Iterator[Problem]:
    dates = {
        "start_date": terms.start_date,
        "end_date": terms.end_date,
        "issue_day": terms.issue_day,
    }
    for name, day in dates.items():
        if day is not None and not DATE_MIN <= day <= DATE_MAX:
            detail = f"must lie between {DATE_MIN} and {DATE_MAX}"
            yield Problem("date_out_of_range", detail, f"/{name}")
    if terms.end_date is None and terms.unit == "ONE_TIME":
        yield Problem("required", "ONE_TIME needs a last day", "/end_date")
    if terms.end_date is not None and terms.end_date < terms.start_date:
        yield Problem("dates_crossed", "must not lie before the first day", "/end_date")
    if not 1 <= terms.cycle <= CYCLE_MAX:
        yield Problem("cycle_out_of_range", f"must lie between 1 and {CYCLE_MAX}", "/cycle")
    if not is_timezone(terms.timezone):
        yield Problem("timezone_unknown", "must be the IANA name of a time zone", "/timezone")


class Part(msgspec.Struct, frozen=True):
    """The days of one whole cycle that a period covers: those after `before`, up to `through`.

    0 <= before < through <= whole. A period that was not clipped covers 0 to whole.
    """

    before: int
    through: int
    whole: int

    @classmethod
    def of(
        cls, *, start_date: date, end_date: date, full_start_date: date, full_end_date: date
    ) -> Self:
        """Count the days of a period and of its whole cycle; end dates are exclusive."""
        return cls(
            before=(start_date - full_start_date).days,
            through=(end_date - full_start_date).days,
            whole=(full_end_date - full_start_date).days,
        )

    @property
    def is_whole(self) -> bool:
        """Tell whether the period is its whole cycle, so that nothing is prorated."""
        return self.before == 0 and self.through == self.whole


class Period(msgspec.Struct, frozen=True):
    """One billing period, half-open.

    index: 0 for the contract product's first.
    start, end: aware UTC. start_date, end_date: the same bounds as local days; end is exclusive.
    full_start_date, full_end_date: the bounds of the whole cycle, before clipping.
    issue_date: the local day on which its document is due. rest_date: that of the document which
    has what is known only at the end; the same day, unless part of the period is billed ahead.
    issued_at: the first instant of the issue date; what is billed ahead is of uses before.
    """

    index: int
    start: datetime
    end: datetime
    start_date: date
    end_date: date
    full_start_date: date
    full_end_date: date
    issue_date: date
    rest_date: date
    issued_at: datetime

    @property
    def is_ahead(self) -> bool:
        """Tell whether part of it is billed by a document before the one that settles it."""
        return self.rest_date != self.issue_date

    @property
    def is_partial(self) -> bool:
        """Tell whether the contract's first or last day clipped it."""
        return not self.part.is_whole

    @property
    def part(self) -> Part:
        """The days that it covers of its whole cycle."""
        return Part.of(
            start_date=self.start_date,
            end_date=self.end_date,
            full_start_date=self.full_start_date,
            full_end_date=self.full_end_date,
        )


def periods(terms: BillingTerms) -> Iterator[Period]:
    """Yield every period in order; without a last day, as far as dates reach.

    A period whose days a zone left out altogether (Samoa, 30 December 2011) has no instant and is
    not yielded.
    """
    number = _number_from(terms, terms.first_day)
    while (period := _period(terms, number)) is not None:
        yield period
        number += 1


def periods_of_lineage(lineage: Iterable[BillingTerms]) -> Iterator[Period]:
    """Yield the periods of terms that take each other's place, in order.

    No two count on the same day; an index counts within its own terms.
    """
    for terms in sorted(lineage, key=lambda terms: terms.first_day):
        yield from periods(terms)


def periods_ending_by(terms: BillingTerms, day: date) -> Iterator[Period]:
    """Yield the periods whose last day is `day` or an earlier one."""
    return takewhile(lambda period: period.end_date - _DAY <= day, periods(terms))


def period_at(terms: BillingTerms, instant: datetime) -> Period | None:
    """Return the period that holds an aware instant, or None outside the contract.

    Costs the same wherever the instant lies: the cycle is computed, not walked to.
    """
    local = instant.astimezone(ZoneInfo(terms.timezone)).date()
    number = _number_at(terms, min(max(local, terms.first_day), DATE_MAX))
    # Where clocks go back over midnight, some instants of a day bear the date of the one before.
    for candidate in (number, number + 1):
        period = _period(terms, candidate)
        if period is not None and period.start <= instant < period.end:
            return period
    return None


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_timezone(name: str) -> bool:
    """Tell whether there is an IANA time zone of that name."""
    return name in _timezones()


@lru_cache(maxsize=16_384)
def first_instant(day: date, timezone: str) -> datetime:
    """Return the first instant of a local day, in UTC.

    Of a midnight that comes twice the earlier; where there is none, the instant of the change that
    skips it. Never decreases from one day to the next.
    """
    zone = ZoneInfo(timezone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    instant = midnight.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return instant
    earlier = midnight.replace(fold=1).astimezone(UTC)  # with the offset after the change
    low, high = 0, int((instant - earlier).total_seconds())
    while low < high:  # the first second whose local day has come
        middle = (low + high) // 2
        if (earlier + timedelta(seconds=middle)).astimezone(zone).date() < day:
            low = middle + 1
        else:
            high = middle
    return earlier + timedelta(seconds=low)


def _end_bound(terms: BillingTerms) -> date | None:
    """Return the day after the last one in force."""
    return None if terms.end_date is None else terms.end_date + _DAY


def _bound(terms: BillingTerms, number: int) -> date:
    """Return the day of the bound that lies so many cycles after the anchor, or before it."""
    anchor = terms.issue_day or _end_bound(terms) or terms.start_date
    month = anchor.year * 12 + anchor.month - 1 + number * _MONTHS[terms.unit] * terms.cycle
    year, month = month // 12, month % 12 + 1
    return date(year, month, min(anchor.day, monthrange(year, month)[1]))


def _number_at(terms: BillingTerms, day: date) -> int:
    """Return the number of the cycle that holds a day: that of the last bound not after it."""
    if terms.unit == "ONE_TIME":
        return 0
    anchor = _bound(terms, 0)
    months = (day.year - anchor.year) * 12 + day.month - anchor.month
    number = months // (_MONTHS[terms.unit] * terms.cycle)
    return number - 1 if _bound(terms, number) > day else number


def _first_number(terms: BillingTerms) -> int:
    """Return the number of the contract's first cycle, whether or not these terms count then."""
    if terms.since is None and terms.until is None:
        return _number_from(terms, terms.start_date)
    return _first_number(msgspec.structs.replace(terms, since=None, until=None))


def _number_from(terms: BillingTerms, day: date) -> int:
    """Return the number of the first cycle from a day on that is in force for an instant at least.

    day: the first one in force, or one at which the terms begin to count.
    """
    number = _number_at(terms, day)
    bounds = _clipped(terms, number)
    if bounds is None:
        return number
    start, end = (first_instant(day, terms.timezone) for day in bounds)
    return number if start < end else number + 1


def _clipped(terms: BillingTerms, number: int) -> tuple[date, date] | None:
    """Return the days from which and before which a cycle is in force, or None if it never is."""
    after_last = terms.end_day or DATE_MAX
    if terms.unit == "ONE_TIME":
        start, end = terms.first_day, after_last
        return (start, end) if number == 0 and start < end else None
    start = max(_bound(terms, number), terms.first_day)
    end = min(_bound(terms, number + 1), after_last)
    return (start, end) if start < end else None


@lru_cache(maxsize=65_536)
def _period(terms: BillingTerms, number: int) -> Period | None:
    """Return the piece of a cycle that is in force, or None if there is no instant of it."""
    bounds = _clipped(terms, number)
    if bounds is None:
        return None
    start, end = (first_instant(day, terms.timezone) for day in bounds)
    if start == end:
        return None
    one_time = terms.unit == "ONE_TIME"
    issue_date = _issue_date(terms, *bounds)
    return Period(
        index=number - _first_number(terms) + (terms.first_day > terms.start_date),
        start=start,
        end=end,
        start_date=bounds[0],
        end_date=bounds[1],
        full_start_date=terms.start_date if one_time else _bound(terms, number),
        full_end_date=_end_bound(terms) or bounds[1] if one_time else _bound(terms, number + 1),
        issue_date=issue_date,
        rest_date=_rest_date(terms, number, bounds, issue_date),
        issued_at=first_instant(issue_date, terms.timezone),
    )


def _is_whole(terms: BillingTerms, start: date) -> bool:
    """Tell whether a period is billed as a whole, though other periods of its terms are not."""
    return terms.ahead_since is not None and start < terms.ahead_since


def _issue_date(terms: BillingTerms, start: date, end: date) -> date:
    """Return the day on which the document of a period is due, never before the first issue day."""
    if terms.since is not None and _is_whole(terms, start):
        due = end
    elif terms.unit == "ONE_TIME":
        return terms.issue_day or (start if terms.payment_time == "BEFORE_USE" else end)
    elif terms.payment_time == "AFTER_USE":
        due = end
    elif terms.payment_time == "BEFORE_USE" or terms.issue_day is not None:
        # DURING_USE too: with an issue day its place in every period is the bound it starts at.
        due = start
    else:
        due = end - _DAY
    return due if terms.issue_day is None else max(due, terms.issue_day)


def _rest_date(
    terms: BillingTerms, number: int, bounds: tuple[date, date], issue_date: date
) -> date:
    """Return the day of the document that settles a period: the next one of these terms.

    Behind the last period that is the day after it. An edit that replaces the terms by others does
    not move it: what was billed ahead names that document.
    """
    start, end = bounds
    if terms.payment_time == "AFTER_USE" or _is_whole(terms, start):
        return issue_date
    if terms.until is not None:
        terms = msgspec.structs.replace(terms, until=None)
    following = None if terms.unit == "ONE_TIME" else _clipped(terms, number + 1)
    return max(end, issue_date) if following is None else _issue_date(terms, *following)
