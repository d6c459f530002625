"""Back-fill: rates by a new version of a contract what was in the log before it, in bounded steps.

The live loop rates what follows `end_offset` into the same charges, so between two steps of either
the totals are those of a part of the events, and never of an event twice. The charges of an edited
contract count from the step that swaps them in (`succession.py`): until then those of the version
before are whole and go on.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from rater import succession
from rater.aggregates import ordered_charges, save_shares
from rater.alerts import Firing
from rater.charges import count_late, drop_empty, keep_totals, save_totals
from rater.events_due import Due, note_due
from rater.firing import fire
from rater.fold import Moves, add_usage
from rater.late import mark_late
from rater.memory import Charge, Customer, Fed, Line, fed_by_meters, micros
from rater.metrics import BACKFILLED_EVENTS, LATE_EVENTS
from rater.owner import Owner
from rater.repository import Fenced, queries
from rater.schedule import schedule_contract
from rater.shares import Shares, is_ordered
from rater.succession import REF_MAX, REF_MIN
from rater.tasks import Task
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.aggregation import Use
from schemas.event_ref import TIMESTAMP_MIN_MICROS, month_bounds, month_index
from schemas.meter_feed import times
from schemas.money import ONE, QUANTITY_DIGITS, Quantity, decimal_to_scaled

_TIMESTAMP_MAX_MICROS: Final = 10**16
"""November 2286: within the months that refs can tell apart, and after every event."""


async def step(owner: Owner, task: Task) -> None:
    """Rate one page of the customer's past events; the last page swaps or ends the task."""
    assert task.end_offset is not None
    if task.is_swapped:
        await succession.find_uncovered(owner, task)
        return
    customer = await owner.customer(task.customer_ref)
    lines = lines_of(customer, task)
    page_length = owner.settings.backfill_events_max
    partition, next_offset = owner.state.partition, owner.state.next_offset
    async with owner.step() as connection:
        low, high = ref_span(lines)
        span = (task.shard_key, task.cursor or REF_MIN, low, high, page_length)
        wants_data = any(line.has_cells or line.unique_key or is_computed(line) for line in lines)
        page = await connection.fetch(queries.page_of_events, *span, wants_data)
        totals, moves, shares, covered = add_past(page, lines, task)
        is_last = len(page) < page_length
        swaps = is_last and task.version > 1
        if is_last:
            shares.again |= await ordered_charges(connection, task.customer_id, lines, (low, high))
        moved = await connection.fetchval(queries.take_unrated, task.shard_key, covered)
        cursor = page[-1]["event_ref"] if page else task.cursor
        cursor = None if swaps else cursor  # what is left then begins anew
        states = (is_last and not swaps, task.is_swapped, swaps)
        await _move_on(connection, task, (partition, cursor, len(covered)), states)
        # Behind the cursor, since what lies before it counts.
        new = await save_totals(connection, totals, moves)
        new += await save_shares(connection, shares)
        await drop_empty(connection, new)
        await mark_late(connection, owner, new)
        if swaps:
            await succession.swap(connection, task)
        fired: list[Firing] = []
        if task.version == 1:  # an edited one has told of its events, and fires once it prices
            await note_due(connection, due_of_past(page, covered, lines, task), next_offset)
            fired = await fire(connection, owner, new)
        if is_last:
            await schedule_contract(connection, owner, task)
        await connection.execute(queries.step_partition, partition, moved)
    crashpoint("rater.after_backfill_step")
    owner.state.steps += 1
    task.cursor, task.is_swapped, task.is_done = cursor, swaps, is_last and not swaps
    keep_totals(new)
    if swaps:  # its lines in memory still count by the bounds before
        owner.memory.forget_customer(task.customer_id)
        owner.alerts.look_at(task.customer_id)
    owner.alerts.keep(fired)
    LATE_EVENTS.inc(count_late(totals) + shares.count_late())
    BACKFILLED_EVENTS.inc(len(covered))


