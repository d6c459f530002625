"""What windows of usage have cost: each moves its period's price, and together they are it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reports.amounts import PricedPeriod, Stretch, add_up
from schemas.money import ONE, Quantity
from schemas.price import parse_line_price, price_total

START = datetime(2026, 8, 1, tzinfo=UTC)
TIERS = [{"up_to": 10, "unit_price": 3, "flat_fee": 5}, {"unit_price": 2}]
OF_A_TOTAL: list[Mapping[str, object]] = [
    {"model": "PER_UNIT", "price": "0.7"},
    {"model": "VOLUME", "tiers": TIERS},
    {"model": "PACKAGE", "price": 3, "package_size": 7},
    {"model": "PERCENTAGE", "tiers": [{"up_to": 10, "rate": 3, "flat_fee": 1}, {"rate": 1}]},
    {"model": "FORMULA", "expression": "q / 3 + event_count * graduated", "tiers": TIERS},
]
stretches = st.lists(
    st.tuples(st.integers(-20 * ONE, 20 * ONE), st.integers(1, 5)), min_size=1, max_size=6
)


def period(fields: Mapping[str, object]) -> PricedPeriod:
    return PricedPeriod(
        1, True, False, parse_line_price(fields), "EUR", START, START + timedelta(31)
    )


def windows(uses: list[tuple[int, int]]) -> list[Stretch]:
    return [
        Stretch(
            toward=1,
            meter_id=1 + day % 2,  # of its own, and of another one that counts toward it
            begin=START,
            window=START + timedelta(day // 2),
            quantity=Quantity(quantity),
            event_count=event_count,
            units=Quantity(event_count * ONE),
        )
        for day, (quantity, event_count) in enumerate(uses)
    ]


@given(st.sampled_from(OF_A_TOTAL), stretches)
def test_windows_add_up_to_the_charge_whatever_prices_it(
    fields: Mapping[str, object], uses: list[tuple[int, int]]
) -> None:
    priced = period(fields)
    amounts = add_up([priced], windows(uses))
    quantity, event_count = (sum(column) for column in zip(*uses, strict=True))
    shown = sum(sums["EUR"] for sums in amounts.values() if sums is not None)
    assert shown == price_total(priced.price, Quantity(quantity), event_count)


@pytest.mark.parametrize("fields", [{"rate": 1, "fixed_fee": "0.3"}])
def test_a_window_has_no_amount_where_events_are_priced_one_by_one(
    fields: Mapping[str, object],
) -> None:
    amounts = add_up([period({"model": "PERCENTAGE", **fields})], windows([(ONE, 1)]))
    assert list(amounts.values()) == [None]
