"""What rating needs to know, in memory: tenants, meters, customers, their lines and charges.

Pure data. `reference.py` fills it from Postgres; `fold.py` reads it. The totals kept here are those
that the owner of the partition committed last, and hold while nobody else moves the partition.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

import msgspec

from rater.tenants import Tenant
from schemas.aggregation import PLAIN, Last
from schemas.event_ref import TIMESTAMP_MIN_MICROS, derived_ref, month_index
from schemas.meter_feed import OWN, WHOLE, Feed
from schemas.meter_formula import Formula
from schemas.money import Amount, Quantity
from schemas.periods import BillingTerms, Period, first_instant, period_at
from schemas.price import LinePrice, basis_of, cell_price, cell_values, is_usage
from schemas.pricing.event_fees import FeeTally
from schemas.pricing.matrix import cell_name_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER_MICROS = 1 << 62
_POLLS_BETWEEN_COUNTS = 8


def micros(instant: datetime) -> int:
    """Return the microseconds since 1970 of an aware instant, exactly."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


class Meter(msgspec.Struct, frozen=True):
    """What is measured, and whose it is. formula: makes the billable quantity, None mostly."""

    meter_id: int
    tenant_id: int
    formula: Formula | None = None


class RatedPeriod(msgspec.Struct):
    """A billing period of one contract product, with its bounds in microseconds since 1970.

    month: of its start, as refs count months.
    is_stored: the row in `billing_period` is known to exist. last_cut_number: above 0 once closed.
    """

    ref: UUID
    ref_text: str
    period: Period
    month: int
    start: int
    end: int
    is_stored: bool = False
    last_cut_number: int = 0


class Product(msgspec.Struct):
    """A contract product: the terms that cut its time into periods, and those in use so far.

    waits_for_call: its periods are closed by a call alone. version: of its contract.
    bills_events: one by one, upon usage. is_pending: it is being back-filled, and prices nothing.
    """

    ref: UUID
    shard_key: int
    tenant: Tenant
    contract_ref: UUID
    terms: BillingTerms
    waits_for_call: bool
    start: int
    end: int
    periods: dict[int, RatedPeriod]
    latest: RatedPeriod | None = None
    version: int = 1
    customer_id: int = 0
    bills_events: bool = False
    is_pending: bool = False

    @classmethod
    def of(
        cls,
        *,
        ref: UUID,
        shard_key: int,
        tenant: Tenant,
        contract_ref: UUID,
        terms: BillingTerms,
        waits_for_call: bool = False,
        version: int = 1,
    ) -> "Product":
        """Make a product that has no period in use yet."""
        end = _NEVER_MICROS
        if terms.end_day is not None:
            end = micros(first_instant(terms.end_day, terms.timezone))
        start = micros(first_instant(terms.first_day, terms.timezone))
        return cls(
            *(ref, shard_key, tenant, contract_ref, terms, waits_for_call, start, end, {}),
            version=version,
        )

    def period_at(self, instant: int) -> RatedPeriod | None:
        """Return the period that holds an instant, None when the contract is not in force."""
        latest = self.latest
        if latest is not None and latest.start <= instant < latest.end:
            return latest
        if not self.start <= instant < self.end:
            return None
        period = period_at(self.terms, _EPOCH + timedelta(microseconds=instant))
        if period is None:
            return None
        self.latest = self.rated(period)
        return self.latest

    def rated(self, period: Period) -> RatedPeriod:
        """Return a period of these terms with its ref."""
        known = self.periods.get(period.index)
        if known is None:
            start = micros(period.start)
            fields = (str(self.ref), period.start_date.isoformat())
            month = month_index(max(start, TIMESTAMP_MIN_MICROS))
            ref = derived_ref("period", month, self.shard_key, self.tenant.bits, *fields)
            known = RatedPeriod(ref, str(ref), period, month, start, micros(period.end))
            self.periods[period.index] = known
        return known


