"""An issued document as the database keeps it: all that its files are made from."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from invoicer.repository import columns, exact_quantity, line_price, queries
from runtime.postgres import Connection
from schemas.money import PRICE_DIGITS, QUANTITY_DIGITS, Price, Quantity, decimal_to_scaled
from schemas.periods import Part
from schemas.price import LinePrice


class IssuedTier(msgspec.Struct, frozen=True):
    """What a tier came to, or by how much that has changed; every digit."""

    up_to: Decimal | None
    quantity: Decimal
    unit_price: Decimal
    flat_fee: Decimal
    amount: Decimal


class IssuedTax(msgspec.Struct, frozen=True):
    """By how much the tax of a document has changed. corrects: that document's number."""

    corrects: str
    tax: Decimal


class IssuedLine(msgspec.Struct, frozen=True):
    """A line with the price version that it was priced by. amount: currency, rounded.

    exact_quantity: in units, where the quantity is only the nearest number with 18 digits.
    cell, fees, tiers: as in `document_line`; the fees in currency.
    """

    item: str
    price: LinePrice
    quantity: Quantity
    event_count: int
    amount: Decimal
    exact_quantity: Fraction | None = None
    cell: str = ""
    fees: Decimal | None = None
    tiers: tuple[IssuedTier, ...] = ()


class IssuedTrueUp(msgspec.Struct, frozen=True):
    """What a commitment came to; money in the currency."""

    over: str
    amount: Decimal
    spent: Decimal
    true_up: Decimal


class IssuedProduct(msgspec.Struct, frozen=True):
    """A product of one period; money in the currency, rounded. end_date: the day after the last.

    is_difference: it says by how much lines have moved, and not what they come to. corrects: the
    number of the document that it is the difference to, where that is issued. is_ahead: it is what
    is billed of a period before that is over.
    """

    product_name: str
    start_date: date
    end_date: date
    part: Part
    lines: tuple[IssuedLine, ...]
    minimum_fee: Decimal
    sub_total: Decimal
    total: Decimal
    discount: Decimal
    discount_rate: Price
    tax_rate: Price
    true_ups: tuple[IssuedTrueUp, ...] = ()
    is_difference: bool = False
    is_ahead: bool = False
    corrects: str | None = None


class IssuedDocument(msgspec.Struct, frozen=True):
    """A document as issued; money in the currency, rounded.

    parties: who bills whom, and how it is paid, as it was when the document was drafted.
    logo: the entity's picture as a data URI, as it is now; empty when there is none.
    corrects: of an adjustment, the number of the document that it is the difference to.
    is_rest: others have billed ahead of it, single events or periods. bills_event: it is of one.
    tax_changes: of the documents that it corrects along with what it bills.
    """

    document_ref: UUID
    accounting_event_type: str
    document_number: str
    number_in_contract: int
    currency: str
    net_terms: str
    issue_date: date
    due_date: date
    period_start: date
    period_end: date
    products: tuple[IssuedProduct, ...]
    sub_total: Decimal
    total_discount: Decimal
    total_tax: Decimal
    credits_amount: Decimal
    total: Decimal
    parties: dict[str, Any]
    logo: str = ""
    corrects: str | None = None
    is_rest: bool = False
    bills_event: bool = False
    tax_changes: tuple[IssuedTax, ...] = ()


_decode_tiers = msgspec.json.Decoder(list[IssuedTier]).decode
_decode_true_ups = msgspec.json.Decoder(list[IssuedTrueUp]).decode
_decode_parties = msgspec.json.Decoder(dict[str, Any]).decode


async def load_issued(
    connection: Connection, keys: Sequence[tuple[int, UUID]]
) -> dict[UUID, IssuedDocument]:
    """Load issued documents whole, by ref: four statements, however many they are."""
    places = columns(keys, 2)
    lines: dict[tuple[UUID, int], list[IssuedLine]] = defaultdict(list)
    for row in await connection.fetch(queries.load_issued_lines, *places):
        lines[row["document_ref"], row["product_position"]].append(_line(row))
    products: dict[UUID, list[IssuedProduct]] = defaultdict(list)
    for row in await connection.fetch(queries.load_issued_products, *places):
        ref = row["document_ref"]
        products[ref].append(_product(row, lines[ref, row["position"]]))
    taxes: dict[UUID, list[IssuedTax]] = defaultdict(list)
    for row in await connection.fetch(queries.load_issued_adjustments, *places):
        taxes[row["document_ref"]].append(IssuedTax(row["corrects"], row["total_tax"]))
    rows = await connection.fetch(queries.load_issued, *places)
    return {
        row["document_ref"]: _document(
            row, products[row["document_ref"]], taxes[row["document_ref"]]
        )
        for row in rows
    }


def _line(row: asyncpg.Record) -> IssuedLine:
    return IssuedLine(
        item=row["item"],
        price=line_price(row["price"]),
        quantity=Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS)),
        event_count=row["event_count"],
        amount=row["amount"],
        exact_quantity=exact_quantity(row["exact_quantity"]),
        cell=row["cell"],
        fees=row["fees"],
        tiers=() if row["tiers"] is None else tuple(_decode_tiers(row["tiers"])),
    )


def _product(row: asyncpg.Record, lines: Sequence[IssuedLine]) -> IssuedProduct:
    return IssuedProduct(
        product_name=row["product_name"],
        start_date=row["start_date"],
        end_date=row["end_date"],
        part=Part.of(
            start_date=row["start_date"],
            end_date=row["end_date"],
            full_start_date=row["full_start_date"],
            full_end_date=row["full_end_date"],
        ),
        lines=tuple(lines),
        minimum_fee=row["minimum_fee"],
        sub_total=row["sub_total"],
        total=row["total"],
        discount=row["discount"],
        discount_rate=Price(decimal_to_scaled(row["discount_rate"], PRICE_DIGITS)),
        tax_rate=Price(decimal_to_scaled(row["tax_rate"], PRICE_DIGITS)),
        true_ups=tuple(_decode_true_ups(row["true_ups"])),
        is_difference=row["is_difference"],
        is_ahead=row["is_ahead"],
        corrects=row["corrects"],
    )


def _document(
    row: asyncpg.Record, products: Sequence[IssuedProduct], taxes: Sequence[IssuedTax]
) -> IssuedDocument:
    fields = dict(row)
    parties = _decode_parties(fields.pop("parties"))
    return IssuedDocument(
        **fields, products=tuple(products), parties=parties, tax_changes=tuple(taxes)
    )
