"""The fold: what a log comes to, however it is cut into polls, repeated or shuffled."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rater.arrivals import Log, Poll
from rater.decoding import decode
from rater.fold import fold
from rater.memory import Customer, Line, Memory, Meter, Product
from rater.tenants import Tenant
from runtime.clock import to_micros
from schemas.event_ref import (
    month_index,
    month_of,
    neighbour_month,
    partition_of,
    shard_key,
    tenant_bits,
    with_month,
)
from schemas.money import ONE, QUANTITY_DIGITS
from schemas.periods import BillingTerms
from schemas.price import from_json

TENANT = Tenant(1, "00000000-0000-4000-8000-00000000000a", 0)
CUSTOMERS = tuple(f"00000000-0000-4000-8000-0000000000{n:02}" for n in range(3))
SUM_METER, COUNT_METER, UNPRICED_METER = (
    f"00000000-0000-4000-8000-0000000001{n:02}" for n in range(3)
)
BOUNDS = [
    datetime(2024, 2, 1, tzinfo=UTC) + timedelta(days=days, microseconds=micros)
    for days in (-3, 0, 3)
    for micros in (-1, 0, 1)
]
LOG = Log("00000000-0000-4000-8000-000000000fff", 0, 1)
PRICE = from_json('{"model": "PER_UNIT", "price": "2"}')


class Entry(msgspec.Struct):
    """A record, as Kafka's client gives it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def entry(offset: int, fields: dict[str, Any]) -> Entry:
    value = {"v": 1, "kind": "USAGE", "timestamp": "2024-01-10T00:00:00Z", **fields}
    key = fields["customer_ref"].encode()
    return Entry(offset, 1_750_000_000_000, key, msgspec.json.encode(value))


def memory() -> Memory:
    made = Memory(charges_max=1_000)
    made.tenants[TENANT.tenant_ref] = TENANT
    for number, ref in enumerate((SUM_METER, COUNT_METER, UNPRICED_METER)):
        made.meters[ref] = Meter(number, TENANT.tenant_id)
    for number, ref in enumerate(CUSTOMERS):
        product = Product.of(
            ref=UUID(int=number),
            shard_key=shard_key(ref),
            tenant=TENANT,
            contract_ref=UUID(int=100 + number),
            terms=BillingTerms(start_date=date(2024, 1, 1), end_date=None, unit="MONTHLY"),
        )
        lines = [
            Line(
                ref=UUID(int=10 * number + meter_id),
                product=product,
                meter_id=meter_id,
                aggregation="COUNT" if meter_id == 1 else "SUM",
                pricing_line_id=1,
                price=PRICE,
            )
            for meter_id in (0, 1)
        ]
        made.add_customer(
            Customer(
                customer_id=number,
                customer_ref=ref,
                shard_key=shard_key(ref),
                tenant=TENANT,
                lines=lines,
            )
        )
    return made


USES = st.fixed_dictionaries(
    {
        "customer_ref": st.sampled_from(CUSTOMERS),
        "usage_product_ref": st.sampled_from([SUM_METER, COUNT_METER, UNPRICED_METER]),
        "quantity": st.integers(-1_000, 1_000).map(lambda n: f"{n}e-3"),
        "timestamp": st.sampled_from(
            ["2023-12-31T23:00:00Z", "2024-01-01T00:00:00Z", "2024-01-31T23:59:59Z",
             "2024-02-01T00:00:00Z", "2024-02-15T00:00:00Z"]
        ),
    },
    optional={"idempotency_key": st.sampled_from(["a", "b", "c", "d"])},
)  # fmt: skip


def run(entries: list[Entry], cuts: list[int]) -> dict[str, Any]:
    """Fold a log that is cut into polls at some places; return all that it comes to."""
    known: dict[int, int] = {}
    kept = memory()
    totals: dict[UUID, tuple[int, int]] = {}
    result: dict[str, Any] = {"accepted": [], "unrated": [], "conflicts": [], "duplicates": 0}
    bounds = [0, *sorted(cuts), len(entries)]
    for start, end in pairwise(bounds):
        poll = decode(entries[start:end], LOG, start, end, TENANT.tenant_ref)
        assert not poll.dead
        folded = fold(poll.arrivals, kept, known)
        result["accepted"] += [row.arrival.ref for row in folded.accepted]
        result["unrated"] += [row.arrival.ref for row in folded.unrated]
        result["conflicts"] += [(c.ref, c.arrival.offset) for c in folded.conflicts]
        result["duplicates"] += folded.duplicates
        for charge, (quantity, count) in folded.totals.items():
            before = totals.get(charge.ref, (0, 0))
            totals[charge.ref] = (before[0] + quantity, before[1] + count)
    return {**result, "totals": totals}


@given(st.lists(USES, max_size=25), st.lists(st.integers(0, 25), max_size=4))
def test_where_a_log_is_cut_into_polls_changes_nothing(
    uses: list[dict[str, Any]], cuts: list[int]
) -> None:
    entries = [entry(offset, use) for offset, use in enumerate(uses)]
    inner = [cut for cut in cuts if cut <= len(entries)]
    assert run(entries, inner) == run(entries, [])


