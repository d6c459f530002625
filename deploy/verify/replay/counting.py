"""What a customer's use of one meter comes to, line by line: totals as they stand and at each cut.

Pure, and plain: events come in the order of time, and each is added to every total that holds it.
Numbers are whole, in units of 10**-18, or fractions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from deploy.verify.aggregates import billed_as
from deploy.verify.oracle import (
    EventCosts,
    Price,
    cell_of,
    exact,
    read_price,
    rounded,
    stored,
    usage_amount,
)
from deploy.verify.replay.judging import ALWAYS
from schemas.event_ref import (
    TIMESTAMP_MIN_MICROS,
    derived_ref,
    month_index,
    tenant_bits,
)
from schemas.periods import BillingTerms, Row, period_at

DIGITS: Final = 18
ONE: Final = 10**DIGITS
PLAIN: Final = ("SUM", "COUNT")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros(instant: datetime) -> int:
    """Return the microseconds since 1970."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


@dataclass(frozen=True, kw_only=True)
class Use:
    """How an event counts in a meter's lines, from one offset until another.

    quantity: billable; weight: what it is where events are counted; both in 10**-18.
    """

    at: int
    ref: UUID
    occurred_at: datetime
    quantity: int
    weight: int
    data: str | None
    value: UUID | None
    since: int
    until: int

    @classmethod
    def of(cls, row: Row) -> "Use":
        """Read a row of `counted`."""
        data, factor = row["additional_data"], Fraction(row["factor"])
        quantity = billed_as(Fraction(row["quantity"]), data, row["formula"])
        return cls(
            at=micros(row["occurred_at"]),
            ref=row["event_ref"],
            occurred_at=row["occurred_at"],
            quantity=int(rounded(quantity * factor, DIGITS) * ONE),
            weight=int(rounded(factor, DIGITS) * ONE),
            data=data,
            value=row["value_digest"],
            since=row["since"],
            until=row["until"],
        )

    def counts_at(self, offset: int) -> bool:
        """Tell whether it is in what was rated before an offset."""
        return self.since < offset <= self.until


@dataclass
class Total:
    """What events come to at one point of the log.

    sum: what is to be divided, of a mean. last: the time, the ref and the value of the last event;
    of a running average the sum so far is the value. carried: of a weighted one, the last event of
    the periods before.
    """

    count: int = 0
    sum: int = 0
    last: tuple[int, UUID, int] | None = None
    carried: tuple[int, UUID, int] | None = None
    value: UUID | None = None
    costs: EventCosts | None = None


@dataclass(frozen=True)
class Span:
    """A billing period of a line's product. cuts: their numbers and offsets, in order."""

    ref: UUID
    month: int
    index: int
    start: int
    end: int
    cuts: tuple[tuple[int, int], ...]

    @property
    def first_cut(self) -> int:
        """The offset at which it was closed; beyond all while it is open."""
        return self.cuts[0][1] if self.cuts else ALWAYS


@dataclass
class Charge:
    """A line's cell in a period. totals: by cut number, 0 for what is so now.

    touched: whether an event came, went or changed at or behind this offset, once it was closed.
    values: how many events have each value, one value after the other.
    """

    span: Span
    cell: str
    totals: dict[int, Total]
    touched: int = ALWAYS

    def is_there_at(self, number: int, offset: int) -> bool:
        """Tell whether it has a row: an event, or one since the period was closed."""
        if self.totals[number].count:
            return True
        if not self.span.cuts or offset < self.span.first_cut:
            return False
        return bool(self.totals[self.span.cuts[0][0]].count) or self.touched < offset


