"""Amendments applied to their events, in the order of the log. Pure.

It follows the fold of a poll's uses and walks the poll once more, over those of its records alone
that amendments concern. As with the fold, where the log is cut into polls changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rater.arrivals import DETAIL_LENGTH_MAX, AmendmentArrival, DeadLetter
from rater.fold import Accepted, Moves, unknown_name
from rater.memory import Charge, Customer, Fed, Memory
from rater.shares import Shares
from rater.too_late import ARCHIVED
from rater.waiting import NEVER, STEM_MASK, Pending, Waiting, meanings, stem
from schemas.aggregation import Use
from schemas.amendment import Amendment
from schemas.errors import InvalidUsageEvent
from schemas.meter_feed import times
from schemas.money import ONE, Quantity
from schemas.retrying import Origin


class Limits(msgspec.Struct, frozen=True):
    """How many amendments of one tenant may wait in a partition, and how long, in milliseconds.

    archived_until: events before it, microseconds since 1970, stay as they are.
    """

    waiting_max: int
    wait_ms: int
    archived_until: int = 0


class EventNow(msgspec.Struct):
    """An event as it counts at one place in the log: its first version, or a later one."""

    ref: int
    shard_key: int
    tenant_id: int
    customer_id: int
    meter_id: int
    occurred_at_micros: int
    quantity: Quantity
    additional_data: str | None
    is_unrated: bool
    is_deleted: bool = False


class Version(msgspec.Struct):
    """An event after an amendment and before it, and the charges that this moved."""

    event: EventNow
    before: EventNow
    arrival: AmendmentArrival
    charges: list[Charge]


class Amended(msgspec.Struct):
    """What the amendments of a poll come to.

    totals, moves, shares: as in Folded, beside those of the uses. waiting: began to wait. waited:
    wait no more. unrated, rated: events of before or of this poll that changed sides. count: by how
    much the number of amendments that are applied or wait grows.
    """

    versions: list[Version]
    totals: dict[Charge, list[int]]
    moves: Moves
    shares: Shares
    unrated: list[EventNow]
    rated: list[EventNow]
    waiting: list[tuple[Pending, AmendmentArrival]]
    waited: list[Pending]
    dead: list[DeadLetter]
    duplicates: int = 0
    count: int = 0

    @classmethod
    def empty(cls) -> "Amended":
        """Return the result of no amendments."""
        return cls([], {}, {}, Shares.empty(), [], [], [], [], [])


class Known(msgspec.Struct):
    """What there is before a poll, as far as its amendments ask for it.

    last_appended_at: of the poll's last record; by it waiting comes to an end. events: by ref.
    applied: origins of amendments that were applied. records: those of waiting amendments, by
    their offsets, whose time may come in this poll.
    """

    partition: int
    last_appended_at: int
    waiting: Waiting
    limits: Limits
    events: dict[int, EventNow]
    applied: set[Origin]
    records: Mapping[int, AmendmentArrival]


def concerned(
    arrivals: Iterable[AmendmentArrival], accepted: Sequence[Accepted], waiting: Waiting
) -> list[Accepted]:
    """Return the new events that a poll's amendments may mean, or those that wait."""
    stems = waiting.stems | {stem(arrival.amendment.event_ref) for arrival in arrivals}
    if not stems:
        return []
    return [row for row in accepted if row.arrival.ref & STEM_MASK in stems]


def amend(
    arrivals: Sequence[AmendmentArrival],
    accepted: Sequence[Accepted],
    unrated: Iterable[Accepted],
    memory: Memory,
    known: Known,
) -> Amended:
    """Apply a poll's amendments, and those that have waited for its events.

    accepted: the new events that are `concerned`. unrated: those of the poll that no line covers.
    known: is used up.
    """
    steps: list[tuple[int, Accepted | AmendmentArrival]] = []
    steps += [(row.arrival.offset, row) for row in accepted]
    steps += [(arrival.offset, arrival) for arrival in arrivals]
    amending = _Amending(memory, known, {row.arrival.ref for row in unrated})
    for _, step in sorted(steps, key=lambda step: step[0]):
        if isinstance(step, Accepted):
            amending.take_event(step)
        else:
            amending.take_amendment(step)
    return amending.end()


