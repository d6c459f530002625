"""Charges and their periods in Postgres: load what memory lacks, write what totals come to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from rater.event_fees import count_fees
from rater.fold import Moves
from rater.memory import Charge, Line, NewTotal, Product, RatedPeriod
from rater.packing import CHARGE_COLUMNS, amount_of, pack_totals
from rater.repository import chunks, queries
from runtime.postgres import Connection
from schemas.aggregation import Last
from schemas.money import AMOUNT_DIGITS, QUANTITY_DIGITS, Amount, Quantity, decimal_to_scaled

#: How scaled integers end as numbers of SQL, in a list.
_QUANTITIES_END: Final = f"e-{QUANTITY_DIGITS},"
_AMOUNTS_END: Final = f"e-{AMOUNT_DIGITS},"


async def save_totals(
    connection: Connection, totals: Mapping[Charge, Sequence[int]], moves: Moves
) -> list[NewTotal]:
    """Add to charges and price them; returns what they come to, for `keep_totals` after commit.

    Those that are empty are left to `drop_empty`.

    totals: what is added to the quantity and to the count of events. moves: the events of charges
    that are priced by them; they and their versions are stored already.
    """
    if not totals:
        return []
    # In the order of the key: pages are visited once, and no two owners can wait in a circle.
    charges = sorted(totals, key=lambda charge: charge.key)
    new_periods = {
        id(c.period): (c.line.product, c.period) for c in charges if not c.period.is_stored
    }
    await ensure_periods(connection, new_periods)
    await load_charges(connection, charges)
    fees = await count_fees(connection, moves) if moves else {}
    new: list[NewTotal] = []
    empty: list[NewTotal] = []
    for charge in charges:
        quantity, count = totals[charge]
        total = NewTotal(
            charge,
            Quantity(charge.quantity + quantity),
            charge.event_count + count,
            fees.get(charge),
        )
        (new if total.event_count or is_kept(total) else empty).append(total)
    # What has events has a row for sure.
    await _update(connection, [total for total in new if total.charge.event_count])
    await _insert(connection, [total for total in new if not total.charge.event_count])
    return new + empty


async def _update(connection: Connection, totals: Sequence[NewTotal]) -> None:
    """Write what charges that have rows come to.

    As texts, joined with commas: numbers cost less so than as the driver writes them, or packed.
    """
    if not totals:
        return
    names = [total.charge.names or _name(total.charge) for total in totals]
    quantities = [str(total.quantity) for total in totals]
    amounts = [str(amount_of(total)) for total in totals]
    done = await connection.execute(
        queries.update_charges,
        ",".join([place for place, _ in names]),
        ",".join([ref for _, ref in names]),
        _QUANTITIES_END.join(quantities) + _QUANTITIES_END[:-1],
        ",".join([str(total.event_count) for total in totals]),
        _AMOUNTS_END.join(amounts) + _AMOUNTS_END[:-1],
    )
    met = int(done.rpartition(" ")[2])
    assert met == len(totals), f"{met} of {len(totals)} charges have rows"


def _name(charge: Charge) -> tuple[str, str]:
    """Return a charge's key as texts, and keep it."""
    charge.names = (str(charge.line.product.shard_key), charge.ref.hex)
    return charge.names


async def _insert(connection: Connection, totals: Sequence[NewTotal]) -> None:
    """Write what charges come to that may have no row yet."""
    if not totals:
        return
    await connection.execute(queries.make_new_charge)
    await connection.copy_to_table(
        "new_charge", source=chunks(pack_totals(totals)), columns=CHARGE_COLUMNS, format="binary"
    )
    await connection.execute(queries.save_charges)


async def drop_empty(connection: Connection, totals: Iterable[NewTotal]) -> None:
    """Take away charges that all events have left, and periods with nothing else in them.

    What is left does not tell that an amended event was there first, as when it is rated later by
    a contract of the past. What was cut stays: documents name it.
    totals: all that a transaction comes to, every other charge written: its period stays.
    """
    charges = [total.charge for total in totals if not total.event_count and not is_kept(total)]
    if charges:
        keys = [(charge.line.product.shard_key, charge.ref) for charge in charges]
        await connection.executemany(queries.drop_charge, keys)
        # Those of events with documents of their own stay: these documents name them.
        products = ((c.line.product, c.period) for c in charges)
        periods = {(p.shard_key, period.ref) for p, period in products if not p.bills_events}
        await connection.executemany(queries.drop_period, sorted(periods))


