"""Amendments, folded: any history comes to what a plain walk over it comes to, in any polls."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rater.amend import Amended, EventNow, Known, Limits, amend, concerned
from rater.arrivals import AmendmentArrival, Poll
from rater.decoding import decode
from rater.fold import Folded, fold
from rater.waiting import Pending, Waiting, may_mean, meanings
from schemas.event_ref import month_of, ref_text, with_month
from schemas.money import QUANTITY_DIGITS
from schemas.retrying import Origin
from tests.unit.rater.test_fold import (
    COUNT_METER,
    CUSTOMERS,
    LOG,
    SUM_METER,
    TENANT,
    UNPRICED_METER,
    Entry,
    entry,
    memory,
)

TIMES = (
    "2023-12-30T12:00:00Z", "2024-01-01T00:00:00Z", "2024-01-15T00:00:00Z",
    "2024-01-31T12:00:00Z", "2024-02-01T12:00:00Z", "2024-02-15T00:00:00Z",
)  # fmt: skip
KEYS = ("a", "b", "c")
WAIT_MS = 1_000
START_MS = 1_750_000_000_000


class Step(msgspec.Struct, frozen=True):
    """One record of a history: a use, an update or a delete of the event with the same name.

    hop: by how many months an amendment misnames its event, as the ref of a copy does.
    pause: milliseconds since the record before it.
    """

    kind: str
    customer: str
    key: str
    meter: str
    at: str | None
    quantity: int | None
    hop: int
    pause: int


STEPS = st.builds(
    Step,
    kind=st.sampled_from(["USAGE", "USAGE", "UPDATE", "UPDATE", "DELETE"]),
    customer=st.sampled_from(CUSTOMERS[:2]),
    key=st.sampled_from(KEYS),
    meter=st.sampled_from([SUM_METER, COUNT_METER, UNPRICED_METER]),
    at=st.none() | st.sampled_from(TIMES),
    quantity=st.none() | st.integers(-50, 50),
    hop=st.sampled_from([0, 0, 0, -1, 1]),
    pause=st.sampled_from([0, 1, 1, 1, WAIT_MS // 2, WAIT_MS]),
)
HISTORIES = st.lists(STEPS, max_size=30)


def first_at(key: str) -> str:
    """Return when the event of a key happened at first: no key is used again far away."""
    return TIMES[KEYS.index(key) * 2]


def ref_of(step: Step) -> int:
    """Return the ref of the event that a step is about."""
    use = {
        "customer_ref": step.customer,
        "usage_product_ref": SUM_METER,
        "quantity": 1,
        "timestamp": first_at(step.key),
        "idempotency_key": step.key,
    }
    (arrival,) = decode([entry(0, use)], LOG, 0, 1, TENANT.tenant_ref).arrivals
    return arrival.ref


def entries(history: list[Step]) -> list[Entry]:
    """Write a history as a log."""
    written, now = [], START_MS
    for offset, step in enumerate(history):
        now += step.pause
        fields: dict[str, Any] = {"v": 1, "kind": step.kind, "customer_ref": step.customer}
        if step.kind == "USAGE":
            fields |= {
                "usage_product_ref": step.meter,
                "quantity": step.quantity or 0,
                "timestamp": first_at(step.key),
                "idempotency_key": step.key,
            }
        else:
            ref = ref_of(step)
            fields["event_ref"] = ref_text(with_month(ref, month_of(ref) + step.hop))
        if step.kind == "UPDATE":
            fields |= {} if step.at is None else {"timestamp": step.at}
            if step.quantity is not None or step.at is None:
                fields["quantity"] = step.quantity or 0
        written.append(Entry(offset, now, step.customer.encode(), msgspec.json.encode(fields)))
    return written


class Database:
    """What is kept between polls, as the tables keep it."""

    def __init__(self) -> None:
        self.events: dict[int, EventNow] = {}
        self.fingerprints: dict[int, int] = {}
        self.waiting = Waiting()
        self.records: dict[int, AmendmentArrival] = {}
        self.unrated: set[int] = set()
        self.totals: dict[tuple[str, int, int], tuple[int, int]] = {}
        self.versions: list[tuple[int, int, str, int, int]] = []
        self.dead: Counter[tuple[int, str]] = Counter()
        self.counts: Counter[str] = Counter()
        self.applied: set[Origin] = set()

    def keep(self, poll: Poll, folded: Folded, amended: Amended) -> None:
        """Save a poll."""
        for row in folded.accepted:
            arrival = row.arrival
            self.events[arrival.ref] = EventNow(
                arrival.ref,
                arrival.shard_key,
                row.customer.tenant.tenant_id,
                row.customer.customer_id,
                row.meter_id,
                arrival.event.occurred_at_micros,
                arrival.event.quantity,
                arrival.event.additional_data,
                is_unrated=False,
            )
        self.unrated |= {row.arrival.ref for row in folded.unrated}
        self.unrated |= {event.ref for event in amended.unrated}
        self.unrated -= {event.ref for event in amended.rated}
        for version in amended.versions:
            self.events[version.event.ref] = version.event
            event, amendment = version.event, version.arrival
            state = (event.occurred_at_micros, event.quantity)
            self.versions.append((event.ref, amendment.offset, amendment.amendment.kind, *state))
            self.applied.add(amendment.origin or Origin(0, amendment.offset))
        for one in amended.waited:
            self.waiting.remove(one)
        for one, record in amended.waiting:
            self.waiting.add(one)
            self.records[one.offset] = record
        for totals in (folded.totals, amended.totals):
            for charge, (quantity, count) in totals.items():
                place = (
                    charge.line.product.ref.hex,
                    charge.line.meter_id or 0,
                    charge.period.start,
                )
                before = self.totals.get(place, (0, 0))
                self.totals[place] = (before[0] + quantity, before[1] + count)
        self.dead.update((letter.offset, letter.reason) for letter in poll.dead + amended.dead)
        self.counts.update(
            events=len(folded.accepted),
            repeats=folded.duplicates + len(folded.conflicts) + amended.duplicates,
            amendments=amended.count,
        )

    def result(self) -> dict[str, Any]:
        """Return all that a log has come to."""
        assert all(count >= 0 for _, count in self.totals.values())
        return {
            "totals": {place: total for place, total in self.totals.items() if total[1]},
            "unrated": self.unrated,
            "versions": sorted(self.versions),
            "waiting": [one.offset for one in self.waiting.in_order()],
            "dead": self.dead,
            "counts": self.counts,
        }


def run(log: list[Entry], cuts: list[int], limits: Limits) -> dict[str, Any]:
    """Rate a log that is cut into polls at some places; return all that it comes to."""
    database, kept = Database(), memory()
    for start, end in pairwise([0, *sorted(cuts), len(log)]):
        poll = decode(log[start:end], LOG, start, end, TENANT.tenant_ref)
        folded = fold(poll.arrivals, kept, database.fingerprints)
        before = {
            ref: msgspec.structs.replace(event, is_unrated=ref in database.unrated)
            for ref, event in database.events.items()
        }
        last = poll.last_appended_at
        applied = set(database.applied)
        known = Known(0, last, database.waiting, limits, before, applied, database.records)
        met = concerned(poll.amendments, folded.accepted, database.waiting)
        amended = amend(poll.amendments, met, folded.unrated, kept, known)
        database.keep(poll, folded, amended)
    return database.result()


NO_LIMITS = Limits(1_000, 1_000_000)
LIMITS = Limits(2, WAIT_MS)


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.lists(st.integers(0, 30), max_size=5), st.sampled_from([NO_LIMITS, LIMITS]))
def test_where_a_history_is_cut_into_polls_changes_nothing(
    history: list[Step], cuts: list[int], limits: Limits
) -> None:
    log = entries(history)
    inner = [cut for cut in cuts if cut <= len(log)]
    whole = run(log, [], limits)
    assert run(log, inner, limits) == whole
    assert run(log, list(range(1, len(log))), limits) == whole


@settings(max_examples=100, deadline=None)
@given(HISTORIES)
def test_a_history_comes_to_what_a_plain_walk_over_it_comes_to(history: list[Step]) -> None:
    expected: dict[tuple[str, str, str], tuple[Fraction, int]] = {}
    unrated = 0
    for _, meter, at, quantity in walk(history):
        if meter == UNPRICED_METER or at < "2024":
            unrated += 1
            continue
        name = (meter, at[:7], "")
        added = Fraction(1 if meter == COUNT_METER else quantity)
        total, count = expected.get(name, (Fraction(0), 0))
        expected[name] = (total + added, count + 1)
    result = run(entries(history), [], NO_LIMITS)
    found = sorted((Fraction(q, 10**QUANTITY_DIGITS), n) for q, n in by_month(result).values())
    assert found == sorted(expected.values())
    assert len(result["unrated"]) == unrated
    counts = result["counts"]
    assert counts.total() + result["dead"].total() == len(history)
    assert counts["amendments"] == len(result["versions"]) + len(result["waiting"])
    kinds: dict[int, str] = {}
    for ref, _, kind, *_ in result["versions"]:
        assert kinds.get(ref) != "DELETE" or kind == "DELETE", "deleted is final"
        kinds[ref] = kind


def by_month(result: dict[str, Any]) -> dict[tuple[int, int], tuple[int, int]]:
    """Add the charges of all customers up, by meter and period."""
    totals: dict[tuple[int, int], tuple[int, int]] = {}
    for (_, meter, start), (quantity, count) in result["totals"].items():
        before = totals.get((meter, start), (0, 0))
        totals[meter, start] = (before[0] + quantity, before[1] + count)
    return totals


def walk(history: list[Step]) -> list[tuple[str, str, str, int]]:
    """Walk over a history in order; return who used what, when and how much, as it counts."""
    events: dict[tuple[str, str], tuple[str, str, str, int] | None] = {}
    early: dict[tuple[str, str], list[Step]] = {}
    for step in history:
        name = (step.customer, step.key)
        if step.kind != "USAGE":
            if name in events:
                events[name] = changed(events[name], step)
            else:
                early.setdefault(name, []).append(step)
        elif name not in events:
            events[name] = (step.customer, step.meter, first_at(step.key), step.quantity or 0)
            for change in early.get(name, ()):
                events[name] = changed(events[name], change)
    return [event for event in events.values() if event is not None]


def changed(
    event: tuple[str, str, str, int] | None, step: Step
) -> tuple[str, str, str, int] | None:
    if event is None or step.kind == "DELETE":
        return None
    customer, meter, at, quantity = event
    if step.quantity is not None or step.at is None:
        quantity = step.quantity or 0
    return customer, meter, step.at or at, quantity


@given(HISTORIES)
def test_what_waits_is_bounded_in_number_and_time(history: list[Step]) -> None:
    log = entries(history)
    result = run(log, [], LIMITS)
    last = log[-1].timestamp if log else 0
    appended = [log[offset].timestamp for offset in result["waiting"]]
    assert len(appended) <= LIMITS.waiting_max
    assert all(at + WAIT_MS > last for at in appended)


@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 2]])
@pytest.mark.parametrize(("pauses", "is_applied"), [((999, 0), True), ((999, 1), False)])
def test_an_event_that_comes_too_late_is_not_amended(
    cuts: list[int], pauses: tuple[int, int], is_applied: bool
) -> None:
    change, other, use = (
        Step(kind, CUSTOMERS[0], key, SUM_METER, None, 7, 0, pause)
        for kind, key, pause in zip(
            ["UPDATE", "USAGE", "USAGE"], ["a", "b", "a"], [0, *pauses], strict=True
        )
    )
    result = run(entries([change, other, use]), cuts, LIMITS)
    assert len(result["versions"]) == is_applied
    assert result["dead"] == Counter() if is_applied else {(0, "EVENT_UNKNOWN"): 1}


def test_one_that_is_retried_is_neither_applied_nor_waits_twice() -> None:
    use, change = (
        Step(kind, CUSTOMERS[0], "a", SUM_METER, None, 7, 0, 1) for kind in ("USAGE", "UPDATE")
    )
    log = [*entries([change, change, use, change])]
    for retried in (log[1], log[3]):
        retried.headers = [("meterline-origin", b"0,900")]
    result = run(log, [], NO_LIMITS)
    assert [offset for _, offset, *_ in result["versions"]] == [0, 1]


def test_the_refs_that_an_amendment_may_mean_are_a_month_apart_at_most() -> None:
    ref = with_month(ref_of(Step("UPDATE", CUSTOMERS[0], "a", SUM_METER, None, 1, 0, 0)), 100)
    assert [month_of(meant) for meant in meanings(ref)] == [100, 99, 101]
    assert [month_of(meant) for meant in meanings(with_month(ref, 0))] == [0, 1]
    assert all(may_mean(ref, meant) for meant in meanings(ref))
    assert not may_mean(ref, with_month(ref, 102))
    assert not may_mean(ref, ref ^ 1)


def test_what_waits_is_remembered_by_event_tenant_and_age() -> None:
    ref = ref_of(Step("UPDATE", CUSTOMERS[0], "a", SUM_METER, None, 1, 0, 0))
    first, second = Pending(ref, 1, 10, 7, None), Pending(ref ^ 1, 2, 20, 7, None)
    waiting = Waiting([first, second])
    assert (len(waiting), waiting.by_tenant[7], waiting.oldest()) == (2, 2, 10)
    assert waiting.for_event(ref) == [first]
    assert waiting.appended_by(10) == [first]
    waiting.remove(first)
    assert (waiting.for_event(ref), waiting.in_order()) == ([], [second])
    with pytest.raises(KeyError):
        waiting.remove(first)
