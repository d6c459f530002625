"""The fold: arrivals, in the order of the log, become events, totals and refusals. Pure.

The result does not depend on where the log is cut into polls: what a poll adds to `known` is what
the next one finds in the database.
"""

from collections.abc import Sequence

import msgspec

from rater.arrivals import DETAIL_LENGTH_MAX, Arrival, DeadLetter
from rater.memory import Charge, Customer, Fed, Line, Memory
from rater.shares import Shares
from rater.tenants import Tenant
from schemas.aggregation import Use
from schemas.errors import InvalidUsageEvent
from schemas.meter_feed import times
from schemas.meter_formula import Formula
from schemas.money import ONE, Quantity
from schemas.pricing.event_fees import Move

Moves = dict[Charge, list[Move]]
"""Events that are counted in or out, by the charge that they are priced in one by one."""


class Accepted(msgspec.Struct, gc=False):
    """An event that counts, with what its row needs."""

    arrival: Arrival
    customer: Customer
    meter_id: int


class Conflict(msgspec.Struct, frozen=True):
    """A key used again with other content. ref: the event that counts."""

    ref: int
    arrival: Arrival
    customer: Customer


class Folded(msgspec.Struct):
    """What a poll comes to.

    totals: for each charge touched, what is added to its quantity and its count of events.
    moves: the events behind that, of charges that are priced by single events.
    shares: what comes to charges whose meters add up otherwise.
    unrated: the accepted that no line covers.
    """

    accepted: list[Accepted]
    unrated: list[Accepted]
    conflicts: list[Conflict]
    dead: list[DeadLetter]
    duplicates: int
    totals: dict[Charge, list[int]]
    moves: Moves
    shares: Shares

    @classmethod
    def empty(cls) -> "Folded":
        """Return the result of no arrivals."""
        return cls([], [], [], [], 0, {}, {}, Shares.empty())


def fold(arrivals: Sequence[Arrival], memory: Memory, known: dict[int, int]) -> Folded:
    """Judge every arrival and add what counts to its charges.

    memory: knows every customer and meter named, as far as they exist.
    known: fingerprints by ref of the events counted before, as far as the arrivals name them, by
    their own refs or their aliases; the accepted are added.
    """
    folded = Folded.empty()
    accept = folded.accepted.append
    customers = memory.customers
    sole = memory.sole_tenant
    for arrival in arrivals:
        event, ref = arrival.event, arrival.ref
        customer = customers.get(event.customer_ref)
        measured = None
        if customer is not None and _is_of(customer.tenant, event.tenant_ref, sole):
            product_ref = event.usage_product_ref
            measured = customer.measured.get(product_ref) or memory.measured(customer, product_ref)
        if customer is None or measured is None:
            folded.dead.append(_refusal(arrival, memory, customer))
            continue
        if ref in known or (arrival.alias and arrival.alias in known):
            ref = ref if ref in known else arrival.alias
            _count_repeat(folded, Conflict(ref, arrival, customer), known[ref])
            continue
        meter, lines, rest = measured
        formula = meter.formula
        quantity = event.quantity if formula is None else _billable(folded, formula, arrival)
        if quantity is None:
            continue
        known[ref] = arrival.fingerprint
        accepted = Accepted(arrival, customer, meter.meter_id)
        accept(accepted)
        customer.last_poll = memory.poll_number
        is_rated = add_usage(
            folded.totals,
            folded.moves,
            lines,
            event.occurred_at_micros,
            arrival.ref,
            quantity,
            event.additional_data,
        )
        if rest:
            is_rated |= _feed(folded, rest, arrival, quantity)
        if not is_rated:
            folded.unrated.append(accepted)
    return folded


def _count_repeat(folded: Folded, repeat: Conflict, first_fingerprint: int) -> None:
    """Count what came under a known ref: a duplicate, or a conflict when it says something else."""
    if repeat.arrival.fingerprint == first_fingerprint:
        folded.duplicates += 1
    else:
        folded.conflicts.append(repeat)


