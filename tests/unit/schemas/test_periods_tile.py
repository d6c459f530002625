"""Periods tile over fifty years: a sample of zones by default, every IANA zone as a long test."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from zoneinfo import available_timezones

import pytest

from schemas.periods import BillingTerms, CycleUnit, first_instant, periods

ZONES = sorted(available_timezones())
DAY = timedelta(days=1)
FIFTY_YEARS = (date(1990, 1, 31), date(2040, 1, 30))
ANCHORS = [None, *(date(2003, 1, day) for day in (1, 15, 28, 29, 30, 31)), date(2004, 2, 29)]
CYCLES: dict[CycleUnit, tuple[int, ...]] = {
    "ONE_TIME": (1,),
    "MONTHLY": (1, 5, 12),
    "QUARTERLY": (1, 3),
    "YEARLY": (1, 2),
}


def kinds_of_terms(zone: str) -> Iterator[BillingTerms]:
    """Yield fifty years in a zone for every unit, several cycles and every kind of anchor."""
    for unit, cycles in CYCLES.items():
        for cycle in cycles:
            for anchor in ANCHORS:
                yield BillingTerms(*FIFTY_YEARS, unit, cycle=cycle, issue_day=anchor, timezone=zone)


def assert_tiles(given_terms: BillingTerms) -> None:
    """Assert that periods follow one another from the first instant in force to the last."""
    assert given_terms.end_date is not None
    found, zone = list(periods(given_terms)), given_terms.timezone
    assert found[0].start == first_instant(given_terms.start_date, zone)
    assert found[-1].end == first_instant(given_terms.end_date + DAY, zone)
    assert all(one.end == other.start for one, other in pairwise(found))
    assert all(period.start < period.end for period in found)
    assert all(before.index + 1 == after.index for before, after in pairwise(found))


# One of each kind of change of the clocks, and of the date line.
@pytest.mark.parametrize(
    "zone", ["America/Havana", "Pacific/Apia", "America/St_Johns", "Africa/Cairo", "UTC"]
)
def test_fifty_years_tile_for_every_unit_cycle_and_anchor(zone: str) -> None:
    for given_terms in kinds_of_terms(zone):
        assert_tiles(given_terms)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("zone", ZONES)
def test_fifty_years_tile_for_every_unit_cycle_and_anchor_in_every_zone(zone: str) -> None:
    for given_terms in kinds_of_terms(zone):
        assert_tiles(given_terms)
