"""Writes a contract: looks up what it names, settles its terms, and adds its rows.

The row of the customer's partition stays locked from the moment the change is announced to the
end of the transaction, so that no event is rated in between.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
from msgspec import Struct

from gateway.manage.body import Body
from gateway.manage.changes import announce
from gateway.manage.context import queries
from gateway.manage.entities import billing_details_of
from gateway.manage.meter_relations import lock_meters
from gateway.manage.overrides import Line, apply, meters_named
from gateway.manage.parts import PaymentDetails, check_ways_to_pay, encode_details
from gateway.manage.payment_times import ahead_since, check_payment_time, check_renewal
from gateway.manage.products import check_sellable, select_lines
from gateway.manage.terms import (
    Dates,
    NewContract,
    NewProduct,
    Payable,
    document_groups,
    local_dates,
    settled_net_terms,
)
from runtime.clock import to_micros
from runtime.postgres import Connection
from schemas.errors import InvalidInput
from schemas.event_ref import (
    TIMESTAMP_MIN_MICROS,
    RefKind,
    derived_ref,
    month_index,
    shard_key,
)
from schemas.periods import DATE_MAX, BillingTerms, first_instant
from schemas.renewal import anchor_of


class Reference(Struct, frozen=True):
    """What a contract's body names, as the database has it.

    entities: by ref, the customer's own among them. lines: by pricing_id. meters: those that
    overrides name.
    """

    customer: asyncpg.Record
    entities: Mapping[UUID, asyncpg.Record]
    pricings: Mapping[UUID, asyncpg.Record]
    meters: Mapping[UUID, asyncpg.Record]
    lines: Mapping[int, Sequence[asyncpg.Record]]


class SettledProduct(Struct, frozen=True):
    """A contract product with every term settled."""

    product: NewProduct
    pricing_id: int
    pricing: asyncpg.Record
    entity: asyncpg.Record
    dates: Dates
    net_terms: str
    minimum_fee: Decimal | None
    lines: Sequence[Line]
    overrides: str

    @property
    def in_force(self) -> Dates:
        """The days that it is in force: without a last one while it renews itself."""
        dates, product = self.dates, self.product
        if not product.renews or dates.end_date is None:
            return dates
        anchor, cycle = dates.issue_day, product.cycle
        if anchor is None:
            anchor = anchor_of(dates.start_date, dates.end_date, cycle.unit, cycle.length)
        return Dates(dates.start_date, None, anchor)


class RefMaker(Struct, frozen=True):
    """Makes the refs of one contract's rows: all live where the customer's rows do."""

    month: int
    shard_key: int
    tenant_bits: int

    def ref(self, kind: RefKind, *fields: str | int) -> UUID:
        """Return the ref of a row, from what tells it apart."""
        return derived_ref(kind, self.month, self.shard_key, self.tenant_bits, *fields)

    def contract_ref(self) -> UUID:
        """Return the ref of another contract."""
        return self.ref("contract", str(uuid4()))

    def product_ref(self, contract_ref: UUID, position: int, version: int = 1) -> UUID:
        """Return the ref of a contract product as a version of its contract has it."""
        edition = () if version == 1 else (version,)
        return self.ref("contract_product", str(contract_ref), position, *edition)


async def load_reference(
    body: Body, connection: Connection, tenant_id: int, contract: NewContract
) -> Reference:
    """Look up what a contract names. Raises InvalidInput when the customer is unknown."""
    place = shard_key(str(contract.customer_ref))
    customer = await connection.fetchrow(
        queries.find_customer, tenant_id, place, contract.customer_ref
    )
    if customer is None:
        body.add("customer_unknown", "names no customer of yours", "/customer_ref")
    body.refuse()
    assert customer is not None
    entity_refs = [p.entity_ref for p in contract.products if p.entity_ref is not None]
    entities = await connection.fetch(
        queries.find_entities, tenant_id, [*entity_refs, customer["entity_ref"]]
    )
    pricing_refs = [product.pricing_ref for product in contract.products]
    pricings = await connection.fetch(queries.find_pricings, tenant_id, pricing_refs)
    pricing_ids = [row["pricing_id"] for row in pricings]
    lines: dict[int, list[asyncpg.Record]] = {pricing_id: [] for pricing_id in pricing_ids}
    for row in await connection.fetch(queries.list_pricing_lines, tenant_id, pricing_ids):
        lines[row["pricing_id"]].append(row)
    named = [ref for product in contract.products for ref in meters_named(product.overrides)]
    meters = await connection.fetch(queries.find_meters, tenant_id, named)
    return Reference(
        customer=customer,
        entities={row["entity_ref"]: row for row in entities},
        pricings={row["pricing_ref"]: row for row in pricings},
        meters={row["usage_product_ref"]: row for row in meters},
        lines=lines,
    )


def settle(body: Body, contract: NewContract, reference: Reference) -> list[SettledProduct]:
    """Settle every product's terms. Raises InvalidInput that lists all that can't be."""
    settled = [_settle_product(product, reference) for product in contract.products]
    body.refuse()
    return [product for product in settled if product is not None]


def _settle_product(product: NewProduct, reference: Reference) -> SettledProduct | None:
    """Settle one product's terms; None when a problem was noted."""
    fields = product.fields
    customer = reference.customer
    entity = reference.entities.get(product.entity_ref or customer["entity_ref"])
    pricing = reference.pricings.get(product.pricing_ref)
    if entity is None:
        fields.add("entity_unknown", "names no entity of yours", "entity_ref")
    if pricing is None:
        fields.add("pricing_unknown", "names no pricing of yours", "pricing_ref")
    if entity is None or pricing is None:
        return None
    if not pricing["is_published"]:
        fields.add("pricing_not_published", "must be published before it is sold", "pricing_ref")
    check_ways_to_pay(product.terms, product.payment, billing_details_of(entity), entity["name"])
    dates = local_dates(product, entity["timezone"])
    if dates is None:
        return None
    net_terms = settled_net_terms(product, customer["net_terms"], entity["net_terms"])
    lines, overrides = _settle_lines(
        product,
        customer["currency"],
        reference.lines[pricing["pricing_id"]],
        reference.meters,
    )
    check_payment_time(product, net_terms, lines)
    check_renewal(product, dates)
    return SettledProduct(
        product=product,
        pricing_id=pricing["pricing_id"],
        pricing=pricing,
        entity=entity,
        dates=dates,
        net_terms=net_terms,
        minimum_fee=_first(product.minimum_fee, pricing["minimum_fee"]),
        lines=lines,
        overrides=overrides,
    )


