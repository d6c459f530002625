"""A customer's history under another pricing: each period drafted twice, side by side.

Both sides are drawn up by the drafting that invoices come from, from the same totals: those of the
period's last cut, so that one side is what was billed; or, of a period that is not closed yet, what
has been rated so far. Nothing is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web

from gateway.manage import context, values
from gateway.manage.answers import number, number_or_null
from gateway.manage.body import Body, Fields
from gateway.manage.history_events import Events, load_events, price_line
from gateway.manage.products import NewLine, find_meters, read_lines
from runtime.postgres import Connection, Queries
from schemas.document import DocumentLine, DocumentProduct, tiers_json
from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.errors import InvalidInput
from schemas.event_ref import shard_key
from schemas.money import (
    AMOUNT_DIGITS,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    Amount,
    Price,
    Quantity,
    currency_digits,
    decimal_to_scaled,
    scaled_to_decimal,
)
from schemas.periods import Part
from schemas.price import LinePrice, basis_of, from_json, is_usage
from schemas.simulation import WORK_MAX, weight

PERIODS_MAX: Final = 500
"""Periods of one answer."""

_NO_METER: Final = UUID(int=0)
_OF_EVENTS: Final = ("EVENTS", "CELLS")

Row = asyncpg.Record
queries: Final = Queries.beside(__file__, "history.sql")


class Asked(msgspec.Struct, frozen=True):
    """A customer's periods between two days, both inclusive, and what to price them by."""

    customer_ref: UUID
    first: date
    last: date
    pricing_ref: UUID | None
    lines: tuple[NewLine, ...]
    minimum_fee: Decimal | None


class Pricing(msgspec.Struct, frozen=True):
    """What the periods are priced by."""

    lines: Sequence[NewLine]
    minimum_fee: Price | None


class Used(msgspec.Struct, frozen=True):
    """What a meter came to in a period. exact: as `CutLine.exact_quantity`."""

    quantity: Quantity
    event_count: int
    exact: Fraction | None


def read_history(fields: Fields) -> Asked | None:
    """Read the body; None with the problems noted."""
    customer_ref = fields.optional(values.ref, "customer_ref")
    first = fields.optional(values.plain_date, "from")
    last = fields.optional(values.plain_date, "to")
    pricing_ref = fields.optional(values.ref, "pricing_ref")
    lines = tuple(read_lines(fields.each("line_items") or []))
    minimum_fee = fields.optional(values.fee, "minimum_fee")
    for name in ("customer_ref", "from", "to"):
        if not fields.has(name):
            fields.add("required", "is missing", name)
    if fields.has("pricing_ref") == fields.has("line_items"):
        fields.add("required", "needs either a pricing_ref or line_items", "pricing_ref")
    if fields.has("line_items") and not lines:
        fields.add("required", "must list at least one line item", "line_items")
    if customer_ref is None or first is None or last is None:
        return None
    if last < first:
        fields.add("dates_crossed", "must not be before from", "to")
    return Asked(customer_ref, first, last, pricing_ref, lines, minimum_fee)


async def simulate_history(request: web.Request, body: Body) -> dict[str, Any]:
    """Answer with every period under the pricing that is asked for, beside what was billed."""
    asked = read_history(body.fields)
    body.finish()
    assert asked is not None
    async with context.transaction(request) as (connection, tenant_id):
        pricing = await _find_pricing(body, connection, tenant_id, asked)
        place = shard_key(str(asked.customer_ref))
        customer = await connection.fetchrow(
            context.queries.find_customer, tenant_id, place, asked.customer_ref
        )
        if customer is None:
            raise InvalidInput("customer_unknown", "names no customer of yours", "/customer_ref")
        bounds = (asked.first, asked.last + timedelta(days=1))
        key = (tenant_id, place, customer["customer_id"])
        periods = await connection.fetch(queries.list_periods, *key, *bounds, PERIODS_MAX + 1)
        refs = [period["period_ref"] for period in periods]
        rows = await connection.fetch(
            queries.list_period_lines, tenant_id, place, refs, WORK_MAX + 1
        )
        _refuse_too_much(periods, rows, pricing)
        events = await load_events(connection, key, periods, _meters_of_events(pricing))
    by_period: dict[UUID, list[Row]] = {ref: [] for ref in refs}
    for row in rows:
        by_period[row["period_ref"]].append(row)
    compared = [
        _Comparison(period, by_period[period["period_ref"]], pricing, events) for period in periods
    ]
    return {
        "customer_ref": asked.customer_ref,
        "periods": [one.answer() for one in compared],
        "totals": list(_totals(compared)),
    }