class _Amending:
    """One walk over a poll, and what has come of it so far."""

    def __init__(self, memory: Memory, known: Known, unrated: set[int]) -> None:
        self._outcome = Amended.empty()
        self._memory = memory
        self._known = known
        self._unrated = unrated
        #: What began to wait in this poll, beside what of `known.waiting` has ended, by offset.
        self._begun = Waiting()
        self._ended: dict[int, Pending] = {}
        self._ended_by_tenant: Counter[int] = Counter()
        self._records = dict(known.records)
        self._oldest = known.waiting.oldest()
        #: The events that were touched, and whether each was unrated before.
        self._touched: dict[int, tuple[EventNow, bool]] = {}

    def take_event(self, row: Accepted) -> None:
        """Take note of a new event, and apply what has waited for it."""
        arrival = row.arrival
        self._end_waiting(arrival.appended_at)
        event = EventNow(
            ref=arrival.ref,
            shard_key=arrival.shard_key,
            tenant_id=row.customer.tenant.tenant_id,
            customer_id=row.customer.customer_id,
            meter_id=row.meter_id,
            occurred_at_micros=arrival.event.occurred_at_micros,
            quantity=arrival.event.quantity,
            additional_data=arrival.event.additional_data,
            is_unrated=arrival.ref in self._unrated,
        )
        self._known.events[event.ref] = event
        for one in self._waiting_for(event.ref):
            self._apply(event, self._stop_waiting(one), row.customer)

    def take_amendment(self, arrival: AmendmentArrival) -> None:
        """Apply an amendment to the event that it means, or let it wait for it."""
        self._end_waiting(arrival.appended_at)
        self._outcome.count += 1
        amendment, events = arrival.amendment, self._known.events
        customer = self._memory.customers.get(amendment.customer_ref)
        unknown = unknown_name(self._memory, customer, amendment.tenant_ref, amendment.customer_ref)
        meant = [ref for ref in meanings(amendment.event_ref) if ref in events]
        if customer is None or unknown is not None:
            assert unknown is not None
            self._let_die(arrival, *unknown)
        elif meant:
            self._apply(events[meant[0]], arrival, customer)
        else:
            self._wait(arrival, customer)

    def end(self) -> Amended:
        """Let what has waited too long die, and say what everything comes to."""
        self._end_waiting(self._known.last_appended_at)
        outcome = self._outcome
        outcome.waiting = [(one, self._records[one.offset]) for one in self._begun.in_order()]
        outcome.waited = list(self._ended.values())
        for event, was_unrated in self._touched.values():
            if event.is_unrated and not was_unrated:
                outcome.unrated.append(event)
            elif was_unrated and not event.is_unrated:
                outcome.rated.append(event)
        return outcome

    def _waiting_for(self, ref: int) -> list[Pending]:
        """Return what waits for an event at this place, in the order of the log."""
        before = self._known.waiting.for_event(ref)
        return [o for o in before if o.offset not in self._ended] + self._begun.for_event(ref)

    def _wait(self, arrival: AmendmentArrival, customer: Customer) -> None:
        """Let an amendment wait, if there is room and it does not wait already."""
        ref, origin = arrival.amendment.event_ref, arrival.origin
        tenant_id = customer.tenant.tenant_id
        before = self._known.waiting.by_tenant[tenant_id] - self._ended_by_tenant[tenant_id]
        count = before + self._begun.by_tenant[tenant_id]
        if origin is not None and any(one.origin == origin for one in self._waiting_for(ref)):
            self._count_duplicate()
        elif count >= self._known.limits.waiting_max:
            self._let_die(arrival, "TOO_MANY_PENDING", f"{count} wait for their events already")
        else:
            one = Pending(ref, arrival.offset, arrival.appended_at, tenant_id, origin)
            self._begun.add(one)
            self._records[one.offset] = arrival
            self._oldest = min(self._oldest, one.appended_at)

    def _stop_waiting(self, one: Pending) -> AmendmentArrival:
        """Take one out of those that wait; return its record."""
        if one in self._begun.for_event(one.ref):
            self._begun.remove(one)
        else:
            self._ended[one.offset] = one
            self._ended_by_tenant[one.tenant_id] += 1
        return self._records[one.offset]

    def _end_waiting(self, instant: int) -> None:
        """Let die what no event may come for any more, at an instant of the log."""
        over = min(instant, self._known.last_appended_at) - self._known.limits.wait_ms
        if over < self._oldest:
            return
        everything = self._known.waiting.in_order() + self._begun.in_order()
        left = [one for one in everything if one.offset not in self._ended]
        for one in left:
            if one.appended_at <= over:
                self._let_die(self._stop_waiting(one), "EVENT_UNKNOWN", "its event has not come")
        self._oldest = min((o.appended_at for o in left if o.appended_at > over), default=NEVER)

    def _apply(self, event: EventNow, arrival: AmendmentArrival, customer: Customer) -> None:
        """Make an event's next version, and move what it adds to charges."""
        amendment = arrival.amendment
        origin = arrival.origin or Origin(self._known.partition, arrival.offset)
        named = amendment.customer_ref
        if event.customer_id != customer.customer_id or named != customer.customer_ref:
            self._let_die(arrival, "WRONG_CUSTOMER", "the event is another customer's")
        elif origin in self._known.applied:
            self._count_duplicate()
        elif event.occurred_at_micros < self._known.limits.archived_until:
            self._let_die(arrival, *ARCHIVED)
        elif event.is_deleted and amendment.kind == "UPDATE":
            self._let_die(arrival, "EVENT_DELETED", "the event was deleted, and stays so")
        elif (failure := self._failure(event, amendment)) is not None:
            self._let_die(arrival, "FORMULA_FAILED", failure)
        else:
            self._known.applied.add(origin)
            self._touched.setdefault(event.ref, (event, event.is_unrated))
            fed = customer.fed_by(event.meter_id)
            before = msgspec.structs.replace(event)
            left = self._move(event, fed, -1)
            _change(event, amendment)
            joined = self._move(event, fed, 1)
            event.is_unrated = not (joined or event.is_deleted)
            version = Version(msgspec.structs.replace(event), before, arrival, left + joined)
            self._outcome.versions.append(version)

    def _move(self, event: EventNow, fed: Sequence[Fed], sign: int) -> list[Charge]:
        """Add an event to the charges of the lines that cover it, or take it out of them."""
        moved: list[Charge] = []
        if event.is_deleted:
            return moved
        billable = self._billable(event)
        for one in fed:
            quantity = times(billable, one.factor)
            use = Use(event.occurred_at_micros, event.ref, quantity)
            moved += self._outcome.shares.move(one.others, use, event.additional_data, sign)
            moved += self._move_plain(event, one, quantity, sign)
        return moved

    def _move_plain(self, event: EventNow, fed: Fed, counted: int, sign: int) -> list[Charge]:
        moved: list[Charge] = []
        for line in fed.plain:
            charge = line.charge_at(event.occurred_at_micros, event.additional_data)
            if charge is not None:
                quantity = times(ONE, fed.factor) if line.is_count else counted
                total = self._outcome.totals.setdefault(charge, [0, 0])
                total[0] += sign * quantity
                total[1] += sign
                moved.append(charge)
                if line.has_fees:
                    move = ((event.occurred_at_micros, event.ref), quantity, sign)
                    self._outcome.moves.setdefault(charge, []).append(move)
        return moved

    def _billable(self, event: EventNow) -> Quantity:
        """Return the quantity that an event is billed by. Raises InvalidUsageEvent."""
        formula = self._memory.formulas.get(event.meter_id)
        if formula is None:
            return event.quantity
        return formula.billable(event.quantity, event.additional_data)

    def _failure(self, event: EventNow, amendment: Amendment) -> str | None:
        """Say why an amendment would leave an event that its meter's formula has no value for."""
        changed = msgspec.structs.replace(event)
        _change(changed, amendment)
        try:
            self._billable(changed)
        except InvalidUsageEvent as error:
            return str(error)[:DETAIL_LENGTH_MAX]
        return None

    def _count_duplicate(self) -> None:
        self._outcome.count -= 1
        self._outcome.duplicates += 1

    def _let_die(self, arrival: AmendmentArrival, reason: str, detail: str) -> None:
        self._outcome.count -= 1
        amendment = arrival.amendment
        tenant_ref = None if reason == "UNKNOWN_TENANT" else amendment.tenant_ref
        self._outcome.dead.append(
            DeadLetter(
                offset=arrival.offset,
                appended_at=arrival.appended_at,
                reason=reason,
                detail=detail,
                key=arrival.key,
                value=arrival.value,
                tenant_ref=tenant_ref,
                origin=arrival.origin,
            )
        )


def _change(event: EventNow, amendment: Amendment) -> None:
    """Make an event what an amendment says that it is."""
    if amendment.kind == "DELETE":
        event.is_deleted = True
    if amendment.occurred_at_micros is not None:
        event.occurred_at_micros = amendment.occurred_at_micros
    if amendment.quantity is not None:
        event.quantity = amendment.quantity
    if amendment.replaces_data:
        event.additional_data = amendment.additional_data
