"""What a check is: a named sentence that the books must fulfil, and what was found about it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import asyncpg

WITNESSES_MAX: Final = 10
"""How many broken things are named; all are counted."""

_ROWS_AHEAD: Final = 1_000
"""Rows that a cursor fetches at a time: what a check holds in memory."""


class Status(StrEnum):
    """How a check went."""

    OK = "OK"
    FAIL = "FAIL"
    UNCHECKED = "UNCHECKED"


class CannotCheck(Exception):
    """Something outside the books keeps a check from being made; the message says what."""


@dataclass
class Finding:
    """What a check has found so far.

    counted: how many things were looked at, and `unit` what they are, in the plural.
    difference: how much is off, 0 when the invariant holds.
    witnesses: the first few broken things. notes: what a reader should know, though nothing is off.
    """

    unit: str
    counted: int = 0
    difference: int = 0
    witnesses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def broken(self, witness: str, by: int = 1) -> None:
        """Count something that is off, and name it while there are few."""
        self.difference += by
        if len(self.witnesses) < WITNESSES_MAX:
            self.witnesses.append(witness)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the checks look at: one snapshot of the database, and the log beside it.

    tenant_id: checks of a tenant's own rows look at this one's alone; None for every tenant's.
    kafka: host:port of the broker.
    """

    connection: asyncpg.Connection
    tenant_id: int | None
    kafka: str

    async def rows(self, statement: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
        """Stream a statement's rows, a bounded number in memory."""
        cursor = self.connection.cursor(statement, *arguments, prefetch=_ROWS_AHEAD)
        async for row in cursor:
            yield row

    async def count(self, statement: str, *arguments: object) -> int:
        """Return the one number that a statement gives."""
        return int(await self.connection.fetchval(statement, *arguments))


Run = Callable[[Scope, Finding], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One invariant. name: stable, for scripts. sentence: what holds. unit: what is counted."""

    name: str
    sentence: str
    unit: str
    run: Run


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one check went. reason: why it could not be made, else empty."""

    check: Check
    finding: Finding
    reason: str = ""

    @property
    def status(self) -> Status:
        """Tell whether the invariant holds."""
        if self.reason:
            return Status.UNCHECKED
        return Status.FAIL if self.finding.difference else Status.OK


def by_statements(counted: str, *broken: str, per_tenant: bool = True) -> Run:
    """Make a check of SQL alone: one statement counts, each other one lists what is off.

    A list has the column `witness`, and `difference` where one row stands for more than one thing
    that is off. per_tenant: the statements take the tenant, or NULL, as $1.
    """

    async def run(scope: Scope, finding: Finding) -> None:
        arguments = (scope.tenant_id,) if per_tenant else ()
        finding.counted = await scope.count(counted, *arguments)
        for statement in broken:
            async for row in scope.rows(statement, *arguments):
                finding.broken(row["witness"], int(row.get("difference", 1)))

    return run


def plural(count: int, unit: str) -> str:
    """Write a count with its unit, which is given in the plural."""
    return f"{count:,} {unit[:-1] if count == 1 and unit.endswith('s') else unit}"


def dotted(counts: Mapping[str, int]) -> str:
    """Join the counts that are not zero as the terms of a sum."""
    return " + ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "0"