def is_kept(total: NewTotal) -> bool:
    """Tell whether a charge has a row."""
    return bool(total.event_count or total.charge.period.last_cut_number)


def keep_totals(new: Iterable[NewTotal]) -> None:
    """Remember totals that were committed."""
    for total in new:
        charge = total.charge
        charge.quantity = total.quantity
        charge.event_count = total.event_count
        charge.last = total.last
        if total.fees is not None:
            charge.fees, charge.amount = total.fees, total.fees.amount
        # Of an empty one the period may be gone: it is looked for when it is needed again.
        charge.period.is_stored = total.event_count > 0


def count_late(totals: Mapping[Charge, Sequence[int]]) -> int:
    """Return how many of the events added to charges came for closed periods."""
    return sum(count for charge, (_, count) in totals.items() if charge.period.last_cut_number)


async def load_charges(connection: Connection, charges: Iterable[Charge]) -> None:
    """Learn the totals of charges that memory does not have; only under the fence."""
    unknown = {charge.ref: charge for charge in charges if not charge.is_loaded}
    if not unknown:
        return
    keys = ",".join([str(charge.line.product.shard_key) for charge in unknown.values()])
    refs = ",".join([ref.hex for ref in unknown])
    has_fees = any(charge.line.has_fees for charge in unknown.values())
    for row in await connection.fetch(queries.load_charges, keys, refs, has_fees):
        charge = unknown[row["charge_ref"]]
        charge.quantity = Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS))
        charge.event_count = row["event_count"]
        if row["progress"] is not None:
            charge.quantity, charge.last = read_progress(row["progress"])
        if charge.line.has_fees:
            charge.amount = Amount(decimal_to_scaled(row["amount"], AMOUNT_DIGITS))
        charge.period.is_stored = True
    for charge in unknown.values():
        charge.is_loaded = True


async def load_cut(
    connection: Connection, due: Iterable[tuple[RatedPeriod, Sequence[Line]]]
) -> list[list[Charge]]:
    """Return the charges that a cut of each period copies, loaded, in the order of the lines.

    A line with cells has one for each that is used, behind the default's; what is due once has none
    but in the first period.
    """
    due = list(due)
    celled = {line.ref: line for _, lines in due for line in lines if line.has_cells}
    cells: dict[tuple[UUID, UUID], list[str]] = {}
    if celled:
        periods = [(lines[0].product.shard_key, period.ref) for period, lines in due if lines]
        places, refs = (list(column) for column in zip(*periods, strict=True))
        for row in await connection.fetch(queries.load_cells, places, refs, list(celled)):
            cells.setdefault((row["period_ref"], row["contract_line_ref"]), []).append(row["cell"])
    found = [
        [
            line.charge_of(period, cell)
            for line in lines
            if line.price.recurring or period.period.index == 0
            for cell in ("", *cells.get((period.ref, line.ref), ()))
        ]
        for period, lines in due
    ]
    await load_charges(connection, [charge for charges in found for charge in charges])
    return found


def write_progress(quantity: Quantity, last: Last | None) -> str:
    """Write how far an aggregation other than a sum or a count has got."""
    return str(quantity) if last is None else f"{quantity} {last}"


def read_progress(text: str) -> tuple[Quantity, Last | None]:
    """Read what `write_progress` wrote."""
    quantity, _, last = text.partition(" ")
    return Quantity(int(quantity)), Last.parse(last) if last else None


async def ensure_periods(
    connection: Connection, periods: Mapping[int, tuple[Product, RatedPeriod]]
) -> None:
    """Learn how often periods were cut, and add the rows of those that are new.

    periods: by any key that tells them apart.
    """
    unknown = {p.ref: (product, p) for product, p in periods.values() if not p.is_stored}
    if not unknown:
        return
    keys = [product.shard_key for product, _ in unknown.values()]
    for row in await connection.fetch(queries.load_periods, keys, list(unknown)):
        _, period = unknown.pop(row["period_ref"])
        period.is_stored = True
        period.last_cut_number = row["last_cut_number"]
    if unknown:
        await connection.executemany(
            queries.add_period, [_period_row(*known) for known in unknown.values()]
        )


def _period_row(product: Product, rated: RatedPeriod) -> tuple[object, ...]:
    period = rated.period
    return (
        product.shard_key,
        rated.ref,
        product.tenant.tenant_id,
        product.ref,
        period.index,
        period.start,
        period.end,
        period.start_date,
        period.end_date,
        period.full_start_date,
        period.full_end_date,
        period.issue_date,
        period.rest_date if period.is_ahead else None,
        period.is_partial,
    )
