"""Determinism: in whatever order a log comes, however cut and repeated, it comes to the same.

What an order may not change: of one event, which of its copies is first, and which amendment
follows which. All else may: events of others in between, an amendment before its event, copies
later, polls anywhere. A second opinion, the fold of `verify --full-replay`, has to agree as well.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.verify.replay.counting import Line, Use
from deploy.verify.replay.judging import ALWAYS, TABLES, Family, Feeds, Outcomes
from deploy.verify.replay.reading import (
    ARRIVAL,
    Place,
    arrival_row,
    may_have_waited,
    read_record,
)
from schemas.event_ref import shard_key
from schemas.retrying import ORIGIN_HEADER, Origin, decode_origin, encode_origin
from tests.unit.rater.test_amend import HISTORIES, NO_LIMITS, Step, entries, run
from tests.unit.rater.test_fold import COUNT_METER, CUSTOMERS, LOG, TENANT, Entry
from tests.unit.rater.test_fold import SUM_METER as SUM
from tests.unit.rater.test_fold import UNPRICED_METER as UNPRICED

METERS = (SUM, COUNT_METER, UNPRICED)
FIRST_PLACE = 900
"""Where amendments say that they were before: so that a copy of one is known as such."""


def told(history: Sequence[tuple[int, Step]]) -> list[Entry]:
    """Write numbered steps as a log; amendments name their number as their first place."""
    log = entries([msgspec.structs.replace(step, pause=1) for _, step in history])
    for entry, (number, step) in zip(log, history, strict=True):
        if step.kind != "USAGE":
            place = Origin(0, FIRST_PLACE + number)
            entry.headers = [(ORIGIN_HEADER, encode_origin(place))]
    return log


def shuffled(history: Sequence[Step], random: Random) -> list[tuple[int, Step]]:
    """Return the steps in another order; the uses of an event, and its amendments, keep theirs."""
    queues: dict[tuple[str, str, bool], list[tuple[int, Step]]] = {}
    for number, step in enumerate(history):
        key = (step.customer, step.key, step.kind == "USAGE")
        queues.setdefault(key, []).append((number, step))
    waiting = [queue[::-1] for queue in queues.values()]
    order: list[tuple[int, Step]] = []
    while waiting:
        queue = random.choice(waiting)
        order.append(queue.pop())
        waiting = [queue for queue in waiting if queue]
    return order


def repeated(
    order: Sequence[tuple[int, Step]], random: Random
) -> tuple[list[tuple[int, Step]], int]:
    """Return the steps with copies of some behind them, and how many of these there are."""
    log = list(order)
    copies = [random.randrange(len(order)) for _ in range(random.randint(0, 8))] if order else []
    for number in copies:
        place = log.index(order[number])
        log.insert(random.randint(place + 1, len(log)), order[number])
    return log, len(copies)


def outcome(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a result may not depend on the order: all but places."""
    return {
        "totals": result["totals"],
        "unrated": result["unrated"],
        "versions": Counter((ref, kind, *state) for ref, _, kind, *state in result["versions"]),
        "waiting": len(result["waiting"]),
        "dead": Counter(reason for _, reason in result["dead"].elements()),
        "events": result["counts"]["events"],
        "amendments": result["counts"]["amendments"],
    }


def check_any_order(history: Sequence[Step], random: Random, cuts: Sequence[int]) -> None:
    """Compare a history with itself, told in another order, with copies, in other polls."""
    first = run(told(list(enumerate(history))), [], NO_LIMITS)
    log, copies = repeated(shuffled(history, random), random)
    again = run(told(log), [cut for cut in cuts if cut <= len(log)], NO_LIMITS)
    # An amendment that is refused dies again with each copy; what counts is the rest.
    dead = outcome(again)["dead"].total() - outcome(first)["dead"].total()
    assert outcome(again) | {"dead": None} == outcome(first) | {"dead": None}
    assert again["counts"]["repeats"] == first["counts"]["repeats"] + copies - dead


CUTS = st.lists(st.integers(0, 40), max_size=6)


@settings(max_examples=300)
@given(HISTORIES, st.randoms(use_true_random=False), CUTS)
def test_neither_order_nor_copies_nor_polls_change_what_a_log_comes_to(
    history: list[Step], random: Random, cuts: list[int]
) -> None:
    check_any_order(history, random, cuts)


@pytest.mark.long
@settings(max_examples=10_000)
@given(HISTORIES, st.randoms(use_true_random=False), CUTS)
def test_ten_thousand_logs_come_to_the_same_in_any_order_and_polls(
    history: list[Step], random: Random, cuts: list[int]
) -> None:
    check_any_order(history, random, cuts)


# ---------------------------------------------------------------- the second opinion


FEEDS: Feeds = {
    number: [
        {
            "toward_id": number,
            "factor": Decimal(1),
            "formula": None,
            "aggregation": "COUNT" if ref == COUNT_METER else "SUM",
            "unique_key": None,
        }
    ]
    for number, ref in enumerate(METERS)
}
"""Each meter's events count in its own lines alone."""


def replayed(log: Sequence[Entry], dead: Mapping[int, str]) -> Outcomes:
    """Judge a log as the full replay does. dead: the dead letters' reasons, which are given."""
    outcomes = Outcomes()
    families: dict[UUID, Family] = {}
    place = Place(LOG.log_id, 0, 1)
    for record in log:
        read = read_record(record, place)
        reason = dead.get(record.offset)
        if reason is not None and not may_have_waited(read, reason):
            continue
        assert read.body is not None, read.error
        origin = decode_origin(record.headers[0][1]) if record.headers else None
        columns = arrival_row(read, place, TENANT.tenant_ref, origin, is_dead=reason is not None)
        row = joined(dict(zip(ARRIVAL, columns, strict=True)))
        families.setdefault(row["stem"], Family(outcomes, FEEDS)).take(row)
    for family in families.values():
        family.end()
    assert outcomes.broken == []
    return outcomes