class Line:
    """A line of a contract product: what its meter's usage adds up in, period by period.

    meter_id: None where no events feed it. aggregation: how its meter adds up; unique_key: of a
    UNIQUE one, the key. is_count: an event adds one, whatever its quantity. is_plain: a total is
    nothing but what its events add. feeds: how events count in it, by their meters.
    charge: that of the period [start, end) looked for last, which is mostly the next one too; a
    line with cells has more than one of a period, and none is looked for last.
    has_cells, has_fees: the line's price is one of cells, of single events.
    kin: where what is weighted by time goes on through edits, the lines that it goes on in, of all
    versions in their order, this one among them.
    """

    __slots__ = (
        *("aggregation", "charge", "charges", "end", "feeds", "has_cells", "has_fees", "is_count"),
        *("is_plain", "kin", "meter_id", "price", "pricing_line_id", "product", "ref", "start"),
        "unique_key",
    )

    def __init__(
        self,
        *,
        ref: UUID,
        product: Product,
        meter_id: int | None,
        pricing_line_id: int,
        price: LinePrice,
        aggregation: str = "SUM",
        unique_key: str | None = None,
        feeds: Mapping[int, Feed] | None = None,
    ) -> None:
        self.ref = ref
        self.product = product
        self.meter_id = meter_id
        self.aggregation = aggregation
        self.unique_key = unique_key
        self.feeds = ({} if meter_id is None else {meter_id: OWN}) if feeds is None else feeds
        self.is_count = aggregation == "COUNT"
        self.is_plain = aggregation in PLAIN
        self.pricing_line_id = pricing_line_id
        self.price = price
        basis = basis_of(price)
        self.has_cells = basis == "CELLS"
        self.has_fees = basis == "EVENTS"
        self.charges: dict[tuple[int, str], Charge] = {}
        self.start = self.end = 0
        self.charge: Charge | None = None
        self.kin: tuple[Line, ...] = (self,)

    def charge_at(self, instant: int, data: str | None) -> "Charge | None":
        """Return the charge that usage of an instant adds to, None outside the contract.

        data: the event's additional data, which chooses the cell where there are cells.
        """
        if self.start <= instant < self.end:
            return self.charge
        period = self.product.period_at(instant)
        if period is None:
            return None
        if self.has_cells:
            return self.charge_of(period, cell_name_of(self.price, data))
        self.start, self.end = period.start, period.end
        self.charge = self.charge_of(period)
        return self.charge

    def charge_of(self, period: RatedPeriod, cell: str = "") -> "Charge":
        """Return the charge of a period of this line's product. cell: as it is stored."""
        key = (period.start, cell)
        charge = self.charges.get(key)
        if charge is None:
            charge = self.charges[key] = Charge(self, period, cell)
        return charge


class Charge:
    """A line's total in one period, as last committed; nothing is known until it was loaded.

    quantity, last: as `schemas.aggregation.Total` has them. key: orders charges as their table's
    key does. names: that key as texts, for `charges`.
    price: what the total is priced by: the line's, or that of its cell.
    amount, fees: where the line is priced by single events, what they come to, as committed; and
    how far they are counted, None where memory does not know.
    """

    __slots__ = (
        *("amount", "cell", "event_count", "fees", "is_loaded", "key", "last", "line"),
        *("names", "period", "price", "quantity", "ref"),
    )

    def __init__(self, line: Line, period: RatedPeriod, cell: str) -> None:
        product = line.product
        place = (period.month, product.shard_key, product.tenant.bits)
        self.ref = derived_ref("charge", *place, str(line.ref), period.ref_text, cell)
        self.key = product.shard_key << 128 | self.ref.int
        self.line = line
        self.period = period
        self.cell = cell
        price = line.price
        self.price = cell_price(price, cell_values(cell)) if line.has_cells else price
        self.amount = Amount(0)
        self.fees: FeeTally | None = None
        self.quantity = Quantity(0)
        self.event_count = 0
        self.last: Last | None = None
        self.is_loaded = False
        self.names: tuple[str, str] | None = None


class NewTotal(msgspec.Struct, gc=False):
    """What a charge comes to once the transaction in hand commits.

    fees: of its single events, where they are priced. last: as `schemas.aggregation.Total` has it.
    """

    charge: Charge
    quantity: Quantity
    event_count: int
    fees: FeeTally | None = None
    last: Last | None = None


class Fed(msgspec.Struct, frozen=True):
    """Lines that a meter's events count in, by one factor. others: those that are not plain."""

    factor: Fraction
    plain: tuple[Line, ...]
    others: tuple[Line, ...]


def fed_by_meters(lines: Iterable[Line]) -> dict[int, tuple[Fed, ...]]:
    """Return the lines that events count in, by their meter, those of factor 1 first."""
    found: dict[int, dict[Fraction, list[Line]]] = {}
    for line in lines:
        for meter_id, feed in line.feeds.items():
            found.setdefault(meter_id, {}).setdefault(feed.factor, []).append(line)
    return {
        meter_id: tuple(
            Fed(
                factor, tuple(o for o in own if o.is_plain), tuple(o for o in own if not o.is_plain)
            )
            for factor, own in sorted(by_factor.items(), key=lambda item: item[0] != WHOLE)
        )
        for meter_id, by_factor in found.items()
    }


#: A meter, the plain lines that take its events as they are, and all others, mostly none.
Measured = tuple[Meter, tuple[Line, ...], tuple[Fed, ...]]


