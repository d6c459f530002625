"""A business whose periods are closed, as rows: what the invoicer finds when it starts.

`Books` collects rows and writes them at once, so that thousands of contracts take a moment.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec

from invoicer.inputs import InputKey, input_key
from runtime.postgres import Connection
from schemas.event_ref import derived_ref, shard_key, shard_key_of, tenant_bits
from schemas.money import AMOUNT_DIGITS, QUANTITY_DIGITS, parse_quantity, scaled_to_decimal
from schemas.periods import BillingTerms, CycleUnit, Period, periods_ending_by
from schemas.price import parse_line_price, price_total, to_json

CLOSED_AT = datetime(2026, 9, 1, 3, tzinfo=UTC)

#: A dollar each, a third of a cent each, and tiers with a flat fee.
PER_UNIT: Mapping[str, object] = {"model": "PER_UNIT", "price": "1"}
FINE: Mapping[str, object] = {"model": "PER_UNIT", "price": "0.0033"}
FLAT: Mapping[str, object] = {"model": "FLAT", "price": "49.90"}
TIERED: Mapping[str, object] = {
    "model": "GRADUATED",
    "tiers": [
        {"up_to": "1000", "unit_price": "0.01", "flat_fee": "10"},
        {"up_to": "5000", "unit_price": "0.008"},
        {"unit_price": "0.005"},
    ],
}


class Issuer(NamedTuple):
    """A tenant and one of its entities."""

    tenant_id: int
    tenant_ref: UUID
    entity_id: int
    currency: str
    timezone: str


class Line(NamedTuple):
    """A line item, and the usage of each of its periods. meter_id: of `Books.meter`."""

    item: str
    price: Mapping[str, object]
    quantity: str = "0"
    meter_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Product:
    """A contract product as a test wants it.

    carries_on: the place of the first product of its contract that it goes on with.
    """

    lines: Sequence[Line] = (Line("API calls", PER_UNIT, "100"),)
    name: str = "API"
    group: int = 0
    start: date = date(2026, 8, 1)
    end: date | None = date(2026, 8, 31)
    unit: CycleUnit = "MONTHLY"
    issue_day: date | None = None
    tax: str = "0"
    discount: str = "0"
    net_terms: str = "30"
    minimum_fee: str | None = None
    payment_time: str = "AFTER_USE"
    commitments: Sequence[Mapping[str, str]] = ()
    credits: Sequence[Mapping[str, object]] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    since: date | None = None
    until: date | None = None
    carries_on: int | None = None


class SoldProduct(NamedTuple):
    """A contract product that was written."""

    issuer: Issuer
    ref: UUID
    terms: BillingTerms
    lines: Sequence[tuple[UUID, int, Line]]


class Contract(NamedTuple):
    """A contract that was written."""

    ref: UUID
    shard_key: int
    customer_ref: UUID
    products: Sequence[SoldProduct]


class Books:
    """Rows by table, in the order in which they are written."""

    def __init__(self, cut_at: datetime = CLOSED_AT) -> None:
        """cut_at: when the periods were cut; long ago, so that a scan finds them at once."""
        self._cut_at = cut_at
        self._rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._ids = itertools.count(1_000)

    def issuer(
        self,
        *,
        number_format: str = "INV-{year}-{number:03}",
        currency: str = "USD",
        timezone: str = "Europe/Berlin",
        details: Mapping[str, object] | None = None,
    ) -> Issuer:
        """Add a tenant with one entity."""
        tenant_id, tenant_ref = next(self._ids), uuid4()
        self._add("tenant", tenant_id=tenant_id, tenant_ref=tenant_ref, name="Northwind")
        tenant = Issuer(tenant_id, tenant_ref, 0, currency, timezone)
        return self.entity(tenant, number_format=number_format, details=details)

    def entity(
        self,
        tenant: Issuer,
        *,
        name: str = "Northwind",
        number_format: str = "INV-{year}-{number:03}",
        details: Mapping[str, object] | None = None,
    ) -> Issuer:
        """Add an entity to a tenant, with its currency and zone."""
        entity_id = next(self._ids)
        self._add(
            "entity",
            tenant_id=tenant.tenant_id,
            entity_id=entity_id,
            entity_ref=uuid4(),
            name=name,
            legal_name="Northwind Metering Ltd",
            timezone=tenant.timezone,
            currency=tenant.currency,
            document_number_format=number_format,
            details=_json(details or {}),
        )
        return tenant._replace(entity_id=entity_id)

    def meter(self, issuer: Issuer) -> int:
        """Add a meter to a tenant."""
        place = {"tenant_id": issuer.tenant_id, "meter_id": next(self._ids)}
        self._add("meter", **place, usage_product_ref=uuid4(), name="Calls", aggregation="SUM")
        return place["meter_id"]

    def contract(
        self,
        issuer: Issuer,
        *products: Product,
        legal_name: str = "Acme",
        email: str = "billing@acme.example",
        settings: Mapping[str, bool] | None = None,
        locale: str | None = None,
    ) -> Contract:
        """Add a customer with one contract of these products."""
        customer_ref, customer_id = uuid4(), next(self._ids)
        shard = shard_key(str(customer_ref))
        ref = derived_ref("contract", 319, shard, tenant_bits(str(issuer.tenant_ref)), str(uuid4()))
        self._add(
            "customer",
            shard_key=shard,
            customer_id=customer_id,
            customer_ref=customer_ref,
            tenant_id=issuer.tenant_id,
            entity_id=issuer.entity_id,
            name=legal_name,
            legal_name=legal_name,
            email=email,
            currency=issuer.currency,
            details=_json(
                {"city": "Berlin", "settings": settings or {}}
                | ({} if locale is None else {"locale": locale})
            ),
        )
        self._add(
            "contract",
            shard_key=shard,
            contract_ref=ref,
            tenant_id=issuer.tenant_id,
            customer_id=customer_id,
            contract_number=customer_id,
            invoice_mode="COLLECTIVE",
            closing="MANUAL",
            state="ACTIVE",
        )
        sold = [self._product(issuer, ref, n, p) for n, p in enumerate(products or (Product(),))]
        return Contract(ref, shard, customer_ref, sold)

    def _product(
        self, issuer: Issuer, contract_ref: UUID, position: int, product: Product
    ) -> SoldProduct:
        tenant_id, ref = issuer.tenant_id, _ref("contract_product", contract_ref, position)
        pricing_id = self._pricing(tenant_id, product.name)
        self._add(
            "contract_product",
            shard_key=shard_key_of(contract_ref.int),
            contract_product_ref=ref,
            tenant_id=tenant_id,
            contract_ref=contract_ref,
            position=position,
            document_group=product.group,
            pricing_id=pricing_id,
            entity_id=issuer.entity_id,
            currency=issuer.currency,
            timezone=issuer.timezone,
            billing_start_date=product.start,
            billing_end_date=product.end,
            cycle_unit=product.unit,
            cycle_length=1,
            issue_day=product.issue_day,
            payment_time=product.payment_time,
            tax=Decimal(product.tax),
            discount=Decimal(product.discount),
            net_terms=product.net_terms,
            minimum_fee=None if product.minimum_fee is None else Decimal(product.minimum_fee),
            details=_json(product.details),
            commitments=_json(product.commitments),
            credits=_json(product.credits),
            since_date=product.since,
            until_date=product.until,
            carries_on_ref=_carried(contract_ref, product.carries_on),
        )
        lines = [
            self._line(tenant_id, pricing_id, ref, n, line) for n, line in enumerate(product.lines)
        ]
        terms = BillingTerms(
            start_date=product.start,
            end_date=product.end,
            unit=product.unit,
            issue_day=product.issue_day,
            timezone=issuer.timezone,
            since=product.since,
            until=product.until,
        )
        return SoldProduct(issuer, ref, terms, lines)

    def _pricing(self, tenant_id: int, name: str) -> int:
        product_id, pricing_id = next(self._ids), next(self._ids)
        self._add(
            "product",
            tenant_id=tenant_id,
            product_id=product_id,
            product_ref=uuid4(),
            name=f"{name} {product_id}",
        )
        self._add(
            "pricing",
            tenant_id=tenant_id,
            pricing_id=pricing_id,
            pricing_ref=uuid4(),
            product_id=product_id,
            name="List",
            is_published=False,  # until it has its lines
        )
        return pricing_id

    def _line(
        self, tenant_id: int, pricing_id: int, product_ref: UUID, position: int, line: Line
    ) -> tuple[UUID, int, Line]:
        pricing_line_id, ref = next(self._ids), _ref("contract_line", product_ref, position)
        self._add(
            "pricing_line",
            tenant_id=tenant_id,
            pricing_line_id=pricing_line_id,
            line_item_ref=uuid4(),
            pricing_id=pricing_id,
            position=position,
            item=line.item,
            meter_id=line.meter_id,
            price=to_json(parse_line_price(line.price)),
        )
        self._add(
            "contract_line",
            shard_key=shard_key_of(product_ref.int),
            contract_line_ref=ref,
            tenant_id=tenant_id,
            contract_product_ref=product_ref,
            position=position,
            pricing_line_id=pricing_line_id,
        )
        return ref, pricing_line_id, line

    def close(self, *products: SoldProduct, through: date = date(2026, 8, 31)) -> list[InputKey]:
        """Add the cuts of all periods that end by a day; the inputs that they are."""
        return [
            self.cut(product, period)
            for product in products
            for period in periods_ending_by(product.terms, through)
        ]

    def cut(
        self, product: SoldProduct, period: Period, number: int = 1, *, quantity: str | None = None
    ) -> InputKey:
        """Add one cut of a period; with the first one, the period.

        quantity: of every line; None for what the lines say.
        """
        shard, tenant_id = shard_key_of(product.ref.int), product.issuer.tenant_id
        ref = _ref("period", product.ref, period.index)
        if number == 1:
            self._period(product, period, ref)
        place = {"shard_key": shard, "period_ref": ref, "cut_number": number}
        self._add(
            "period_cut",
            **place,
            tenant_id=tenant_id,
            partition=0,
            cut_offset=7,
            cut_at=self._cut_at,
        )
        for line_ref, pricing_line_id, line in product.lines:
            total = parse_quantity(line.quantity if quantity is None else quantity)
            event_count = 1 if total else 0
            amount = price_total(parse_line_price(line.price), total, event_count)
            self._add(
                "charge_cut",
                **place,
                contract_line_ref=line_ref,
                tenant_id=tenant_id,
                charge_ref=_ref("charge", line_ref, period.index),
                pricing_line_id=pricing_line_id,
                quantity=scaled_to_decimal(total, QUANTITY_DIGITS),
                event_count=event_count,
                amount=scaled_to_decimal(amount, AMOUNT_DIGITS),
            )
        return input_key(product.ref, ref, number)

    def _period(self, product: SoldProduct, period: Period, ref: UUID) -> None:
        self._add(
            "billing_period",
            shard_key=shard_key_of(ref.int),
            period_ref=ref,
            tenant_id=product.issuer.tenant_id,
            contract_product_ref=product.ref,
            period_index=period.index,
            start_at=period.start,
            end_at=period.end,
            start_date=period.start_date,
            end_date=period.end_date,
            full_start_date=period.full_start_date,
            full_end_date=period.full_end_date,
            issue_date=period.issue_date,
            is_partial=period.is_partial,
            last_cut_number=1,
        )

    async def write(self, connection: Connection) -> None:
        """Write what was added since the last time."""
        rows, self._rows = self._rows, defaultdict(list)
        async with connection.transaction():
            for table, records in rows.items():
                columns = list(records[0])
                await connection.copy_records_to_table(
                    table, records=[tuple(r.values()) for r in records], columns=columns
                )
            if "pricing" in rows:
                await connection.execute(
                    "UPDATE pricing SET is_published = true WHERE NOT is_published"
                )

    def _add(self, table: str, **row: Any) -> None:  # noqa: ANN401 - a row's values are of all types
        self._rows[table].append(row)


def messages(keys: Sequence[InputKey], customer_ref: UUID) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records by which the rater tells of cuts."""
    for key in keys:
        value = {
            "v": 1,
            "trigger": key.trigger,
            "contract_product_ref": key.contract_product_ref,
            "period_ref": key.period_ref,
            "cut_number": key.cut_number,
        }
        yield str(customer_ref).encode(), msgspec.json.encode(value)


def _carried(contract_ref: UUID, place: int | None) -> UUID | None:
    return None if place is None else _ref("contract_product", contract_ref, place)


def _ref(kind: Any, parent: UUID, number: int) -> UUID:  # noqa: ANN401 - one of RefKind's words
    return derived_ref(kind, 319, shard_key_of(parent.int), 0, str(parent), number)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