@given(st.lists(USES, max_size=20), st.lists(st.integers(0, 19), max_size=10))
def test_copies_change_no_total(uses: list[dict[str, Any]], copied: list[int]) -> None:
    keyed = [use | {"idempotency_key": str(number)} for number, use in enumerate(uses)]
    copies = [keyed[index] for index in copied if index < len(keyed)]
    once = run([entry(offset, use) for offset, use in enumerate(keyed)], [])
    again = run([entry(offset, use) for offset, use in enumerate(keyed + copies)], [])
    assert again["totals"] == once["totals"]
    assert again["duplicates"] == len(copies)


@given(st.lists(USES, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_different_events_changes_no_total(
    uses: list[dict[str, Any]], chance: Random
) -> None:
    keyed = [use | {"idempotency_key": str(number)} for number, use in enumerate(uses)]
    shuffled = chance.sample(keyed, len(keyed))
    one, other = (
        run([entry(offset, use) for offset, use in enumerate(order)], [])
        for order in (keyed, shuffled)
    )
    assert one["totals"] == other["totals"]
    assert sorted(one["accepted"]) == sorted(other["accepted"])


@given(st.lists(USES, max_size=20))
def test_totals_are_the_sums_of_what_is_accepted_and_covered(uses: list[dict[str, Any]]) -> None:
    unkeyed = [{k: v for k, v in use.items() if k != "idempotency_key"} for use in uses]
    result = run([entry(offset, use) for offset, use in enumerate(unkeyed)], [])
    covered = [
        use
        for use in unkeyed
        if use["usage_product_ref"] != UNPRICED_METER and use["timestamp"] >= "2024"
    ]
    expected = sum(
        Fraction(1) if use["usage_product_ref"] == COUNT_METER else Fraction(use["quantity"])
        for use in covered
    )
    quantity = sum(quantity for quantity, _ in result["totals"].values())
    assert Fraction(quantity, 10**QUANTITY_DIGITS) == expected
    assert sum(count for _, count in result["totals"].values()) == len(covered)
    assert len(result["unrated"]) == len(unkeyed) - len(covered)


def test_each_line_of_a_meter_is_added_to_once() -> None:
    kept = memory()
    customer = kept.customers[CUSTOMERS[0]]
    customer.lines[0] *= 2
    poll = read(entry(0, {**use_of(CUSTOMERS[0]), "quantity": 3}))
    folded = fold(poll.arrivals, kept, {})
    assert list(folded.totals.values()) == [[6 * ONE, 2]]


def use_of(customer_ref: str) -> dict[str, Any]:
    return {"customer_ref": customer_ref, "usage_product_ref": SUM_METER, "quantity": 1}


def read(*entries: Entry, log: Log = LOG) -> Poll:
    return decode(entries, log, 0, len(entries), TENANT.tenant_ref)


def test_gaps_in_the_offsets_are_told_apart_from_records() -> None:
    entries = [entry(offset, use_of(CUSTOMERS[0])) for offset in (2, 3, 7)]
    poll = decode(entries, LOG, 0, 10, TENANT.tenant_ref)
    assert poll.skipped == [(0, 2), (4, 7), (8, 10)]
    assert (poll.next_offset, poll.last_offset) == (10, 7)


def test_a_stretch_without_records_is_a_gap_as_a_whole() -> None:
    poll = decode([], LOG, 5, 9, TENANT.tenant_ref)
    assert (poll.skipped, poll.next_offset, poll.last_digest) == ([(5, 9)], 9, None)
    assert decode([], LOG, 5, 5, TENANT.tenant_ref).is_empty


def test_a_record_must_lie_where_its_customer_lives() -> None:
    home = partition_of(shard_key(CUSTOMERS[0]), 7)
    for partition in range(7):
        poll = read(entry(0, use_of(CUSTOMERS[0])), log=Log(LOG.log_id, partition, 7))
        reasons = [letter.reason for letter in poll.dead]
        assert reasons == ([] if partition == home else ["WRONG_PARTITION"])


def test_the_tenant_is_in_the_refs_of_its_events() -> None:
    (arrival,) = read(entry(0, use_of(CUSTOMERS[0]))).arrivals
    assert arrival.ref >> 80 & 0b11111 == tenant_bits(TENANT.tenant_ref)


@given(
    st.integers(0, 100 * 86_400_000_000).map(lambda us: BOUNDS[0] + timedelta(microseconds=us))
    | st.sampled_from(BOUNDS)
)
def test_the_month_and_the_one_close_by_are_those_of_the_instant(instant: datetime) -> None:
    micros = to_micros(instant)
    text = instant.isoformat()
    (arrival,) = read(
        entry(0, {**use_of(CUSTOMERS[0]), "timestamp": text, "idempotency_key": "k"})
    ).arrivals
    neighbour = neighbour_month(micros)
    assert month_of(arrival.ref) == month_index(micros)
    assert arrival.alias == (0 if neighbour is None else with_month(arrival.ref, neighbour))