def _first(*choices: Decimal | None) -> Decimal | None:
    """Return the first number that there is; zero is one."""
    return next((choice for choice in choices if choice is not None), None)


def _settle_lines(
    product: NewProduct,
    currency: str,
    lines: Sequence[Line],
    meters: Mapping[UUID, asyncpg.Record],
) -> tuple[Sequence[Line], str]:
    """Return the line items that a product names, or all, and its overrides as they are stored.

    Notes a problem for each wrong one.
    """
    fields = product.fields
    if product.line_refs is not None:
        lines, unknown = select_lines(lines, product.line_refs)
        for index in unknown:
            pointer = f"{fields.at('line_items')}/{index}/line_item_ref"
            fields.body.add("line_item_unknown", "is no line item of this pricing", pointer)
    lines, overrides = apply(product.overrides, lines, meters)
    fields.check("pricing_ref", lambda: check_sellable(lines, currency))
    return lines, overrides


async def write_contract(
    connection: Connection,
    tenant_id: int,
    maker: RefMaker,
    contract: NewContract,
    customer: asyncpg.Record,
    products: Sequence[SettledProduct],
    made_by: str,
    contract_ref: UUID,
) -> None:
    """Announce a contract and add its rows; its number is the tenant's next."""
    await announce(
        connection,
        tenant_id,
        kind="CONTRACT",
        shard_key=maker.shard_key,
        customer_id=customer["customer_id"],
        contract_ref=contract_ref,
    )
    await refuse_archived(connection, maker.shard_key, customer, products)
    number = await connection.fetchval(queries.take_contract_number, tenant_id)
    await connection.execute(
        queries.add_contract,
        maker.shard_key,
        contract_ref,
        tenant_id,
        customer["customer_id"],
        number,
        contract.po_number,
        contract.invoice_mode,
        contract.closing,
        contract.closes_ended,
        contract.review,
    )
    version = (maker.shard_key, contract_ref, 1, tenant_id)
    await connection.execute(queries.add_contract_version, *version, "MADE", False, made_by)
    groups = document_groups(contract.invoice_mode, [payable(p, customer) for p in products])
    now = await connection.fetchval(queries.transaction_time)
    for position, (product, group) in enumerate(zip(products, groups, strict=True)):
        since = None if contract.closes_ended else ahead_since(billing_terms(product), now)
        place = Place(tenant_id, contract_ref, position, group, ahead_since=since)
        await add_product(connection, maker, place, terms_row(product, customer), product.lines)


