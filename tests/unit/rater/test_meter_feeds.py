"""Events of meters that count toward others, folded and amended: the sum over the tree."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rater.arrivals import Log
from rater.decoding import decode
from rater.fold import fold
from rater.memory import Customer, Line, Memory, Meter, Product
from rater.shares import Shares
from rater.tenants import Tenant
from schemas.aggregation import Use
from schemas.event_ref import partition_of, shard_key, tenant_bits
from schemas.meter_feed import Feed, Link, times, ways_up
from schemas.money import ONE
from schemas.periods import BillingTerms
from schemas.price import parse_line_price

TENANT_REF = "00000000-0000-4000-8000-0000000000aa"
TENANT = Tenant(1, TENANT_REF, tenant_bits(TENANT_REF))
CUSTOMER = "00000000-0000-4000-8000-0000000000c1"
LOG = Log("00000000-0000-4000-8000-000000000123", partition_of(shard_key(CUSTOMER), 4), 4)
FACTORS = [Fraction(1), Fraction(-1), Fraction(5, 2), Fraction(333, 1000)]


class Entry(msgspec.Struct):
    """A record, as Kafka's client gives it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def ref_of(meter: int) -> str:
    return f"00000000-0000-4000-8000-{meter:012}"


@st.composite
def trees(draw: st.DrawFn) -> dict[int, Link]:
    """Draw meters that each count toward one made before, or toward nothing."""
    links: dict[int, Link] = {}
    for meter in range(draw(st.integers(1, 6))):
        parent = draw(st.none() | st.integers(0, meter - 1)) if meter else None
        aggregation = draw(st.sampled_from(["SUM", "COUNT", "AVERAGE", "MAX"]))
        links[meter] = Link(f"m{meter}", aggregation, parent, draw(st.sampled_from(FACTORS)))
    return links


def lines_of(links: dict[int, Link], priced: list[int]) -> list[Line]:
    """Make a line for each meter of a list, as they are read from the database."""
    product = Product.of(
        ref=UUID(int=1),
        shard_key=shard_key(CUSTOMER),
        tenant=TENANT,
        contract_ref=UUID(int=2),
        terms=BillingTerms(start_date=date(2024, 1, 1), end_date=None, unit="MONTHLY"),
    )
    feeds: dict[int, dict[int, Feed]] = {meter: {meter: Feed()} for meter in links}
    for lower in links:
        for upper, factor in ways_up(links, lower):
            feeds[upper][lower] = Feed(factor)
    return [
        Line(
            ref=UUID(int=number + 10),
            product=product,
            meter_id=meter,
            pricing_line_id=1,
            price=parse_line_price({"model": "PER_UNIT", "price": "1"}),
            aggregation=links[meter].aggregation,
            feeds=feeds[meter],
        )
        for number, meter in enumerate(priced)
    ]


def memory_of(links: dict[int, Link], lines: list[Line]) -> Memory:
    made = Memory(charges_max=1_000)
    made.tenants[TENANT_REF] = TENANT
    for meter in links:
        made.meters[ref_of(meter)] = Meter(meter, TENANT.tenant_id)
    place = {"customer_id": 1, "customer_ref": CUSTOMER, "shard_key": shard_key(CUSTOMER)}
    made.add_customer(Customer(**place, tenant=TENANT, lines=lines))  # type: ignore[arg-type]
    return made


def entry(offset: int, meter: int, quantity: int) -> Entry:
    value: dict[str, Any] = {
        "v": 1,
        "kind": "USAGE",
        "timestamp": "2024-01-10T00:00:00Z",
        "customer_ref": CUSTOMER,
        "usage_product_ref": ref_of(meter),
        "quantity": f"{quantity}e-3",
    }
    return Entry(offset, 1_750_000_000_000, CUSTOMER.encode(), msgspec.json.encode(value))


def over_the_tree(links: dict[int, Link], root: int, events: list[tuple[int, int]]) -> list[int]:
    """Return what each event that counts in a line comes to: walking down from its meter."""
    counted: list[int] = []

    def go_down(meter: int, factor: Fraction) -> None:
        for event_meter, quantity in events:
            if event_meter == meter:
                each = ONE if links[root].aggregation == "COUNT" else quantity * ONE // 1000
                counted.append(times(each, factor))
        for child, link in links.items():
            if link.parent == meter:
                go_down(child, link.factor * factor)

    go_down(root, Fraction(1))
    return counted


@given(trees(), st.data())
def test_a_line_gets_the_sum_over_the_tree_and_every_event_counts_as_rated_once(
    links: dict[int, Link], data: st.DataObject
) -> None:
    meters = st.sampled_from(sorted(links))
    priced = data.draw(st.lists(meters, max_size=4))
    events = data.draw(st.lists(st.tuples(meters, st.integers(-9_999, 9_999)), max_size=12))
    lines = lines_of(links, priced)
    entries = [entry(offset, *event) for offset, event in enumerate(events)]
    poll = decode(entries, LOG, 0, len(entries), TENANT_REF)
    folded = fold(poll.arrivals, memory_of(links, lines), {})

    found: Counter[int] = Counter()
    for number, line in enumerate(lines):
        expected = over_the_tree(links, priced[number], events)
        (charge,) = line.charges.values() if expected else [None]
        if charge is None:
            continue
        if line.aggregation == "MAX":
            values = sorted(use.quantity for use in folded.shares.uses[charge])
            assert values == sorted(expected)
        else:
            totals = folded.totals if line.is_plain else folded.shares.sums
            assert totals[charge] == [sum(expected), len(expected)]
        found[number] = len(expected)
    covered = {
        meter for meter in links for line in lines if meter in line.feeds
    }  # by a line of its own or of a meter above
    unrated = [event for event in events if event[0] not in covered]
    assert len(folded.accepted) == len(events)
    assert len(folded.unrated) == len(unrated)
    assert sum(found.values()) == sum(
        len([line for line in lines if meter in line.feeds]) for meter, _ in events
    )


@given(trees(), st.data())
def test_what_is_taken_out_is_what_was_added(links: dict[int, Link], data: st.DataObject) -> None:
    meter = data.draw(st.sampled_from(sorted(links)))
    lines = lines_of(links, sorted(links))
    customer = memory_of(links, lines).customers[CUSTOMER]
    shares = Shares.empty()
    for sign in (1, -1):
        for fed in customer.fed_by(meter):
            use = Use(1_704_067_200_000_000, 1, times(7 * ONE, fed.factor))
            shares.move(fed.others, use, None, sign)
    assert all(total == [0, 0] for total in shares.sums.values())
    assert {line.meter_id for line in lines if meter in line.feeds} == {
        line.meter_id for fed in customer.fed_by(meter) for line in (*fed.plain, *fed.others)
    }