def joined(row: dict[str, Any]) -> dict[str, Any]:
    """Return an arrival with what the database knows of its customer and meter."""
    meter = row["meter_ref"]
    return {
        **row,
        "customer_id": CUSTOMERS.index(row["customer_ref"]),
        "tenant_id": TENANT.tenant_id,
        "own_tenant_ref": TENANT.tenant_ref,
        "meter_id": None if meter is None else METERS.index(meter),
        "meter_tenant_id": TENANT.tenant_id,
        "retried_partition": None,
        "retried_offset": None,
    }


def line(customer: int, meter: int) -> Line:
    """Return the line that the fold's memory has of a customer and a meter."""
    ref = CUSTOMERS[customer]
    terms = ("billing_start_date", "billing_end_date", "cycle_unit", "cycle_length", "issue_day")
    values = (date(2024, 1, 1), None, "MONTHLY", 1, None)
    return Line(
        {
            **dict(zip(terms, values, strict=True)),
            "payment_time": "AFTER_USE",
            "timezone": "UTC",
            "since_date": None,
            "until_date": None,
            "ahead_since": None,
            "shard_key": shard_key(ref),
            "tenant_ref": TENANT.tenant_ref,
            "tenant_id": TENANT.tenant_id,
            "contract_product_ref": UUID(int=customer),
            "contract_line_ref": UUID(int=10 * customer + meter),
            "pricing_line_id": 1,
            "price": '{"model": "PER_UNIT", "price": "2"}',
            "aggregation": "COUNT" if METERS[meter] == COUNT_METER else "SUM",
            "meter_id": meter + 1,
            "start_ats": None,
            "numbers": None,
            "offsets": None,
        }
    )


def totals_at(outcomes: Outcomes, offset: int) -> tuple[dict[Any, tuple[int, int]], set[int]]:
    """Return each charge's total, and what no line covers, of all that came before an offset."""
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for columns in outcomes.rows["replay_counted"]:
        row: dict[str, Any] = dict(zip(TABLES["replay_counted"], columns, strict=True))
        if row["since"] < offset <= row["until"]:
            groups.setdefault((row["customer_id"], row["meter_id"]), []).append(row)
    totals: dict[Any, tuple[int, int]] = {}
    unrated: set[int] = set()
    for (customer, meter), rows in groups.items():
        own = line(customer, meter)
        for row in rows:
            use = Use.of({**row, "since": 0, "until": ALWAYS})
            if METERS[meter] == UNPRICED or not own.add(use):
                unrated.add(use.ref.int)
        for charge in own.charges.values():
            place = (UUID(int=customer).hex, meter, charge.span.start)
            totals[place] = (charge.totals[0].sum, charge.totals[0].count)
    return totals, unrated


def check_second_opinion(history: Sequence[Step], random: Random, cuts: Sequence[int]) -> None:
    """Compare the rater's fold with the replay's: at the end, and at places before it."""
    order, _ = repeated(list(enumerate(history)), random)
    log = told(order)
    result = run(log, [], NO_LIMITS)
    outcomes = replayed(log, dict(result["dead"].keys()))
    for cut in [len(log), *(cut for cut in cuts if 0 < cut < len(log))]:
        before = result if cut == len(log) else run(log[:cut], [], NO_LIMITS)
        offset = ALWAYS if cut == len(log) else cut
        assert totals_at(outcomes, offset) == (before["totals"], before["unrated"])
    counts = result["counts"]
    assert len(outcomes.rows["replay_event"]) == counts["events"]
    repeats = outcomes.duplicates.total() + outcomes.conflicts.total()
    assert repeats == counts["repeats"]
    assert outcomes.amendments.total() == counts["amendments"]
    names = TABLES["replay_version"]
    found: list[dict[str, Any]] = [
        dict(zip(names, row, strict=True)) for row in outcomes.rows["replay_version"]
    ]
    versions = sorted((row["event_ref"].int, row["rated_at"], row["kind"]) for row in found)
    assert versions == sorted((ref, at, kind) for ref, at, kind, *_ in result["versions"])
    assert len(outcomes.rows["replay_pending"]) == len(result["waiting"])


@settings(max_examples=200)
@given(HISTORIES, st.randoms(use_true_random=False), CUTS)
def test_the_full_replay_and_the_rater_agree_on_any_history_and_at_any_place_in_it(
    history: list[Step], random: Random, cuts: list[int]
) -> None:
    check_second_opinion(history, random, cuts)


@pytest.mark.long
@settings(max_examples=10_000)
@given(HISTORIES, st.randoms(use_true_random=False), CUTS)
def test_the_full_replay_and_the_rater_agree_on_ten_thousand_histories(
    history: list[Step], random: Random, cuts: list[int]
) -> None:
    check_second_opinion(history, random, cuts)


def test_a_copy_of_what_waited_and_died_as_its_event_came_was_a_duplicate() -> None:
    use, change, delete = (
        Step(kind, CUSTOMERS[0], "a", SUM, None, 7, 0, 1) for kind in ("USAGE", "UPDATE", "DELETE")
    )
    log = told([(0, delete), (1, change), (1, change), (2, use)])
    result = run(log, [], NO_LIMITS)
    assert dict(result["dead"].keys()) == {1: "EVENT_DELETED"}
    assert replayed(log, {1: "EVENT_DELETED"}).duplicates[0] == result["counts"]["repeats"] == 1
