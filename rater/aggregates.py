"""Charges whose meters add up otherwise than by sums and counts: computed, priced and written.

An event that follows the others of its charge is added to what the charge remembers. Whatever
comes out of order or was amended has the charge folded again from the period's events, once a
transaction. A time-weighted total also begins with what the periods before it end with, so one that
changes at its end has the next one folded again, also where an edit of the contract lies between.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final
from uuid import UUID

import msgspec

from rater.charges import ensure_periods, is_kept, load_charges, read_progress, write_progress
from rater.memory import Charge, Line, NewTotal, RatedPeriod, micros
from rater.period_events import uses_of
from rater.repository import queries
from rater.shares import Shares, is_ordered
from runtime.postgres import Connection
from schemas.aggregation import Last, Span, Total, divisor, extend, nothing
from schemas.mean_price import cut_amount, exact_amount, nearest_quantity
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    QUANTITY_DIGITS,
    Amount,
    Quantity,
    scaled_to_decimal,
)
from schemas.periods import first_instant
from schemas.price import price_total

_DAY: Final = timedelta(days=1)
_MICRO: Final = timedelta(microseconds=1)


class Worth(msgspec.Struct, frozen=True):
    """What a total is billed as. exact: the quantity where its digits never end, else None."""

    quantity: Quantity
    exact: str | None
    amount: Amount


def worth(charge: Charge, quantity: Quantity, event_count: int) -> Worth:
    """Divide a charge's total as its meter says, and price it, unless its events were priced."""
    price = charge.price
    if charge.line.has_fees:
        return Worth(quantity, None, charge.amount)
    over = divisor(charge.line.aggregation, event_count, _span(charge.period).length)
    if over == 1:
        return Worth(quantity, None, price_total(price, quantity, event_count))
    exact = Fraction(quantity, over * ONE)
    shown = nearest_quantity(exact)
    amount = cut_amount(exact_amount(price, exact, event_count))
    return Worth(shown, None if Fraction(shown, ONE) == exact else str(exact), amount)


async def save_shares(connection: Connection, shares: Shares) -> list[NewTotal]:
    """Bring charges up to what a transaction has stored; returns what they come to.

    Periods of those that are empty are left to `drop_empty`.
    """
    if not shares:
        return []
    charges = sorted(shares.charges, key=lambda charge: charge.key)
    await ensure_periods(connection, {id(c.period): (c.line.product, c.period) for c in charges})
    await load_charges(connection, charges)
    totals = await _add_sums(connection, shares)
    await _write(connection, totals)
    pending = [charge for charge in charges if is_ordered(charge.line)]
    while pending:
        wave = first_of_lines(pending)
        new = [await _ordered(connection, charge, shares) for charge in wave]
        await _write(connection, new)
        totals += new
        following = await _following(connection, [total for total in new if _has_moved(total)])
        shares.again |= following
        pending = [charge for charge in {*pending, *following} if charge not in set(wave)]
    return totals


def first_of_lines(charges: Iterable[Charge]) -> list[Charge]:
    """Return the first charge of each line and its kin: what follows may begin with how it ends."""
    first: dict[Line, Charge] = {}
    for charge in sorted(charges, key=lambda charge: (charge.period.start, charge.key)):
        first.setdefault(charge.line.kin[0], charge)
    return list(first.values())


def _has_moved(total: NewTotal) -> bool:
    """Tell whether a time-weighted total hands on something else than before."""
    return total.charge.line.aggregation == "TIME_WEIGHTED" and total.last != total.charge.last


async def _add_sums(connection: Connection, shares: Shares) -> list[NewTotal]:
    values = await _count_values(connection, shares)
    return [
        NewTotal(
            charge,
            Quantity(charge.quantity + quantity + values.get(charge.ref, 0) * ONE),
            charge.event_count + count,
        )
        for charge, (quantity, count) in sorted(shares.sums.items(), key=lambda item: item[0].key)
    ]


async def _count_values(connection: Connection, shares: Shares) -> dict[UUID, int]:
    """Count events by value; return by how much the number of values grows, by charge."""
    changes = [
        (charge, UUID(bytes=digest), count)
        for charge, counts in sorted(shares.values.items(), key=lambda item: item[0].key)
        for digest, count in sorted(counts.items())
    ]
    more = [change for change in changes if change[2] > 0]
    fewer = [change for change in changes if change[2] < 0]
    grown: dict[UUID, int] = {}
    if more:
        keys, refs, digests = _columns(more)
        tenants = [charge.line.product.tenant.tenant_id for charge, _, _ in more]
        counts = [count for _, _, count in more]
        added = {(charge.ref, digest): count for charge, digest, count in more}
        query = queries.count_values
        for row in await connection.fetch(query, keys, refs, digests, tenants, counts):
            ref = row["charge_ref"]
            is_new = row["event_count"] == added[ref, row["value_digest"]]
            grown[ref] = grown.get(ref, 0) + is_new
    if fewer:
        counts = [-count for _, _, count in fewer]
        for row in await connection.fetch(queries.uncount_values, *_columns(fewer), counts):
            grown[row["charge_ref"]] = grown.get(row["charge_ref"], 0) - 1
    return grown


def _columns(
    changes: Sequence[tuple[Charge, UUID, int]],
) -> tuple[list[int], list[UUID], list[UUID]]:
    return (
        [charge.line.product.shard_key for charge, _, _ in changes],
        [charge.ref for charge, _, _ in changes],
        [digest for _, digest, _ in changes],
    )


