"""Aggregations by hand: what a month of uses comes to, in fractions, from a sorted list."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import accumulate
from math import floor

from tests.rating import Use

ONE = 10**18
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Monthly = Mapping[date, tuple[Fraction, int]]


def micros(text: str | datetime) -> int:
    instant = datetime.fromisoformat(text) if isinstance(text, str) else text
    return (instant - _EPOCH) // timedelta(microseconds=1)


def to_quantity(value: Fraction) -> Fraction:
    """Round to 18 digits, a half away from zero."""
    units = floor(abs(value) * ONE + Fraction(1, 2))
    return Fraction(units if value > 0 else -units, ONE)


def by_month(aggregation: str, uses: Iterable[Use], key: str = "") -> Monthly:
    """Return what uses that count come to in each month with one, and how many they are."""
    months: dict[date, list[Use]] = {}
    for use in sorted(uses, key=lambda use: (micros(use.at), use.event_ref)):
        day = datetime.fromisoformat(use.at).astimezone(UTC).date()
        months.setdefault(day.replace(day=1), []).append(use)
    found: dict[date, tuple[Fraction, int]] = {}
    carried = Fraction(0)
    for month, own in sorted(months.items()):
        quantities = [Fraction(use.quantity) for use in own]
        if aggregation == "TIME_WEIGHTED":
            value = _weighted(month, own, carried)
        elif aggregation == "UNIQUE":
            values = [(use.data or {}).get(key) for use in own]
            value = Fraction(len({str(one) for one in values if isinstance(one, str | int)}))
        else:
            value = _of_quantities(aggregation, quantities)
        carried = quantities[-1]
        found[month] = (value, len(own))
    return found


def _of_quantities(aggregation: str, quantities: Sequence[Fraction]) -> Fraction:
    count = len(quantities)
    match aggregation:
        case "SUM":
            return sum(quantities, Fraction(0))
        case "COUNT":
            return Fraction(count)
        case "MAX":
            return max(quantities)
        case "LAST":
            return quantities[-1]
        case "AVERAGE":
            return sum(quantities, Fraction(0)) / count
        case _:
            assert aggregation == "RUNNING_AVERAGE"
            sums = enumerate(accumulate(quantities), 1)
            return sum((to_quantity(so_far / n) for n, so_far in sums), Fraction(0)) / count


def _weighted(month: date, uses: Sequence[Use], carried: Fraction) -> Fraction:
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    end = (start + timedelta(days=32)).replace(day=1)
    held = [(micros(start), carried)]
    held += [(micros(use.at), Fraction(use.quantity)) for use in uses]
    ends = [at for at, _ in held[1:]] + [micros(end)]
    areas = (value * (until - at) for (at, value), until in zip(held, ends, strict=True))
    return sum(areas, Fraction(0)) / (micros(end) - micros(start))