class Place(Struct, frozen=True):
    """Where a contract product stands, and from which day on its terms count there.

    carries_on: the lineage that it goes on with, None: it begins one.
    ahead_since: see `BillingTerms`.
    """

    tenant_id: int
    contract_ref: UUID
    position: int
    document_group: int
    version: int = 1
    since: date | None = None
    carries_on: UUID | None = None
    ahead_since: date | None = None


async def add_product(
    connection: Connection,
    maker: RefMaker,
    place: Place,
    terms: tuple[Any, ...],
    lines: Sequence[Line],
) -> UUID:
    """Add a contract product with its lines; returns its ref. terms: of `terms_row`."""
    product_ref = maker.product_ref(place.contract_ref, place.position, place.version)
    await connection.execute(
        queries.add_contract_product,
        *(maker.shard_key, product_ref, place.tenant_id, place.contract_ref),
        *(place.position, place.document_group, *terms, place.version, place.since),
        *(place.ahead_since, place.carries_on),
    )
    if any(line.get("is_own") for line in lines):
        await lock_meters(connection, place.tenant_id)  # they may price other meters
    for position, line in enumerate(lines):
        price_version = line["pricing_line_id"]
        if line.get("is_own"):
            price_version = await connection.fetchval(
                *(queries.add_own_line, place.tenant_id, price_version, uuid4()),
                *(line["item"], line["meter_id"], line["price"], place.contract_ref),
            )
        ref = maker.ref("contract_line", str(product_ref), str(line["line_item_ref"]))
        row = (maker.shard_key, ref, place.tenant_id, product_ref, position, price_version)
        await connection.execute(queries.add_contract_line, *row)
    return product_ref


async def refuse_archived(
    connection: Connection,
    shard_key: int,
    customer: asyncpg.Record,
    products: Sequence[SettledProduct],
) -> None:
    """Raise InvalidInput when a product would price usage that is in an archive.

    The partition is locked: none is archived meanwhile.
    """
    for settled in products:
        meters = [line["usage_product_ref"] for line in settled.lines]
        dates, zone = settled.in_force, settled.entity["timezone"]
        bounds = (dates.start_date, (dates.end_date or DATE_MAX) + timedelta(days=1))
        months = [_month(first_instant(day, zone)) for day in bounds]
        last = await connection.fetchval(
            *(queries.find_archived_usage, shard_key, customer["customer_id"]), meters, *months
        )
        if last is not None:
            detail = f"usage of it up to {2000 + last // 12}-{last % 12 + 1:02} is in an archive"
            pointer = settled.product.terms.at("billing_start_date")
            raise InvalidInput("month_archived", detail, pointer)


def _month(instant: datetime) -> int:
    """Return the month that the ref of an event of that instant would have."""
    return month_index(max(to_micros(instant), TIMESTAMP_MIN_MICROS))


def payable(settled: SettledProduct, customer: asyncpg.Record) -> Payable:
    """Return what a product must share with another to be on its document."""
    own = msgspec.json.decode(customer["details"], type=PaymentDetails)
    payment = settled.product.payment.over(own)
    return Payable(settled.entity["entity_id"], customer["currency"], settled.net_terms, payment)


TERMS_COLUMNS: Final = (
    *("pricing_id", "entity_id", "currency", "timezone", "billing_start_date"),
    *("billing_end_date", "cycle_unit", "cycle_length", "issue_day", "payment_time", "tax"),
    *("discount", "net_terms", "minimum_fee", "note", "term_end_date", "details", "commitments"),
    *("credits", "overrides"),
)
"""The names of what `terms_row` returns; the last four are JSON."""


def billing_terms(settled: SettledProduct) -> BillingTerms:
    """Return the terms that cut a product's time into periods."""
    product, dates = settled.product, settled.in_force
    return BillingTerms(
        start_date=dates.start_date,
        end_date=dates.end_date,
        unit=product.cycle.unit,
        cycle=product.cycle.length,
        issue_day=dates.issue_day,
        payment_time=product.payment_time,
        timezone=settled.entity["timezone"],
    )


def terms_row(settled: SettledProduct, customer: asyncpg.Record) -> tuple[Any, ...]:
    """Return a product's columns from pricing_id on."""
    product, dates = settled.product, settled.in_force
    return (
        settled.pricing_id,
        settled.entity["entity_id"],
        customer["currency"],
        settled.entity["timezone"],
        dates.start_date,
        dates.end_date,
        product.cycle.unit,
        product.cycle.length,
        dates.issue_day,
        product.payment_time,
        _first(product.tax, customer["tax"]) or Decimal(0),
        product.discount,
        settled.net_terms,
        settled.minimum_fee,
        product.note,
        settled.dates.end_date if product.renews else None,
        encode_details(product.payment),
        product.commitments,
        product.credits,
        settled.overrides,
    )
