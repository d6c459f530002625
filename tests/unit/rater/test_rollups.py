"""What a poll adds to sums of usage, and how it is written for COPY."""

from collections import defaultdict
from struct import unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rater.amend import EventNow, Version
from rater.arrivals import AmendmentArrival, Arrival
from rater.fold import Accepted
from rater.memory import Customer
from rater.rollups import entries_of, pack_tail
from rater.tail import ENTRIES_MAX, POLLS_MAX, Tail
from rater.tenants import Tenant
from schemas.amendment import Amendment
from schemas.money import Quantity
from schemas.rollup import place_of, places_of
from schemas.usage_event import UsageEvent

TENANTS = [Tenant(number, "", 0) for number in (1, 2)]
CUSTOMERS = [
    Customer(customer_id=n, customer_ref="", shard_key=n * 613_566_756, tenant=TENANTS[n % 2])
    for n in range(4)
]
QUARTER = 900_000_000
uses = st.tuples(
    st.sampled_from(CUSTOMERS),
    st.integers(1, 2),
    st.integers(0, 4 * QUARTER),
    st.integers(-(10**30), 10**30),
)
kinds = st.sampled_from(["UPDATE", "DELETE", "DELETED AGAIN"])


def accepted(use: tuple[Customer, int, int, int]) -> Accepted:
    customer, meter_id, instant, quantity = use
    event = UsageEvent(None, "", "", instant, Quantity(quantity), None, None)
    return Accepted(
        Arrival(0, 0, 0, 0, customer.shard_key, 0, event, b"", None), customer, meter_id
    )


def event_now(use: tuple[Customer, int, int, int], *, is_deleted: bool = False) -> EventNow:
    customer, meter_id, instant, quantity = use
    return EventNow(
        ref=0,
        shard_key=customer.shard_key,
        tenant_id=customer.tenant.tenant_id,
        customer_id=customer.customer_id,
        meter_id=meter_id,
        occurred_at_micros=instant,
        quantity=Quantity(quantity),
        additional_data=None,
        is_unrated=False,
        is_deleted=is_deleted,
    )


def version(before: EventNow, after: EventNow) -> Version:
    amendment = Amendment(kind="UPDATE", tenant_ref=None, customer_ref="", event_ref=0)
    return Version(after, before, AmendmentArrival(0, 0, amendment, b"", b"", None), [])


@given(
    st.lists(uses), st.lists(st.tuples(uses, uses, st.sampled_from(["UPDATE", "DELETE", "AGAIN"])))
)
def test_entries_are_what_events_add_and_amendments_move(
    new: list[tuple[Customer, int, int, int]],
    changed: list[tuple[tuple[Customer, int, int, int], tuple[Customer, int, int, int], str]],
) -> None:
    expected: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])

    def add(use: tuple[Customer, int, int, int], sign: int) -> None:
        customer, meter_id, instant, quantity = use
        total = expected[customer.customer_id, meter_id, instant // QUARTER]
        total[0] += sign * quantity
        total[1] += sign

    versions = []
    for use in new:
        add(use, 1)
    for before, after, kind in changed:
        was_deleted, is_deleted = kind == "DELETED AGAIN", kind != "UPDATE"
        if not was_deleted:
            add(before, -1)
        if not is_deleted:
            add(after, 1)
        versions.append(
            version(
                event_now(before, is_deleted=was_deleted), event_now(after, is_deleted=is_deleted)
            )
        )
    entries = entries_of(map(accepted, new), versions)
    found = {key: [entries.sums[key], entries.counts[key]] for key in entries.sums}
    assert {k: v for k, v in found.items() if any(v)} == {
        k: v for k, v in expected.items() if any(v)
    }
    assert list(entries.sums) == list(entries.counts)
    for customer_id, owner in entries.owners.items():
        customer = CUSTOMERS[customer_id]
        assert owner == (customer.tenant.tenant_id, customer.shard_key)
    if entries.sums:
        assert integers_of(pack_tail(entries, 3, 1 << 40)) == sorted(
            (owner[0], owner[1], *key, entries.counts[key])
            for key in entries.sums
            for owner in [entries.owners[key[0]]]
        )


def integers_of(stream: bytes) -> list[tuple[int, ...]]:
    """Read a COPY stream back, but for the quantities: Postgres reads these in other tests."""
    at, found = 19, []
    while (fields := unpack_from(">h", stream, at)[0]) >= 0:
        at += 2
        values = []
        for _ in range(fields):
            (length,) = unpack_from(">i", stream, at)
            values.append(stream[at + 4 : at + 4 + length])
            at += 4 + length
        assert [len(value) for value in values[:4]] == [4, 4, 2, 8]
        (tenant_id,) = unpack_from(">i", values[1])
        columns = []
        for value in values[4:9]:
            _, _, oid, count, _ = unpack_from(">5i", value)
            assert (oid, len(value)) == (23, 20 + 8 * count)
            columns.append([unpack_from(">ii", value, 20 + 8 * n)[1] for n in range(count)])
        found += [(tenant_id, *entry) for entry in zip(*columns, strict=True)]
    assert stream[at:] == b"\xff\xff"
    return sorted(found)


@given(st.integers(0, (1 << 31) - 1), st.integers(0, 10_000))
def test_a_reader_looks_wherever_entries_may_be(shard_key: int, entries: int) -> None:
    assert place_of(shard_key, entries) in places_of(shard_key)
    assert all(-1 <= place < 1 << 15 for place in places_of(shard_key))


@pytest.mark.parametrize(
    ("polls", "entries", "age", "is_due"),
    [
        (0, 0, 100.0, False),
        (1, 1, 59.0, False),
        (1, 1, 60.0, True),
        (POLLS_MAX, 1, 0.0, True),
        (2, ENTRIES_MAX, 0.0, True),
        (POLLS_MAX - 1, ENTRIES_MAX - 1, 0.0, False),
    ],
)
def test_a_tail_is_folded_when_it_is_long_or_old(
    polls: int, entries: int, age: float, *, is_due: bool
) -> None:
    assert Tail(polls, entries, since=1_000.0).is_due(60.0, now=1_000.0 + age) is is_due


def test_the_age_of_a_tail_is_that_of_its_first_poll() -> None:
    tail = Tail(0, 0, since=5.0)
    tail.grow(0, now=10.0)
    tail.grow(3, now=20.0)
    tail.grow(4, now=30.0)
    assert (tail.polls, tail.entries, tail.since) == (2, 7, 20.0)
    tail.clear()
    assert (tail.polls, tail.entries) == (0, 0)
