"""Events billed by documents of their own: each is walked through again, change by change."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any, Final

import asyncpg

from deploy.verify.aggregates import billed_as
from deploy.verify.check import Check, Finding, Scope, plural
from deploy.verify.oracle import (
    HUNDRED,
    Days,
    Price,
    bounded,
    cell_of,
    events_amount,
    exact,
    line_amount,
    read_price,
    rounded,
    usage_amount,
)
from runtime.postgres import Queries
from schemas.money import currency_digits

queries = Queries.beside(__file__, "event_documents.sql")

_LINE: Final = ("shard_key", "contract_ref", "contract_line_ref", "period_ref")

Billed = dict[tuple[Any, ...], Fraction]
"""What documents bill, by the columns of _LINE, the change and the cell."""


async def check_event_documents(scope: Scope, finding: Finding) -> None:
    """Walk through the changes of events, and compare each with what its document bills."""
    finding.counted = await scope.count(queries.documents_counted, scope.tenant_id)
    async for row in scope.rows(queries.documents_broken, scope.tenant_id):
        finding.broken(row["witness"])
    billed: Billed = {}
    async for row in scope.rows(queries.billed, scope.tenant_id):
        billed[(*_line_of(row), row["due_id"], row["cell"])] = Fraction(row["amount"])
    waiting = await _walk_all(scope, finding, billed)
    for place, amount in billed.items():
        if amount:
            finding.broken(f"change {place[-2]} of no event bills {exact(amount)} of {place[2]}")
    late = sum(waiting.values())
    if late:
        finding.broken(f"{plural(late, 'changes')} of events have no documents", by=late)
    if len(waiting) > late:
        finding.notes.append(f"{plural(len(waiting) - late, 'changes')} of events on the way")


async def _walk_all(scope: Scope, finding: Finding, billed: Billed) -> Mapping[Any, bool]:
    """Follow all lines; return the changes without documents yet, and whether they are late."""
    waiting: dict[tuple[Any, int], bool] = {}
    own: list[asyncpg.Record] = []
    async for row in scope.rows(queries.changes, scope.tenant_id):
        if not row["is_billed"]:
            waiting[row["contract_ref"], row["due_id"]] = row["is_late"]
            continue
        if own and _line_of(row) != _line_of(own[0]):
            _walk(finding, own, billed)
            own = []
        own.append(row)
    if own:
        _walk(finding, own, billed)
    return waiting


def _line_of(row: asyncpg.Record) -> tuple[Any, ...]:
    return tuple(row[name] for name in _LINE)


class _State:
    """What events have made of a line so far."""

    def __init__(self, head: asyncpg.Record) -> None:
        self.price: Price = read_price(head["price"])
        self.days = Days.between(
            head["start_date"], head["end_date"], head["full_start_date"], head["full_end_date"]
        )
        self.digits = currency_digits(head["currency"])
        self.events: dict[Any, tuple[Any, Fraction]] = {}
        self.cells: dict[str, tuple[Fraction, int]] = {}

    def move(self, row: asyncpg.Record) -> None:
        """Count an event in, or out."""
        quantity = billed_as(Fraction(row["quantity"]), row["additional_data"], row["formula"])
        sign = row["sign"]
        is_matrix = self.price.model == "MATRIX"
        cell = cell_of(self.price, row["additional_data"]) if is_matrix else ""
        total, count = self.cells.get(cell, (Fraction(0), 0))
        self.cells[cell] = (total + sign * quantity, count + sign)
        if sign > 0:
            self.events[row["event_ref"]] = (row["occurred_at"], quantity)
        else:
            del self.events[row["event_ref"]]

    def amounts(self) -> Mapping[str, Fraction]:
        """Price the line as it stands, rounded; each cell by itself."""
        price = self.price
        if price.model == "MATRIX":
            return self._cell_amounts()
        total, count = self.cells.get("", (Fraction(0), 0))
        usage = None
        if price.each is not None:
            ordered = sorted((at, ref.int, quantity) for ref, (at, quantity) in self.events.items())
            usage = events_amount(price, [quantity for *_, quantity in ordered])
        return {"": line_amount(price, total, count, self.days, self.digits, usage)}

    def _cell_amounts(self) -> Mapping[str, Fraction]:
        price, usage = self.price, Fraction(0)
        amounts: dict[str, Fraction] = {}
        for cell, (total, count) in self.cells.items():
            own = usage_amount(price, total, count, cell)
            usage += own
            amounts[cell] = rounded(own - own * price.discount / HUNDRED, self.digits)
        if bounded(price, usage, self.days, self.digits) != usage:
            whole = line_amount(price, Fraction(0), 0, self.days, self.digits, usage)
            amounts["fee"] = whole - sum(amounts.values())
        return amounts


def _walk(finding: Finding, rows: Sequence[asyncpg.Record], billed: Billed) -> None:
    """Follow one line of a period from change to change; what is compared is taken out."""
    state = _State(rows[0])
    before = state.amounts()
    for due_id, group in groupby(rows, key=lambda row: row["due_id"]):
        moves = list(group)
        for row in moves:
            state.move(row)
        after = state.amounts()
        for cell in sorted(before.keys() | after.keys()):
            moved = after.get(cell, Fraction(0)) - before.get(cell, Fraction(0))
            found = billed.pop((*_line_of(rows[0]), due_id, cell), Fraction(0))
            if found != moved:
                finding.broken(
                    f"event {moves[0]['event_ref']} moves line {rows[0]['contract_line_ref']} by "
                    f"{exact(moved)}, its document bills {exact(found)}"
                )
        before = after


CHECKS: Final = (
    Check(
        name="event-documents",
        sentence="every event due upon usage is billed once, by how much it moves its lines",
        unit="documents of events",
        run=check_event_documents,
    ),
)