def _billable(folded: Folded, formula: Formula, arrival: Arrival) -> Quantity | None:
    """Return what a formula makes of an event; None when it has no value, and the event is dead."""
    event = arrival.event
    try:
        return formula.billable(event.quantity, event.additional_data)
    except InvalidUsageEvent as error:
        folded.dead.append(_dead_letter(arrival, "FORMULA_FAILED", str(error)))
        return None


def _feed(folded: Folded, rest: Sequence[Fed], arrival: Arrival, quantity: Quantity) -> bool:
    """Add one event to lines that don't just take its quantity; say whether one covers it."""
    event = arrival.event
    data = event.additional_data
    is_rated = False
    for fed in rest:
        use = Use(event.occurred_at_micros, arrival.ref, times(quantity, fed.factor))
        if fed.others:
            is_rated |= bool(folded.shares.add(fed.others, use, data))
        if fed.plain:
            one = times(ONE, fed.factor)
            is_rated |= add_usage(folded.totals, folded.moves, fed.plain, *use, data, one)
    return is_rated


def _is_of(tenant: Tenant, tenant_ref: str | None, sole: Tenant | None) -> bool:
    """Tell whether a record speaks of this tenant, by name or because there is no other."""
    if tenant_ref is not None:
        return tenant.tenant_ref == tenant_ref
    return sole is not None and tenant.tenant_id == sole.tenant_id


def add_usage(
    totals: dict[Charge, list[int]],
    moves: Moves,
    lines: Sequence[Line],
    instant: int,
    ref: int,
    quantity: int,
    data: str | None,
    one: int = ONE,
) -> bool:
    """Add one event to every line that covers its instant; say whether there is one.

    totals: for each charge, what is added to its quantity and to its count of events.
    moves: of charges that are priced by single events. one: what it adds where events are counted.
    """
    is_rated = False
    for line in lines:
        charge = line.charge if line.start <= instant < line.end else line.charge_at(instant, data)
        if charge is None:
            continue
        is_rated = True
        added = one if line.is_count else quantity
        total = totals.get(charge)
        if total is None:
            totals[charge] = [added, 1]
        else:
            total[0] += added
            total[1] += 1
        if line.has_fees:
            moves.setdefault(charge, []).append(((instant, ref), added, 1))
    return is_rated


def _refusal(arrival: Arrival, memory: Memory, customer: Customer | None) -> DeadLetter:
    """Say why an arrival can't be resolved."""
    event = arrival.event
    reason, detail = unknown_name(memory, customer, event.tenant_ref, event.customer_ref) or (
        "UNKNOWN_METER",
        f"no usage product {event.usage_product_ref}",
    )
    return _dead_letter(arrival, reason, detail)


def _dead_letter(arrival: Arrival, reason: str, detail: str) -> DeadLetter:
    event = arrival.event
    return DeadLetter(
        arrival.offset,
        arrival.appended_at,
        reason,
        detail[:DETAIL_LENGTH_MAX],
        event.customer_ref.encode(),
        arrival.value,
        None if reason == "UNKNOWN_TENANT" else event.tenant_ref,
        arrival.origin,
    )


def unknown_name(
    memory: Memory, customer: Customer | None, tenant_ref: str | None, customer_ref: str
) -> tuple[str, str] | None:
    """Say whom a record names that nobody knows; None when they are known.

    What belongs to another tenant is as unknown.
    """
    tenant = memory.sole_tenant if tenant_ref is None else memory.tenants.get(tenant_ref)
    if tenant is None:
        return "UNKNOWN_TENANT", f"no tenant {tenant_ref}"
    if customer is None or customer.tenant.tenant_id != tenant.tenant_id:
        return "UNKNOWN_CUSTOMER", f"no customer {customer_ref}"
    return None