def _refuse_too_much(periods: Sequence[Row], rows: Sequence[Row], pricing: Pricing) -> None:
    """Refuse what would keep others waiting. Raises InvalidInput."""
    work = len(periods) * sum(weight(line.price) for line in pricing.lines)
    if len(rows) <= WORK_MAX:
        work += sum(weight(from_json(row["price"])) for row in rows)
    if len(periods) > PERIODS_MAX or len(rows) > WORK_MAX or work > WORK_MAX:
        detail = f"there is too much to price in {len(periods)} periods: ask for a shorter time"
        raise InvalidInput("simulation_too_large", detail, "/to")


async def _find_pricing(
    body: Body, connection: Connection, tenant_id: int, asked: Asked
) -> Pricing:
    """Return the line items to price by; a pricing that is not published may be tried too."""
    fee = asked.minimum_fee
    lines = asked.lines
    if asked.pricing_ref is None:
        await find_meters(body, connection, tenant_id, lines)
    else:
        found = await connection.fetchrow(
            context.queries.find_pricings, tenant_id, [asked.pricing_ref]
        )
        if found is None:
            raise InvalidInput("pricing_unknown", "names no pricing of yours", "/pricing_ref")
        fee = found["minimum_fee"] if fee is None else fee
        rows = await connection.fetch(
            context.queries.list_pricing_lines, tenant_id, [found["pricing_id"]]
        )
        lines = tuple(
            NewLine(row["item"], row["usage_product_ref"], from_json(row["price"])) for row in rows
        )
    return Pricing(lines, None if fee is None else _price(fee))


def _meters_of_events(pricing: Pricing) -> set[UUID]:
    """Return the meters whose events are needed one by one."""
    return {
        line.meter_ref
        for line in pricing.lines
        if line.meter_ref is not None and basis_of(line.price) in _OF_EVENTS
    }


class _Comparison:
    """One period, drafted by its contract and by the pricing that is asked for."""

    def __init__(self, period: Row, rows: Sequence[Row], pricing: Pricing, events: Events) -> None:
        self.period = period
        self.events = events
        self.currency: str = period["currency"]
        self.digits = currency_digits(self.currency)
        self.used = _used(rows)
        self.lines = pricing.lines
        fee = period["minimum_fee"]
        self.meters = {row["contract_line_ref"]: row["usage_product_ref"] for row in rows}
        self.billed = self._draft(map(_billed_line, rows), None if fee is None else _price(fee))
        self.simulated = self._draft(self._simulated_lines(), pricing.minimum_fee)

    def _simulated_lines(self) -> Iterator[CutLine]:
        """Put the totals on the lines; a meter that no line of the contract prices has none."""
        for index, line in enumerate(self.lines):
            if line.meter_ref is None or line.meter_ref in self.used:
                used = self.used.get(line.meter_ref or _NO_METER, Used(Quantity(0), 0, None))
                drawn = _line(UUID(int=index), line.item, line.price, used)
                if line.meter_ref is None or basis_of(line.price) not in _OF_EVENTS:
                    yield drawn
                    continue
                place = (self.period["period_ref"], line.meter_ref)
                yield from price_line(drawn, self.events.get(place, ()))

    def _draft(self, lines: Iterator[CutLine], minimum_fee: Price | None) -> DocumentProduct:
        period = self.period
        product = ProductInput(
            contract_product_ref=period["contract_product_ref"],
            period_ref=period["period_ref"],
            cut_number=0,
            product_name=period["product_name"],
            lines=list(lines),
            part=Part.of(
                start_date=period["start_date"],
                end_date=period["end_date"],
                full_start_date=period["full_start_date"],
                full_end_date=period["full_end_date"],
            ),
            is_first_period=period["period_index"] == 0,
            minimum_fee=minimum_fee,
            discount_percent=_price(period["discount"]),
        )
        return draft_document([product], self.currency).products[0]

    def answer(self) -> dict[str, Any]:
        """Show the period."""
        period = self.period
        return {
            "contract_ref": period["contract_ref"],
            "product_name": period["product_name"],
            "start": period["start_date"],
            "end": period["end_date"],
            "currency": self.currency,
            "invoice_ref": period["document_ref"],
            "document_number": period["document_number"],
            "lines": list(self._pairs()),
            "billed": self._side(self.billed),
            "simulated": self._side(self.simulated),
            "difference": self.money(self.simulated.discounted - self.billed.discounted),
        }

    def _pairs(self) -> Iterator[dict[str, Any]]:
        """Pair the lines of both sides: those of one meter, or of one name, in their order."""
        waiting: dict[object, list[DocumentLine]] = {}
        for old in _without_cells(self.billed.lines):
            name = self.meters[old.contract_line_ref] or old.item
            waiting.setdefault(name, []).append(old)
        drafted = {line.contract_line_ref: line for line in _without_cells(self.simulated.lines)}
        for index, line in enumerate(self.lines):
            new = drafted.get(UUID(int=index))
            name = line.meter_ref or line.item
            if new is not None:
                olds = waiting.get(name)
                yield self._pair(line.meter_ref, olds.pop(0) if olds else None, new)
            elif is_usage(line.price):
                yield self._unknown(line)
        for name, olds in waiting.items():
            for old in olds:
                yield self._pair(name if isinstance(name, UUID) else None, old, None)

    def _pair(
        self, meter_ref: UUID | None, old: DocumentLine | None, new: DocumentLine | None
    ) -> dict[str, Any]:
        shown = new or old
        assert shown is not None
        billed, simulated = (None if line is None else line.amount for line in (old, new))
        return {
            "item": shown.item,
            "model": shown.price.model,
            "usage_product_ref": meter_ref,
            "quantity": number(scaled_to_decimal(shown.quantity, QUANTITY_DIGITS)),
            "event_count": shown.event_count,
            "billed": None if billed is None else self.money(billed),
            "simulated": None if simulated is None else self.money(simulated),
            "difference": self.money((simulated or 0) - (billed or 0)),
            "tiers": msgspec.Raw(tiers_json(() if new is None else new.tiers).encode()),
        }

    def _unknown(self, line: NewLine) -> dict[str, Any]:
        """Show a line whose usage no contract covered: what it came to is not known."""
        nothing = ("quantity", "event_count", "billed", "simulated", "difference")
        return {
            "item": line.item,
            "model": line.price.model,
            "usage_product_ref": line.meter_ref,
            **dict.fromkeys(nothing),
            "tiers": [],
        }

    def _side(self, product: DocumentProduct) -> dict[str, Any]:
        fee = product.minimum_fee
        return {
            "sub_total": self.money(product.sub_total),
            "minimum_fee": number_or_null(
                None if fee is None else scaled_to_decimal(fee, self.digits)
            ),
            "discount": self.money(product.discount),
            "total": self.money(product.discounted),
        }

    def money(self, minor: int) -> msgspec.Raw:
        """Show rounded money."""
        return number(scaled_to_decimal(minor, self.digits))


