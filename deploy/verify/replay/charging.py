"""From what counts to charges and cuts: the lines of each customer beside the events they price."""

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import asyncpg

from deploy.verify.check import Finding, Scope
from deploy.verify.replay.counting import Line, Use
from deploy.verify.replay.judging import ALWAYS
from deploy.verify.replay.reading import Tell
from deploy.verify.replay.sink import Sink, queries

Key = tuple[int, int, int]
"""Shard key, customer and meter: 0 where no meter feeds a line."""

_LAST: Final[Key] = (1 << 62, 0, 0)
_EVERY: Final = 10_000

_CHARGE: Final = (
    *("shard_key", "charge_ref", "tenant_id", "period_ref", "contract_line_ref"),
    *("pricing_line_id", "cell", "quantity", "event_count", "amount", "exact_quantity", "progress"),
)
_CUT: Final = (
    *("shard_key", "period_ref", "cut_number", "contract_line_ref", "cell", "tenant_id"),
    *("charge_ref", "pricing_line_id", "quantity", "event_count", "amount", "exact_quantity"),
)
_VALUE: Final = ("shard_key", "charge_ref", "value_digest", "tenant_id", "event_count")
_UNRATED: Final = ("shard_key", "event_ref", "tenant_id", "customer_id", "meter_id")


class _Groups:
    """Rows in an order, a group at a time; the next group's key is known before it is read."""

    def __init__(self, rows: AsyncIterator[asyncpg.Record]) -> None:
        self._rows = rows
        self._next: asyncpg.Record | None = None
        self.key: Key = _LAST

    async def begin(self) -> None:
        """Read the first row."""
        self._next = await anext(self._rows, None)
        self.key = _LAST if self._next is None else _key(self._next)

    async def group(self) -> AsyncIterator[asyncpg.Record]:
        """Yield the rows of the next group."""
        key = self.key
        while self._next is not None and self.key == key:
            row = self._next
            await self.begin()
            yield row


def _key(row: asyncpg.Record) -> Key:
    return row["shard_key"], row["customer_id"], row["meter_id"]


async def charge(scope: Scope, finding: Finding, events: int, tell: Tell) -> None:
    """Fill the shadow's charges, cuts, and list of unrated events."""
    charging = _Charging(scope)
    busy = {row["contract_ref"] for row in await scope.connection.fetch(queries.busy)}
    lines, uses = _Groups(scope.rows(queries.lines)), _Groups(scope.rows(queries.counted))
    await lines.begin()
    await uses.begin()
    done = 0
    while (key := min(lines.key, uses.key)) != _LAST:
        own: list[Line] = []
        if lines.key == key:
            own = [_line(r, finding) async for r in lines.group() if r["contract_ref"] not in busy]
            _link(own)
        if uses.key == key:
            async for row in uses.group():
                await charging.take(own, row)
                done += 1
                if done % _EVERY == 0:
                    tell("counting events", done, max(events, done))
        await charging.write(own)
    await charging.finish()


def _line(row: asyncpg.Record, finding: Finding) -> Line:
    line = Line(row)
    starts = set(row["start_ats"] or ())
    known = {one.span.start for one in line.charges.values()}
    if line.price.is_recurring and len(starts) != len(known):
        finding.broken(f"a cut of contract product {row['contract_product_ref']} is of no period")
    return line


def _link(lines: list[Line]) -> None:
    """Tell weighted lines in which of later versions they go on; all are of one meter."""
    for line in lines:
        line.later = [
            other
            for other in lines
            if other.row["lineage_ref"] == line.row["lineage_ref"]
            and other.row["version"] > line.row["version"]
        ]


class _Charging:
    """The rows of charges and cuts on their way."""

    def __init__(self, scope: Scope) -> None:
        connection = scope.connection
        self._charges = Sink(connection, "replay_charge", _CHARGE)
        self._cuts = Sink(connection, "replay_cut", _CUT)
        self._values = Sink(connection, "replay_value", _VALUE)
        self._unrated = Sink(connection, "replay_unrated", _UNRATED)
        #: Whose events come, and of those that come several times: whether a line covers them.
        self._customer: tuple[int, int] | None = None
        self._covered: dict[tuple[Any, ...], bool] = {}
        #: By charge, the value that is being counted, how often, and whose.
        self._counting: dict[UUID, tuple[UUID, int, Any]] = {}

    async def take(self, lines: list[Line], row: asyncpg.Record) -> None:
        """Count an event in the lines of its customer and meter."""
        use = Use.of(row)
        covering = [line for line in lines if line.is_used and line.add(use)]
        if use.until != ALWAYS:
            return
        await self._note_coverage(row, use, is_covered=bool(covering))
        if use.value is not None:
            for line in covering:
                await self._count_value(line, use, use.value)

    async def _note_coverage(self, row: asyncpg.Record, use: Use, *, is_covered: bool) -> None:
        """Note whether an event is covered; it is unrated where it is by no line that it counts in.

        Events that count in lines of several meters come once for each: they are held until all of
        their customer's have come.
        """
        customer = (row["shard_key"], row["customer_id"])
        if customer != self._customer:
            await self._end_customer()
            self._customer = customer
        owner = (row["tenant_id"], row["customer_id"], row["own_meter_id"])
        unrated = (row["shard_key"], use.ref, *owner)
        if row["places"] > 1:
            self._covered[unrated] = is_covered or self._covered.get(unrated, False)
        elif not is_covered:
            self._unrated.rows.append(unrated)
            await self._unrated.flush_full()

    async def _end_customer(self) -> None:
        """Write which events of the last customer are covered nowhere."""
        self._unrated.rows += [row for row, covered in self._covered.items() if not covered]
        self._covered.clear()
        await self._unrated.flush_full()

    async def _count_value(self, line: Line, use: Use, value: UUID) -> None:
        """Count how many events have a value: those of one come together."""
        span = line.span_at(use.at)
        assert span is not None, "the line covers it"
        ref = line.charge_ref(line.charges[span.ref, ""])
        before = self._counting.get(ref)
        if before is not None and before[0] == value:
            self._counting[ref] = (value, before[1] + 1, line.row)
            return
        if before is not None:
            self._write_value(ref, before)
        self._counting[ref] = (value, 1, line.row)
        await self._values.flush_full()

    def _write_value(self, ref: UUID, counted: tuple[UUID, int, Any]) -> None:
        value, count, row = counted
        self._values.rows.append((row["shard_key"], ref, value, row["tenant_id"], count))

    async def write(self, lines: list[Line]) -> None:
        """Write what the lines have come to."""
        for ref, counted in self._counting.items():
            self._write_value(ref, counted)
        self._counting.clear()
        for line in lines:
            self._charges.rows += line.charge_rows()
            self._cuts.rows += line.cut_rows()
        for sink in (self._charges, self._cuts, self._values):
            await sink.flush_full()

    async def finish(self) -> None:
        """Write what is left."""
        await self._end_customer()
        for sink in (self._charges, self._cuts, self._values, self._unrated):
            await sink.flush()
