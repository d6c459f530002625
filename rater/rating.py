"""One poll, saved: the transaction that turns a stretch of the log into events and totals."""

import time

import asyncpg

from rater import reference
from rater.aggregates import save_shares
from rater.amend import Amended, Limits
from rater.amendments import add_up, amend_poll, join_moves, keep_waiting, save_amended
from rater.arrivals import Arrival, Poll
from rater.charges import count_late, drop_empty, keep_totals, save_totals
from rater.dead_letters import add_dead_letters
from rater.events_due import due_of_poll, note_due
from rater.firing import fire
from rater.fold import Folded, fold
from rater.late import mark_late
from rater.metrics import (
    AMENDMENTS_WAITING,
    BATCH_SECONDS,
    EVENTS,
    LATE_AMENDMENTS,
    LATE_EVENTS,
)
from rater.months import ensure_months
from rater.origins import check_origins
from rater.owner import Owner
from rater.repository import (
    add_conflicts,
    add_events,
    add_skipped,
    advance,
    probe_events,
)
from rater.rollups import add_to_tail
from rater.too_late import refuse_late
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.event_ref import month_of


class PartitionHalted(Exception):
    """The partition can't go on by itself; the message says why."""


async def rate(owner: Owner, poll: Poll) -> None:
    """Save a poll, exactly once, and remember what it came to.

    Raises Fenced and ChangesPending before anything is written, PartitionHalted when an event is
    refused as known although no probe finds it.
    """
    assert poll.first_offset == owner.state.next_offset
    started = time.monotonic()
    refuse_late(poll, owner.memory, owner.state.archived)
    await _prepare(owner, poll)
    try:
        folded, amended = await _save_first(owner, poll)
    except asyncpg.UniqueViolationError:
        # Events without a key are new unless part of the log is read again.
        try:
            folded, amended = await _save(owner, poll, _all_refs(poll.arrivals))
        except asyncpg.UniqueViolationError as error:
            raise PartitionHalted(f"a row exists that no probe found: {error.detail}") from error
    BATCH_SECONDS.observe(time.monotonic() - started)
    _count(owner, poll, folded, amended)


async def _save_first(owner: Owner, poll: Poll) -> tuple[Folded, Amended]:
    """Save a poll, looking only for what may well be known. Raises UniqueViolationError.

    An event that has another ref in a neighbour month is always looked for: no key refuses it.
    """
    repeats, arrivals = owner.repeats, poll.arrivals
    if repeats.are_looked_for(len(arrivals)):
        saved = await _save(owner, poll, _keyed_refs(arrivals))
        repeats.looked(saved[0].duplicates + len(saved[0].conflicts))
        return saved
    try:
        return await _save(owner, poll, _all_refs([a for a in arrivals if a.alias]))
    except asyncpg.UniqueViolationError:
        repeats.surprised()
        raise


async def _prepare(owner: Owner, poll: Poll) -> None:
    """Make tables for new months and look up what memory lacks, before the partition is locked."""
    await ensure_months(owner, {month_of(arrival.ref) for arrival in poll.arrivals})
    await check_origins(owner.pool, poll, owner.state.log)
    await reference.load_missing(owner.pool, owner.memory, poll)
    if not {letter.tenant_ref for letter in poll.dead} <= owner.memory.tenants.keys():
        await reference.load_tenants(owner.pool, owner.memory)


async def _save(owner: Owner, poll: Poll, refs: list[int]) -> tuple[Folded, Amended]:
    """Run the transaction of a poll. refs: what may be known already."""
    partition, memory, waiting = owner.state.partition, owner.memory, owner.waiting
    memory.poll_number += 1
    async with owner.step() as connection:
        folded = fold(poll.arrivals, memory, await probe_events(connection, refs))
        amended = await amend_poll(
            connection,
            partition=partition,
            poll=poll,
            folded=folded,
            memory=memory,
            waiting=waiting,
            limits=_limits(owner),
        )
        await add_events(
            connection, folded.accepted, folded.unrated, has_retried=bool(poll.retried)
        )
        await save_amended(connection, partition, amended)
        # Behind the events and their versions, which may have to be counted again.
        totals = await save_totals(
            connection,
            add_up(folded.totals, amended.totals),
            join_moves(folded.moves, amended.moves),
        )
        totals += await save_shares(connection, folded.shares.joined(amended.shares))
        await drop_empty(connection, totals)
        await mark_late(connection, owner, totals)
        await note_due(connection, due_of_poll(folded, amended), poll.next_offset)
        fired = await fire(connection, owner, totals)
        tail = (partition, poll.next_offset, folded.accepted, amended.versions)
        grown = await add_to_tail(connection, *tail)
        await _set_aside(connection, owner, poll, folded, amended)
        await advance(connection, partition, poll, folded, amended)
        crashpoint("rater.before_commit")
    crashpoint("rater.after_commit")
    state = owner.state
    state.next_offset = poll.next_offset
    state.steps += 1
    keep_totals(totals)
    owner.alerts.keep(fired)
    owner.tail.grow(grown, time.monotonic())
    LATE_EVENTS.inc(count_late(folded.totals) + folded.shares.count_late())
    LATE_AMENDMENTS.inc(keep_waiting(waiting, amended))
    memory.shrink()
    return folded, amended


def _limits(owner: Owner) -> Limits:
    settings = owner.settings
    return Limits(
        waiting_max=settings.pending_amendments_max,
        wait_ms=int(settings.pending_seconds_max * 1_000),
        archived_until=owner.state.archived.until,
    )


async def _set_aside(
    connection: Connection, owner: Owner, poll: Poll, folded: Folded, amended: Amended
) -> None:
    """Keep what does not count: conflicts, dead letters and gaps."""
    partition = owner.state.partition
    await add_conflicts(connection, partition, folded.conflicts)
    dead = poll.dead + folded.dead + amended.dead
    await add_dead_letters(connection, partition, dead, owner.memory)
    await add_skipped(connection, partition, poll.skipped)


def _keyed_refs(arrivals: list[Arrival]) -> list[int]:
    """Return the refs of keyed events, a neighbour month's too, and of retried ones."""
    keyed = [a for a in arrivals if a.event.idempotency_key is not None or a.origin is not None]
    return [a.ref for a in keyed] + [a.alias for a in keyed if a.alias]


def _all_refs(arrivals: list[Arrival]) -> list[int]:
    return [a.ref for a in arrivals] + [a.alias for a in arrivals if a.alias]


def _count(owner: Owner, poll: Poll, folded: Folded, amended: Amended) -> None:
    unrated = len(folded.unrated)
    dead = len(poll.dead) + len(folded.dead) + len(amended.dead)
    EVENTS.labels("rated").inc(len(folded.accepted) - unrated)
    EVENTS.labels("unrated").inc(unrated)
    EVENTS.labels("duplicate").inc(folded.duplicates + amended.duplicates)
    EVENTS.labels("conflict").inc(len(folded.conflicts))
    EVENTS.labels("amendment").inc(len(amended.versions))
    EVENTS.labels("dead").inc(dead)
    EVENTS.labels("skipped").inc(sum(end - start for start, end in poll.skipped))
    AMENDMENTS_WAITING.labels(str(owner.state.partition)).set(len(owner.waiting))