def _totals(compared: Sequence[_Comparison]) -> Iterator[dict[str, Any]]:
    """Sum both sides, a currency."""
    for currency in sorted({one.currency for one in compared}):
        own = [one for one in compared if one.currency == currency]
        billed = sum(one.billed.discounted for one in own)
        simulated = sum(one.simulated.discounted for one in own)
        money = own[0].money
        yield {
            "currency": currency,
            "billed": money(billed),
            "simulated": money(simulated),
            "difference": money(simulated - billed),
        }


def _used(rows: Iterable[Row]) -> dict[UUID, Used]:
    """Return what each meter came to; the cells of a line add up to it."""
    lines: dict[UUID, tuple[UUID, Used]] = {}
    for row in rows:
        if row["usage_product_ref"] is not None:
            used = _used_in(row)
            _, before = lines.get(row["contract_line_ref"], (None, None))
            if before is not None:
                quantity = Quantity(before.quantity + used.quantity)
                used = Used(quantity, before.event_count + used.event_count, None)
            lines[row["contract_line_ref"]] = (row["usage_product_ref"], used)
    return dict(lines.values())


def _without_cells(lines: Iterable[DocumentLine]) -> Iterator[DocumentLine]:
    """Yield lines, those of the cells of one as one."""
    for _, group in groupby(lines, key=lambda line: line.contract_line_ref):
        first, *rest = group
        yield msgspec.structs.replace(
            first,
            quantity=Quantity(first.quantity + sum(line.quantity for line in rest)),
            amount=first.amount + sum(line.amount for line in rest),
            event_count=first.event_count + sum(line.event_count for line in rest),
        )


def _billed_line(row: Row) -> CutLine:
    price = from_json(row["price"])
    line = _line(row["contract_line_ref"], row["item"], price, _used_in(row))
    fees = decimal_to_scaled(row["amount"], AMOUNT_DIGITS) if price.event_fees else 0
    return msgspec.structs.replace(line, cell=row["cell"], fees=Amount(fees))


def _used_in(row: Row) -> Used:
    exact = row["exact_quantity"]
    quantity = _quantity(row["quantity"])
    return Used(quantity, row["event_count"], None if exact is None else Fraction(exact))


def _line(ref: UUID, item: str, price: LinePrice, used: Used) -> CutLine:
    is_used = is_usage(price)
    return CutLine(
        line_item_ref=ref,
        contract_line_ref=ref,
        pricing_line_id=0,
        item=item,
        price=price,
        quantity=used.quantity if is_used else Quantity(0),
        event_count=used.event_count if is_used else 0,
        exact_quantity=used.exact if is_used else None,
    )


def _quantity(value: Decimal) -> Quantity:
    return Quantity(decimal_to_scaled(value, QUANTITY_DIGITS))


def _price(value: Decimal) -> Price:
    return Price(decimal_to_scaled(value, PRICE_DIGITS))
