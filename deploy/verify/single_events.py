"""Prices of single events and of cells: each charge and cut is folded again, event by event."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import asyncpg

from deploy.verify.aggregates import counted
from deploy.verify.check import Check, Finding, Scope
from deploy.verify.oracle import cell_of, events_amount, exact, read_price
from runtime.postgres import Queries

queries = Queries.beside(__file__, "single_events.sql")


async def check_charges(scope: Scope, finding: Finding) -> None:
    """Fold the events of running charges again."""
    await _check(scope, finding, is_running=True)


async def check_cuts(scope: Scope, finding: Finding) -> None:
    """Fold the events rated before each cut."""
    await _check(scope, finding, is_running=False)


async def _check(scope: Scope, finding: Finding, *, is_running: bool) -> None:
    """Judge each line of a period: its stored rows come first, then its events in their order."""
    own: list[asyncpg.Record] = []
    async for row in scope.rows(queries.single_events, scope.tenant_id, is_running):
        if own and row["name"] != own[0]["name"]:
            _judge(finding, own)
            own = []
        own.append(row)
    if own:
        _judge(finding, own)


def _judge(finding: Finding, rows: Sequence[asyncpg.Record]) -> None:
    finding.counted += 1
    name, price = rows[0]["name"], read_price(rows[0]["price"])
    kept = [row for row in rows if row["event_ref"] is None]
    events = [row for row in rows if row["event_ref"] is not None]
    if price.each is not None:
        amount = events_amount(price, map(counted, events))
        held = sum((Fraction(row["amount"]) for row in kept), Fraction(0))
        if held != amount:
            finding.broken(f"{name}: its events cost {exact(amount)} one by one, not {exact(held)}")
        return
    cells: dict[str, list[Fraction]] = {}
    for row in events:
        total = cells.setdefault(cell_of(price, row["additional_data"]), [Fraction(0), Fraction(0)])
        total[0] += counted(row)
        total[1] += 1
    stored = {
        row["cell"]: [Fraction(row["quantity"]), Fraction(row["event_count"])] for row in kept
    }
    nothing = [Fraction(0), Fraction(0)]
    for cell in sorted(cells.keys() | stored.keys()):
        theirs, ours = stored.get(cell, nothing), cells.get(cell, nothing)
        if theirs != ours:
            finding.broken(
                f"{name}, cell {cell or 'of the rest'}: {exact(theirs[0])} of {theirs[1]} events, "
                f"its events make {exact(ours[0])} of {ours[1]}"
            )


CHECKS: Final = (
    Check(
        name="event-prices",
        sentence="every charge of single events, or of a cell, is what its events make one by one",
        unit="lines of periods",
        run=check_charges,
    ),
    Check(
        name="event-cuts",
        sentence="every cut of single events, or of cells, is what its events made before it",
        unit="cut lines",
        run=check_cuts,
    ),
)
