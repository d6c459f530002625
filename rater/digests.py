"""Digests: the proof of what each line of a cut is made of, and then the word that it was cut.

A digest is the SHA-256 of the canonical list of the events in a line's total. Below the cut nothing
is ever added, so the list is read in pages, many cuts at a time, outside of any transaction; the
one that stores a cut's digests tells the invoicer of it. Who dies in between begins again.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from rater.memory import micros
from rater.metrics import DIGESTED_EVENTS
from rater.owner import Owner
from rater.repository import queries
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.event_ref import TIMESTAMP_MIN_MICROS, month_bounds, month_index
from schemas.meter_feed import Feed
from schemas.topics import BILLING_PERIODS
from schemas.usage_csv import HEADER, fed_quantity, usage_row

_REF_MIN = UUID(int=0)
_MOMENT = timedelta(microseconds=1)

Key = tuple[int, UUID, int]
"""Shard key, period and number of a cut."""


class OpenCut(msgspec.Struct):
    """A cut whose lists are being read.

    lines: with the meter that each prices. hashes: by that meter, over what was read so far.
    feeds: of events of other meters, the meters whose lines they count in, and how.
    after: the last event read. low, high: the bounds, exclusive, of the refs of its own months.
    """

    row: asyncpg.Record
    key: Key
    low: UUID
    high: UUID
    lines: list[tuple[UUID, int]]
    hashes: dict[int, Any]
    feeds: dict[int, list[tuple[int, Feed]]]
    after: UUID = _REF_MIN

    @classmethod
    def of(cls, row: asyncpg.Record) -> "OpenCut":
        """Begin with a row of `find_undigested`."""
        first = month_index(max(micros(row["start_at"]), TIMESTAMP_MIN_MICROS))
        last = month_index(max(micros(row["end_at"] - _MOMENT), TIMESTAMP_MIN_MICROS))
        return cls(
            row=row,
            key=(row["shard_key"], row["period_ref"], row["cut_number"]),
            low=UUID(int=max(month_bounds(first)[0].int - 1, 0)),
            high=month_bounds(last)[1],
            lines=[],
            hashes={},
            feeds={},
        )

    def add_line(self, contract_line_ref: UUID, meter_id: int) -> None:
        """Take in a line; those of one meter have one list."""
        self.lines.append((contract_line_ref, meter_id))
        if meter_id not in self.hashes:
            self.hashes[meter_id] = hashlib.sha256(HEADER)


class Digesting:
    """The cuts of a partition whose digests are under way, a bounded number."""

    def __init__(self) -> None:
        self._open: list[OpenCut] = []
        self._done: list[OpenCut] = []

    async def step(self, owner: Owner) -> None:
        """Read a page of the open cuts, or open the next ones; store what is complete."""
        if not self._open and not self._done:
            self._open = await open_cuts(owner)
            owner.has_undigested = bool(self._open)
        if self._open:
            await self._read_page(owner)
        if self._done:
            await store(owner, self._done)
            self._done = []

    async def _read_page(self, owner: Owner) -> None:
        """Hash a page of each open cut; one that has no more is complete."""
        # As cuts are completed, those that are left get longer pages.
        length = max(owner.settings.digest_events_max // len(self._open), 1)
        rows = await read_page(owner.pool, self._open, length)
        seen = [0] * len(self._open)
        texts: list[dict[int, list[str]]] = [{meter: [] for meter in c.hashes} for c in self._open]
        for place, ref, ref_text, meter, occurred_at, quantity, data, counts in rows:
            seen[place] += 1
            cut = self._open[place]
            cut.after = ref
            if not counts:
                continue
            if (text := texts[place].get(meter)) is not None:
                text.append(usage_row(ref_text, occurred_at, quantity, data))
            for toward, feed in cut.feeds.get(meter, ()):
                counted = fed_quantity(feed, quantity, data)
                texts[place][toward].append(usage_row(ref_text, occurred_at, counted, data))
        for cut, by_meter in zip(self._open, texts, strict=True):
            for meter, text in by_meter.items():
                cut.hashes[meter].update("".join(text).encode())
        DIGESTED_EVENTS.inc(len(rows))
        self._done += [c for c, count in zip(self._open, seen, strict=True) if count < length]
        self._open = [c for c, count in zip(self._open, seen, strict=True) if count == length]


async def open_cuts(owner: Owner) -> list[OpenCut]:
    """Load the next cuts without digests, with their lines; without a line is without usage."""
    count_max = owner.settings.digest_cuts_max
    async with owner.pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(queries.read_by_index)
        rows = await connection.fetch(queries.find_undigested, owner.state.partition, count_max)
        cuts = {cut.key: cut for cut in map(OpenCut.of, rows)}
        columns = [list(column) for column in zip(*cuts, strict=True)] or [[], [], []]
        for line in await connection.fetch(queries.load_digested_lines, *columns):
            key = (line["shard_key"], line["period_ref"], line["cut_number"])
            cuts[key].add_line(line["contract_line_ref"], line["meter_id"])
        await _load_feeds(connection, cuts.values())
    return list(cuts.values())


async def _load_feeds(connection: Connection, cuts: Iterable[OpenCut]) -> None:
    """Learn the other meters whose events count in the lines of cuts."""
    wanted = {(cut.row["tenant_id"], meter) for cut in cuts for meter in cut.hashes}
    if not wanted:
        return
    columns = [list(column) for column in zip(*wanted, strict=True)]
    feeds: dict[int, list[tuple[int, Feed]]] = {}
    for row in await connection.fetch(queries.load_feeds, *columns):
        if row["meter_id"] != row["toward_id"]:
            feed = Feed.of(row["factor"], row["formula"])
            feeds.setdefault(row["toward_id"], []).append((row["meter_id"], feed))
    for cut in cuts:
        for toward in cut.hashes:
            for meter, feed in feeds.get(toward, ()):
                cut.feeds.setdefault(meter, []).append((toward, feed))


async def read_page(
    pool: asyncpg.Pool, cuts: Sequence[OpenCut], length: int
) -> list[asyncpg.Record]:
    """Read so many of the events that each cut may hold, behind the last one read."""
    wanted = [
        [c.row["shard_key"] for c in cuts],
        [c.row["customer_id"] for c in cuts],
        [c.after for c in cuts],
        [c.low for c in cuts],
        [c.high for c in cuts],
        [c.row["start_at"] for c in cuts],
        [c.row["end_at"] for c in cuts],
        [c.row["cut_offset"] for c in cuts],
    ]
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(queries.read_by_index)
        return await connection.fetch(queries.usage_of_cuts, *wanted, length)


async def store(owner: Owner, cuts: Sequence[OpenCut]) -> None:
    """Add the digests of complete cuts, and tell of these; one transaction."""
    async with owner.step() as connection:
        await _store(connection, cuts)
        await connection.execute(queries.step_partition, owner.state.partition, 0)
        crashpoint("rater.before_digests")
    crashpoint("rater.after_digests")
    owner.state.steps += 1


async def _store(connection: Connection, cuts: Sequence[OpenCut]) -> None:
    digests = [
        (*cut.key, line, cut.hashes[meter].digest()) for cut in cuts for line, meter in cut.lines
    ]
    if digests:
        await connection.execute(
            queries.set_digests, *[list(column) for column in zip(*digests, strict=True)]
        )
    keys = [list(column) for column in zip(*[cut.key for cut in cuts], strict=True)]
    await connection.execute(queries.drop_undigested, *keys)
    await connection.copy_records_to_table(
        "rater_outbox",
        columns=("shard_key", "topic", "record_key", "value"),
        records=[
            (cut.key[0], BILLING_PERIODS, cut.row["customer_ref"].encode(), message(cut))
            for cut in cuts
        ],
    )


def message(cut: OpenCut) -> bytes:
    """Return what `billing.periods.v1` says of a cut: keys alone."""
    return msgspec.json.encode(
        {
            "v": 1,
            "trigger": "PERIOD_CUT" if cut.row["cut_number"] else "ISSUE_DUE",
            "contract_product_ref": str(cut.row["contract_product_ref"]),
            "period_ref": str(cut.row["period_ref"]),
            "cut_number": cut.row["cut_number"],
        }
    )
