"""Cutting: copies the totals of periods as they stand into rows that are never changed.

Many periods at a time, with a fixed number of statements. What is told of a cut waits for the
digests of its lines.
"""

from collections.abc import Iterable, Sequence

import msgspec

from rater.aggregates import carry_into, worth
from rater.charges import ensure_periods, load_cut
from rater.memory import Charge, Line, Product, RatedPeriod
from rater.owner import Owner
from rater.repository import queries
from runtime.postgres import Connection
from schemas.money import AMOUNT_DIGITS, QUANTITY_DIGITS, Quantity, scaled_to_decimal
from schemas.price import is_usage

_PERIOD_CUT = (
    *("shard_key", "period_ref", "cut_number", "tenant_id", "partition", "cut_offset"),
    *("dead_letters", "waiting_amendments"),
)
CHARGE_CUT = (
    *("shard_key", "period_ref", "cut_number", "contract_line_ref", "tenant_id", "charge_ref"),
    *("pricing_line_id", "quantity", "event_count", "amount", "cell"),
    "exact_quantity",
)
_UNDIGESTED = ("shard_key", "period_ref", "cut_number", "tenant_id", "partition")


class Unsettled(msgspec.Struct, frozen=True):
    """What nobody has settled of a customer: it may be usage that is missing."""

    dead_letters: int
    waiting_amendments: int

    def __bool__(self) -> bool:
        return bool(self.dead_letters or self.waiting_amendments)


class Due(msgspec.Struct):
    """A period to cut, with every line of its product."""

    customer_ref: str
    product: Product
    period: RatedPeriod
    lines: list[Line]

    @property
    def next_cut_number(self) -> int:
        """The number of the cut to make; only once the period was looked up."""
        return self.period.last_cut_number + 1


def take_some(due: Iterable[Due], lines_max: int) -> tuple[list[Due], bool]:
    """Take periods of so many lines in all, at least one; say whether there are no more."""
    chosen: list[Due] = []
    count = 0
    for item in due:
        count += max(len(item.lines), 1)
        if chosen and count > lines_max:
            return chosen, False
        chosen.append(item)
    return chosen, True


async def look_up(connection: Connection, due: Iterable[Due]) -> None:
    """Make sure that the periods have rows, and learn how often they were cut."""
    await ensure_periods(connection, {id(d.period): (d.product, d.period) for d in due})


async def load_unsettled(connection: Connection, due: Sequence[Due]) -> list[Unsettled]:
    """Count what is not settled of each period's customer."""
    rows = await connection.fetch(
        queries.load_unsettled,
        [d.product.shard_key for d in due],
        [d.customer_ref.encode() for d in due],
        [d.period.period.start for d in due],
    )
    return [Unsettled(row["dead_letters"], row["waiting_amendments"]) for row in rows]


async def cut(
    connection: Connection, owner: Owner, due: Sequence[Due], unsettled: Sequence[Unsettled]
) -> None:
    """Cut periods that were looked up, and queue their digests."""
    if not due:
        return
    charges = await load_cut(connection, [(d.period, d.lines) for d in due])
    await carry_into(connection, [charge for own in charges for charge in own])
    state = owner.state
    keys = [(d.product.shard_key, d.period.ref, d.next_cut_number) for d in due]
    tenants = [d.product.tenant.tenant_id for d in due]
    rows = list(zip(keys, tenants, unsettled, strict=True))
    await connection.copy_records_to_table(
        "period_cut",
        columns=_PERIOD_CUT,
        records=[
            (*key, tenant, state.partition, state.next_offset, *_counts(known))
            for key, tenant, known in rows
        ],
    )
    await connection.copy_records_to_table(
        "charge_cut",
        columns=CHARGE_CUT,
        records=[
            (*key, *line_cut(charge))
            for key, own in zip(keys, charges, strict=True)
            for charge in own
        ],
    )
    await connection.copy_records_to_table(
        "undigested_cut",
        columns=_UNDIGESTED,
        records=[(*key, tenant, state.partition) for key, tenant, _ in rows],
    )
    places, refs, numbers = (list(column) for column in zip(*keys, strict=True))
    await connection.execute(queries.set_cut_numbers, places, refs, numbers)
    await connection.execute(queries.drop_late, places, refs)


def _counts(unsettled: Unsettled) -> tuple[int, int]:
    return unsettled.dead_letters, unsettled.waiting_amendments


def line_cut(charge: Charge) -> tuple[object, ...]:
    """Return what a charge comes to, or where no events feed its line what that states itself.

    A fixed amount is that of a whole period; the invoicer prorates it.
    """
    line = charge.line
    quantity = charge.quantity if is_usage(line.price) else line.price.quantity
    billed = worth(charge, Quantity(quantity), charge.event_count)
    return (
        line.ref,
        line.product.tenant.tenant_id,
        charge.ref,
        line.pricing_line_id,
        scaled_to_decimal(billed.quantity, QUANTITY_DIGITS),
        charge.event_count,
        scaled_to_decimal(billed.amount, AMOUNT_DIGITS),
        charge.cell,
        billed.exact,
    )
