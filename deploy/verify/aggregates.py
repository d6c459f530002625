"""Totals of meters that add up otherwise than by sums and counts, folded anew in fractions.

It shares no line with `schemas/aggregation.py`: a customer's events of a meter are read as they
were, and each period is computed from the whole list, in the plain way.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

import asyncpg

from deploy.verify.check import CannotCheck, Finding, Scope
from deploy.verify.formula import EventNames, evaluate
from deploy.verify.oracle import exact, rounded
from runtime.postgres import Queries

queries = Queries.beside(__file__, "aggregates.sql")

_MICROSECOND = timedelta(microseconds=1)
_DIGITS = 18


async def check_aggregates(scope: Scope, finding: Finding, *, are_charges: bool) -> None:
    """Compare every total of such a meter with what its events come to."""
    group: list[asyncpg.Record] = []
    async for row in scope.rows(queries.targets, scope.tenant_id, are_charges):
        if group and _owner(group[0]) != _owner(row):
            await _check_group(scope, finding, group)
            group = []
        group.append(row)
    if group:
        await _check_group(scope, finding, group)


def _owner(row: asyncpg.Record) -> tuple[int, int, int]:
    return row["shard_key"], row["customer_id"], row["meter_id"]


async def _check_group(scope: Scope, finding: Finding, group: Sequence[asyncpg.Record]) -> None:
    """Check the totals that one list of events is behind."""
    story = await scope.connection.fetch(queries.story, *_owner(group[0]))
    for row in group:
        events = [
            event for event in story if event["since"] < row["rated_before"] <= event["until"]
        ]
        own = [event for event in events if row["start_at"] <= event["occurred_at"] < row["end_at"]]
        place = f"line {row['contract_line_ref']} of period {row['period_ref']}"
        if row["cut_number"]:
            place += f" at cut {row['cut_number']}"
        if row["missing"]:
            if own:
                finding.broken(f"{place}: {len(own)} events and no charge")
            continue
        try:
            expected = total(row, own, events)
        except CannotCheck as error:
            finding.notes.append(str(error))
            continue
        found = Fraction(row["exact_quantity"] or row["quantity"])
        if (found, row["event_count"]) != (expected, len(own)):
            finding.broken(
                f"{place}: {exact(found)} of {row['event_count']} events, "
                f"its events make {exact(expected)} of {len(own)}"
            )


def total(
    row: asyncpg.Record, own: Sequence[asyncpg.Record], events: Sequence[asyncpg.Record]
) -> Fraction:
    """Return what a period's events come to. events: those of other periods, too; all in order."""
    aggregation = row["aggregation"]
    if aggregation == "TIME_WEIGHTED":
        return _weighted(row, own, events)
    if aggregation == "UNIQUE":
        return Fraction(len(_values(row["unique_key"], own)))
    if aggregation == "COUNT":
        return sum((_factor(event) for event in own), Fraction(0))
    quantities = [counted(event) for event in own]
    return _OF_QUANTITIES[aggregation](quantities) if quantities else Fraction(0)


def counted(event: asyncpg.Record) -> Fraction:
    """Return what an event counts as in a line: what its own meter's formula makes, by a factor."""
    quantity = billed_as(Fraction(event["quantity"]), event["additional_data"], event["formula"])
    return rounded(quantity * Fraction(event["factor"]), _DIGITS)


def billed_as(quantity: Fraction, data: str | None, formula: str | None) -> Fraction:
    """Return what a formula makes of a quantity, and of an event's additional data."""
    if formula is None:
        return quantity
    return rounded(evaluate(formula, EventNames(quantity, data)), _DIGITS)


def _factor(event: asyncpg.Record) -> Fraction:
    """Return what an event counts as where events are counted."""
    return rounded(Fraction(event["factor"]), _DIGITS)


def _average(quantities: Sequence[Fraction]) -> Fraction:
    return sum(quantities, Fraction(0)) / len(quantities)


def _running(quantities: Sequence[Fraction]) -> Fraction:
    so_far = means = Fraction(0)
    for count, quantity in enumerate(quantities, 1):
        so_far += quantity
        means += rounded(so_far / count, _DIGITS)
    return means / len(quantities)


_OF_QUANTITIES: Final[Mapping[str, Callable[[Sequence[Fraction]], Fraction]]] = {
    "SUM": lambda quantities: sum(quantities, Fraction(0)),
    "MAX": max,
    "LAST": lambda quantities: quantities[-1],
    "AVERAGE": _average,
    "RUNNING_AVERAGE": _running,
}


def _values(key: str, events: Sequence[asyncpg.Record]) -> set[str]:
    """Return the different values of a key: texts, numbers as they are written, true and false."""
    found: set[str] = set()
    for event in events:
        if event["additional_data"] is None:
            continue
        data = json.loads(event["additional_data"], parse_int=str, parse_float=str)
        value = data.get(key)
        if isinstance(value, bool):
            value = str(value).lower()
        if isinstance(value, str):
            found.add(value)
    return found


def _is_in(instant: datetime, spans: Sequence["asyncpg.Range[datetime]"]) -> bool:
    """Tell whether an instant lies in one of several spans of time, which all begin."""
    return any(
        span.lower is not None
        and span.lower <= instant
        and (span.upper is None or instant < span.upper)
        for span in spans
    )


def _weighted(
    row: asyncpg.Record, own: Sequence[asyncpg.Record], events: Sequence[asyncpg.Record]
) -> Fraction:
    """Let each value hold until the next, the last one of the contract's earlier periods first.

    Of what it was before an edit, too, as far as it had such a line.
    """
    start: datetime = row["start_at"]
    end: datetime = row["end_at"]
    earlier = [
        event
        for event in events
        if event["occurred_at"] < start and _is_in(event["occurred_at"], row["before"])
    ]
    value = counted(earlier[-1]) if earlier else Fraction(0)
    area, since = Fraction(0), start
    for event in own:
        area += value * ((event["occurred_at"] - since) // _MICROSECOND)
        value, since = counted(event), event["occurred_at"]
    area += value * ((end - since) // _MICROSECOND)
    return area / int((end - start) // _MICROSECOND)