class Customer:
    """A customer and the lines that price each meter, over all contracts.

    measured: by the meter's ref, what `Memory.measured` has found. packed: for `packing`.
    """

    __slots__ = (
        *("_fed", "bills_events", "customer_id", "customer_ref", "last_poll", "lines"),
        *("measured", "packed", "shard_key", "tenant"),
    )

    def __init__(
        self,
        *,
        customer_id: int,
        customer_ref: str,
        shard_key: int,
        tenant: Tenant,
        lines: Iterable[Line] = (),
    ) -> None:
        self.customer_id = customer_id
        self.customer_ref = customer_ref
        self.shard_key = shard_key
        self.tenant = tenant
        self.last_poll, self.bills_events = 0, False
        self.measured: dict[str, Measured] = {}
        self._fed: dict[int, tuple[Fed, ...]] = {}
        self.packed = b""
        self.lines: dict[int, tuple[Line, ...]] = {}
        for line in lines:
            if line.meter_id is not None and is_usage(line.price):
                self.lines[line.meter_id] = (*self.lines.get(line.meter_id, ()), line)
                self.bills_events |= line.product.bills_events

    def all_lines(self) -> list[Line]:
        """Return the lines that price a meter."""
        return [line for lines in self.lines.values() for line in lines]

    def fed_by(self, meter_id: int) -> tuple[Fed, ...]:
        """Return the lines that a meter's events count in."""
        if meter_id not in self._fed:  # it may have come to feed lines after others were met
            self._fed = {meter_id: (), **fed_by_meters(self.all_lines()), **self._fed}
        return self._fed[meter_id]

    def charge_count(self) -> int:
        """Return how many charges are in memory."""
        return sum(len(line.charges) for line in self.all_lines())


class Memory:
    """What one partition's owner knows. Customers come and go; tenants and meters stay."""

    def __init__(self, *, charges_max: int) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.meters: dict[str, Meter] = {}
        #: Formulas by the meter's id, None for a meter without one.
        self.formulas: dict[int, Formula | None] = {}
        #: How events count in a line, by the meter that the line prices and by their own.
        self.feeds: dict[int, dict[int, Feed]] = {}
        self.customers: dict[str, Customer] = {}
        self.poll_number = 0
        self._charges_max = charges_max
        self._refs_by_id: dict[int, str] = {}

    @property
    def sole_tenant(self) -> Tenant | None:
        """The tenant, where there is exactly one: records need not name it then."""
        return next(iter(self.tenants.values())) if len(self.tenants) == 1 else None

    def measured(self, customer: Customer, usage_product_ref: str) -> Measured | None:
        """Return a meter of the customer's tenant with its lines; None when there is none."""
        meter = self.meters.get(usage_product_ref)
        if meter is None or meter.tenant_id != customer.tenant.tenant_id:
            return None
        fed = customer.fed_by(meter.meter_id)
        plain: tuple[Line, ...] = ()
        if fed and fed[0].factor == WHOLE:
            plain, fed = fed[0].plain, (Fed(WHOLE, (), fed[0].others), *fed[1:])
        found = (meter, plain, tuple(one for one in fed if one.plain or one.others))
        customer.measured[usage_product_ref] = found
        return found

    def add_customer(self, customer: Customer) -> None:
        """Remember a customer."""
        self.customers[customer.customer_ref] = customer
        self._refs_by_id[customer.customer_id] = customer.customer_ref

    def forget_customer(self, customer_id: int) -> None:
        """Forget a customer whose contracts have changed."""
        ref = self._refs_by_id.pop(customer_id, None)
        if ref is not None:
            del self.customers[ref]

    def forget(self, customer_ref: str) -> None:
        """Forget a customer by its ref."""
        if (customer := self.customers.get(customer_ref)) is not None:
            self.forget_customer(customer.customer_id)

    def forget_customers(self) -> None:
        """Forget all customers and their charges: somebody else may have moved them."""
        self.customers.clear()
        self._refs_by_id.clear()

    def shrink(self) -> None:
        """Keep within the bound: forget customers without an event in the last poll, or all.

        Counting takes a while, so it is done once in a while.
        """
        if self.poll_number % _POLLS_BETWEEN_COUNTS:
            return
        count = sum(customer.charge_count() + 1 for customer in self.customers.values())
        if count <= self._charges_max:
            return
        idle = [c for c in self.customers.values() if c.last_poll != self.poll_number]
        for customer in idle:
            count -= customer.charge_count() + 1
            self.forget_customer(customer.customer_id)
        if count > self._charges_max:
            self.forget_customers()