class Line:
    """A contract line, and what it has been charged."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.price: Price = read_price(row["price"])
        self.aggregation: str = row["aggregation"] or "SUM"
        self.is_used = bool(row["meter_id"]) and self.price.is_metered
        self.charges: dict[tuple[UUID, str], Charge] = {}
        self._terms = BillingTerms.of_row(row)
        self._shard_key = row["shard_key"]
        self._bits = tenant_bits(row["tenant_ref"])
        self._cuts: dict[int, list[tuple[int, int]]] = {}
        for start, number, offset in zip(
            row["start_ats"] or (), row["numbers"] or (), row["offsets"] or (), strict=True
        ):
            self._cuts.setdefault(micros(start), []).append((number, offset))
        self._span: Span | None = None
        #: Of a weighted line, the lines of later versions that it goes on in.
        self.later: list[Line] = []
        #: Of a weighted line, the last event that counts now.
        self._latest: tuple[int, UUID, int] | None = None
        for start in sorted(self._cuts):
            span = self.span_at(start)
            if span is not None and (self.price.is_recurring or span.index == 0):
                self._charge(span, "")

    def span_at(self, at: int) -> Span | None:
        """Return the period that holds an instant, None outside of the contract."""
        if self._span is not None and self._span.start <= at < self._span.end:
            return self._span
        seconds, rest = divmod(at, 1_000_000)
        instant = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
        period = period_at(self._terms, instant)
        if period is None:
            return None
        start = micros(period.start)
        month = month_index(max(start, TIMESTAMP_MIN_MICROS))
        fields = (str(self.row["contract_product_ref"]), period.start_date.isoformat())
        ref = derived_ref("period", month, self._shard_key, self._bits, *fields)
        cuts = tuple(self._cuts.get(start, ()))
        self._span = Span(ref, month, period.index, start, micros(period.end), cuts)
        return self._span

    def _charge(self, span: Span, cell: str) -> Charge:
        charge = self.charges.get((span.ref, cell))
        if charge is None:
            numbers = (0, *(number for number, _ in span.cuts))
            totals = {
                number: Total(carried=self._latest if not number else None) for number in numbers
            }
            if self.price.each is not None:
                for total in totals.values():
                    total.costs = EventCosts.of(self.price)
            charge = self.charges[span.ref, cell] = Charge(span, cell, totals)
        return charge

    def add(self, use: Use) -> bool:
        """Count an event wherever it belongs; tell whether the line covers it."""
        span = self.span_at(use.at)
        if span is None:
            return False
        if use.until == ALWAYS or span.cuts:
            cell = cell_of(self.price, use.data) if self.price.keys else ""
            charge = self._charge(span, cell)
            for offset in (use.since, use.until):
                if span.first_cut <= offset < charge.touched:
                    charge.touched = offset
            for number, offset in ((0, ALWAYS), *span.cuts):
                if use.counts_at(offset):
                    _count(self.aggregation, charge.totals[number], span, use)
        self._hand_on(use)
        return True

    def _hand_on(self, use: Use) -> None:
        """Let a weighted line's event be what later periods begin with, of later versions, too."""
        if self.aggregation == "TIME_WEIGHTED":
            for line in (self, *self.later):
                line._carry(use)

    def _carry(self, use: Use) -> None:
        """Let an event's value be what later periods begin with."""
        last = (use.at, use.ref, use.quantity)
        if use.until == ALWAYS:
            self._latest = last
        for charge in self.charges.values():
            if charge.span.start > use.at:
                for number, offset in ((0, ALWAYS), *charge.span.cuts):
                    if use.counts_at(offset):
                        charge.totals[number].carried = last

    def charge_ref(self, charge: Charge) -> UUID:
        """Return the ref of a charge."""
        fields = (str(self.row["contract_line_ref"]), str(charge.span.ref), charge.cell)
        place = (charge.span.month, self._shard_key, self._bits)
        return derived_ref("charge", *place, *fields)

    def charge_rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of `charge`, in the table's order."""
        for charge in self.charges.values():
            total = charge.totals[0]
            carries = any(one.carried is not None for one in charge.totals.values())
            is_there = charge.is_there_at(0, ALWAYS) or (bool(charge.span.cuts) and carries)
            if self.is_used and is_there:
                yield self._charge_row(charge, total)

    def _charge_row(self, charge: Charge, total: Total) -> tuple[object, ...]:
        row, worth = self.row, self._worth(charge, total)
        refs = (charge.span.ref, row["contract_line_ref"], row["pricing_line_id"], charge.cell)
        quantity, amount, exact_quantity = worth
        progress = None
        if self.aggregation not in PLAIN:
            progress = _progress(self.aggregation, total, charge.span)
        figures = (quantity, total.count, amount, exact_quantity, progress)
        return (self._shard_key, self.charge_ref(charge), row["tenant_id"], *refs, *figures)

    def cut_rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of `charge_cut`: each line of each cut, used or not, and its cells."""
        row = self.row
        for charge in self.charges.values():
            for number, offset in charge.span.cuts:
                if charge.cell and not charge.is_there_at(number, offset):
                    continue
                total = charge.totals[number]
                quantity, amount, exact_quantity = self._worth(charge, total)
                key = (self._shard_key, charge.span.ref, number, row["contract_line_ref"])
                ids = (charge.cell, row["tenant_id"], self.charge_ref(charge))
                figures = (quantity, total.count, amount, exact_quantity)
                yield (*key, *ids, row["pricing_line_id"], *figures)

    def _worth(self, charge: Charge, total: Total) -> tuple[Decimal, Decimal, str | None]:
        """Return the quantity, the amount, and the quantity as a fraction where that is needed."""
        if not self.is_used:
            quantity = self.price.quantity
        elif self.aggregation == "TIME_WEIGHTED":
            length = charge.span.end - charge.span.start
            quantity = Fraction(_area(total, charge.span), length * ONE)
        elif self.aggregation in ("AVERAGE", "RUNNING_AVERAGE"):
            quantity = Fraction(total.sum, max(total.count, 1) * ONE)
        else:
            quantity = Fraction(total.sum, ONE)
        if total.costs is not None:
            amount = total.costs.amount
        else:
            amount = stored(usage_amount(self.price, quantity, total.count, charge.cell))
        shown = rounded(quantity, DIGITS)
        whole = None if shown == quantity else str(quantity)
        return Decimal(exact(shown)), Decimal(exact(amount)), whole


def _count(aggregation: str, total: Total, span: Span, use: Use) -> None:
    """Add an event to a total; they come in their order."""
    total.count += 1
    _ADD[aggregation](total, span, use)
    if total.costs is not None:
        total.costs.add(Fraction(use.weight if aggregation == "COUNT" else use.quantity, ONE))


def _add_one(total: Total, _span: Span, use: Use) -> None:
    total.sum += use.weight


def _add_quantity(total: Total, _span: Span, use: Use) -> None:
    total.sum += use.quantity


def _add_greatest(total: Total, _span: Span, use: Use) -> None:
    total.sum = use.quantity if total.count == 1 else max(total.sum, use.quantity)


def _add_last(total: Total, _span: Span, use: Use) -> None:
    total.sum, total.last = use.quantity, (use.at, use.ref, use.quantity)


def _add_running(total: Total, _span: Span, use: Use) -> None:
    so_far = use.quantity + (total.last[2] if total.last else 0)
    total.sum += int(rounded(Fraction(so_far, total.count * ONE), DIGITS) * ONE)
    total.last = (use.at, use.ref, so_far)


def _add_weighted(total: Total, span: Span, use: Use) -> None:
    since, value = _holding(total, span)
    total.sum += value * (use.at - since)
    total.last = (use.at, use.ref, use.quantity)


def _add_value(total: Total, _span: Span, use: Use) -> None:
    if use.value is not None and use.value != total.value:
        total.sum += ONE
        total.value = use.value


_ADD: Final[Mapping[str, Callable[[Total, Span, Use], None]]] = {
    "SUM": _add_quantity,
    "COUNT": _add_one,
    "MAX": _add_greatest,
    "LAST": _add_last,
    "AVERAGE": _add_quantity,
    "RUNNING_AVERAGE": _add_running,
    "TIME_WEIGHTED": _add_weighted,
    "UNIQUE": _add_value,
}


def _holding(total: Total, span: Span) -> tuple[int, int]:
    """Return since when, in a period, which value holds."""
    if total.last is not None:
        return total.last[0], total.last[2]
    return span.start, 0 if total.carried is None else total.carried[2]


def _area(total: Total, span: Span) -> int:
    """Return what values times microseconds come to, the last one holding to the end."""
    since, value = _holding(total, span)
    return total.sum + value * (span.end - since)


def _progress(aggregation: str, total: Total, span: Span) -> str:
    """Write how far a total has got, as it is stored beside it."""
    if aggregation != "TIME_WEIGHTED":
        quantity, last = total.sum, total.last
    else:
        quantity, last = _area(total, span), total.last or total.carried
    return f"{quantity}" if last is None else f"{quantity} {last[0]} {last[1].hex} {last[2]}"
