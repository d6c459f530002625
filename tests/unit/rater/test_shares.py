"""Shares: what events come to on lines that add up otherwise than by sums and counts."""

from collections import Counter
from datetime import date
from uuid import UUID

from rater.memory import Charge, Line, Product
from rater.shares import Shares
from rater.tenants import Tenant
from schemas.aggregation import Use, value_digest
from schemas.money import ONE, Quantity
from schemas.periods import BillingTerms
from schemas.price import parse_line_price

JANUARY = 1_704_067_200_000_000
DAY = 86_400_000_000
TENANT = Tenant(1, "00000000-0000-4000-8000-000000000001", 7)
PRODUCT = Product.of(
    ref=UUID(int=1),
    shard_key=5,
    tenant=TENANT,
    contract_ref=UUID(int=2),
    terms=BillingTerms(start_date=date(2024, 1, 1), end_date=None, unit="MONTHLY"),
)


def line(aggregation: str, unique_key: str | None = None) -> Line:
    return Line(
        ref=UUID(bytes=aggregation.encode().ljust(16)),
        product=PRODUCT,
        meter_id=1,
        pricing_line_id=1,
        price=parse_line_price({"model": "PER_UNIT", "price": "1"}),
        aggregation=aggregation,
        unique_key=unique_key,
    )


def use(day: int, quantity: int) -> Use:
    return Use(JANUARY + day * DAY, day, Quantity(quantity * ONE))


def charge_of(one: Line) -> Charge:
    charge = one.charge_at(JANUARY, None)
    assert charge is not None
    return charge


def test_an_average_is_moved_by_what_an_event_adds_and_an_ordered_charge_keeps_the_event() -> None:
    average, last = line("AVERAGE"), line("LAST")
    shares = Shares.empty()
    assert shares.add((average, last), use(3, 4), None) == [charge_of(average), charge_of(last)]
    shares.move((average, last), use(3, 4), None, -1)
    shares.move((average, last), use(5, 9), None, 1)
    assert shares.sums == {charge_of(average): [9 * ONE, 1]}
    assert shares.uses == {charge_of(last): [use(3, 4)]}
    assert shares.again == {charge_of(last)}


def test_values_are_counted_and_events_without_one_are_events() -> None:
    unique = line("UNIQUE", "user")
    shares = Shares.empty()
    for data in ('{"user":"a"}', '{"user":"a"}', '{"user":7}', '{"user":null}', None):
        shares.add((unique,), use(1, 1), data)
    shares.move((unique,), use(1, 1), '{"user":"a"}', -1)
    assert shares.sums[charge_of(unique)][1] == 4
    assert shares.values[charge_of(unique)] == Counter({value_digest("a"): 1, value_digest("7"): 1})


def test_an_event_outside_the_contract_has_no_share() -> None:
    shares = Shares.empty()
    assert shares.add((line("MAX"), line("AVERAGE")), use(-1, 4), None) == []
    assert not shares


def test_two_changes_join_and_stay_as_they_are() -> None:
    average, last = line("AVERAGE"), line("LAST")
    one, other = Shares.empty(), Shares.empty()
    one.add((average, last), use(3, 4), None)
    assert one.joined(other) is one
    other.move((average, last), use(3, 4), None, -1)
    both = one.joined(other)
    assert both.sums == {charge_of(average): [0, 0]}
    assert (both.uses, both.again) == (one.uses, {charge_of(last)})
    assert one.sums == {charge_of(average): [4 * ONE, 1]}


def test_what_came_for_closed_periods_is_counted_as_late() -> None:
    average, last = line("AVERAGE"), line("LAST")
    shares = Shares.empty()
    for day in (1, 2, 40):
        shares.add((average, last), use(day, 4), None)
    assert shares.count_late() == 0
    charge_of(last).period.last_cut_number = 1  # the period is shared by both lines
    assert shares.count_late() == 4