async def _ordered(connection: Connection, charge: Charge, shares: Shares) -> NewTotal:
    """Compute one charge: from what it remembers, or else from its events."""
    aggregation, span = charge.line.aggregation, _span(charge.period)
    total: Total | None = None
    if charge not in shares.again:
        before = Total(charge.quantity, charge.event_count, charge.last)
        if not charge.event_count:
            before = nothing(aggregation, span, await _carried(connection, charge))
        total = extend(aggregation, span, before, shares.uses[charge])
    if total is None:
        total = await _fold_again(connection, charge)
    if not total.event_count and not charge.period.last_cut_number:
        total = Total()  # it is taken away, and what it would begin with is found again
    return NewTotal(charge, total.quantity, total.event_count, last=total.last)


async def _fold_again(connection: Connection, charge: Charge) -> Total:
    """Fold all events of a charge's period, as they count now."""
    aggregation, span = charge.line.aggregation, _span(charge.period)
    total = nothing(aggregation, span, await _carried(connection, charge))
    async for use in uses_of(connection, charge):
        following = extend(aggregation, span, total, (use,))
        assert following is not None, "events are read in their order"
        total = following
    return total


async def _carried(connection: Connection, charge: Charge) -> Last | None:
    """Return what a time-weighted charge begins with: the last value of the periods before.

    They are the line's, and its kin's up to where the line begins. Of earlier contracts nothing is
    carried in.
    """
    if charge.line.aggregation != "TIME_WEIGHTED":
        return None
    own, start = charge.line.product, charge.period.period.start
    begins = first_instant(own.terms.first_day, own.terms.timezone)
    places = [(charge.line, start)] + [
        (line, begins)
        for line in charge.line.kin
        if line.product.version < own.version and not line.product.is_pending
    ]
    for row in await connection.fetch(queries.find_carried, *_places(places)):
        return read_progress(row["progress"])[1]
    return None


async def _following(connection: Connection, moved: Sequence[NewTotal]) -> set[Charge]:
    """Return the charges that begin with what these end with."""
    if not moved:
        return set()
    places = [
        (line, total.charge.period.period.start)
        for total in moved
        for line in total.charge.line.kin
        if line is total.charge.line or line.product.version > total.charge.line.product.version
    ]
    found: set[Charge] = set()
    for row in await connection.fetch(queries.find_following, *_places(places)):
        charge = places[row["place"]][0].charge_at(micros(row["start_at"]), None)
        assert charge is not None, "a stored period lies within its contract"
        found.add(charge)
    await ensure_periods(connection, {id(c.period): (c.line.product, c.period) for c in found})
    await load_charges(connection, found)
    return found


def _places(places: Sequence[tuple[Line, datetime]]) -> tuple[list[object], ...]:
    """Return the columns that `find_carried` and `find_following` ask by."""
    products = [line.product for line, _ in places]
    return (
        list(range(len(places))),
        [product.shard_key for product in products],
        [product.ref for product in products],
        [line.ref for line, _ in places],
        [instant for _, instant in places],
    )


async def carry_into(connection: Connection, charges: Iterable[Charge]) -> list[NewTotal]:
    """Give time-weighted charges without an event what they begin with, before they are cut.

    charges: loaded. Returns what they come to, which the rest of the transaction may rely on.
    """
    waiting = [
        charge
        for charge in charges
        if charge.line.aggregation == "TIME_WEIGHTED" and charge.last is None
    ]
    made: list[NewTotal] = []
    for charge in sorted(waiting, key=lambda charge: charge.period.start):
        carried = await _carried(connection, charge)
        if carried is None:
            continue
        total = nothing("TIME_WEIGHTED", _span(charge.period), carried)
        new = NewTotal(charge, total.quantity, 0, last=total.last)
        await _write(connection, [new], is_cut=True)
        charge.quantity, charge.last = total.quantity, total.last
        made.append(new)
    return made


async def ordered_charges(
    connection: Connection, customer_id: int, lines: Iterable[Line], refs: tuple[UUID, UUID]
) -> set[Charge]:
    """Return the charges, with events, of lines whose totals depend on the order of these.

    refs: the bounds, both exclusive, of those of the customer's events that were never amended.
    """
    found: set[Charge] = set()
    for line in lines:
        if not is_ordered(line):
            continue
        product = line.product
        days = await connection.fetch(
            queries.load_days,
            product.shard_key,
            customer_id,
            *refs,
            list(line.feeds),
        )
        for row in days:
            for instant in (row["day"], row["day"] + _DAY - _MICRO):
                charge = line.charge_at(micros(instant), None)
                if charge is not None:
                    found.add(charge)
    return found


async def _write(
    connection: Connection, totals: Iterable[NewTotal], *, is_cut: bool = False
) -> None:
    """Write charges; what no event is left in has no row, unless it is or gets cut."""
    rows: list[tuple[object, ...]] = []
    empty: list[tuple[int, UUID]] = []
    for total in totals:
        if is_cut or is_kept(total):
            rows.append(_row(total))
        else:  # nothing is carried on from it any more
            empty.append((total.charge.line.product.shard_key, total.charge.ref))
    await connection.executemany(queries.save_aggregate, rows)
    await connection.executemany(queries.drop_charge, empty)


def _row(total: NewTotal) -> tuple[object, ...]:
    charge, line = total.charge, total.charge.line
    billed = worth(charge, total.quantity, total.event_count)
    return (
        line.product.shard_key,
        charge.ref,
        scaled_to_decimal(billed.quantity, QUANTITY_DIGITS),
        total.event_count,
        scaled_to_decimal(billed.amount, AMOUNT_DIGITS),
        billed.exact,
        write_progress(total.quantity, total.last),
        line.product.tenant.tenant_id,
        charge.period.ref,
        line.ref,
        line.pricing_line_id,
    )


def _span(period: RatedPeriod) -> Span:
    return Span(period.start, period.end)