async def _move_on(
    connection: Connection,
    task: Task,
    page: tuple[int, UUID | None, int],
    states: tuple[bool, bool, bool],
) -> None:
    """Note how far a task is. page: its partition, cursor and events. Raises Fenced."""
    partition, cursor, count = page
    progress = (partition, task.reference_version, task.cursor, cursor, count)
    if await connection.fetchval(queries.move_backfill, *progress, *states) is None:
        raise Fenced("the page was rated already")


def lines_of(customer: Customer, task: Task) -> list[Line]:
    """Return the lines that price a meter and came with the task's version of its contract."""
    version = (task.contract_ref, task.version)
    lines = [line for own in customer.lines.values() for line in own]
    return [one for one in lines if (one.product.contract_ref, one.product.version) == version]


def add_past(
    page: Sequence[asyncpg.Record], lines: Sequence[Line], task: Task
) -> tuple[dict[Charge, list[int]], Moves, Shares, list[UUID]]:
    """Fold past events of the task's customer; return what `fold` does, and the events that count.

    What depends on the order of events is folded behind the last page, all at once.
    page: events as they count now. What is below the task's end was amended below it, too: the
    loop ends a customer's back-fills before it amends an event of theirs.
    """
    by_meter = fed_by_meters(lines)
    totals: dict[Charge, list[int]] = {}
    moves: Moves = {}
    shares = Shares.empty()
    covered: list[UUID] = []
    for row in page:
        if row["customer_id"] != task.customer_id or row["rated_at"] >= task.end_offset:
            continue
        if row["kind"] == "DELETE":
            continue
        if (fed := by_meter.get(row["meter_id"])) is None:
            continue
        if add_event(fed, row, totals, moves, shares):
            covered.append(row["event_ref"])
    return totals, moves, shares, covered


def add_event(
    fed: Sequence[Fed],
    row: asyncpg.Record,
    totals: dict[Charge, list[int]],
    moves: Moves,
    shares: Shares,
) -> bool:
    """Add one event to the lines that its meter feeds; say whether one of them covers it."""
    data = row["additional_data"]
    quantity = Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS))
    formula = (*fed[0].plain, *fed[0].others)[0].feeds[row["meter_id"]].formula
    if formula is not None:
        quantity = formula.billable(quantity, data)
    is_rated = False
    for one in fed:
        use = Use(micros(row["occurred_at"]), row["event_ref"].int, times(quantity, one.factor))
        is_rated |= add_usage(totals, moves, one.plain, *use, data, times(ONE, one.factor))
        is_rated |= bool(shares.add([o for o in one.others if not is_ordered(o)], use, data))
        ordered = (line for line in one.others if is_ordered(line))
        is_rated |= any(line.charge_at(use.at, data) is not None for line in ordered)
    return is_rated


def is_computed(line: Line) -> bool:
    """Tell whether a formula makes the billable quantity of events that count in a line."""
    return any(feed.formula is not None for feed in line.feeds.values())


def due_of_past(
    page: Sequence[asyncpg.Record], covered: Sequence[UUID], lines: Sequence[Line], task: Task
) -> list[Due]:
    """Return the past events of a page that the contract bills each by itself."""
    billed = {m for line in lines if line.product.bills_events for m in line.feeds}
    if not billed:
        return []
    tenant_id, rated = lines[0].product.tenant.tenant_id, set(covered)
    return [
        Due(
            *(task.shard_key, tenant_id, task.contract_ref, row["event_ref"], row["place"]),
            task.customer_ref.encode(),
        )
        for row in page
        if row["event_ref"] in rated and row["meter_id"] in billed
    ]


def ref_span(lines: Sequence[Line]) -> tuple[UUID, UUID]:
    """Return the bounds, both exclusive, of the refs of all events that the lines may cover."""
    if not lines:
        return REF_MAX, REF_MAX
    start = max(min(line.product.start for line in lines), TIMESTAMP_MIN_MICROS)
    end = max(line.product.end for line in lines)
    low = month_bounds(month_index(start))[0].int - 1
    if end > _TIMESTAMP_MAX_MICROS:
        return UUID(int=max(low, 0)), REF_MAX
    if end <= TIMESTAMP_MIN_MICROS:
        return REF_MAX, REF_MAX
    return UUID(int=max(low, 0)), month_bounds(month_index(end - 1))[1]
