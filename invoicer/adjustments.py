"""Adjustments: what a document would say now, less all that was issued for it. Pure.

Lines, minimum fees, discounts and tax are compared each for itself, as they were rounded, so that a
document and its adjustments always add up to the document that would be drawn today. No minimum
fee applies to a difference.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from uuid import UUID

import msgspec
from msgspec.structs import replace

from schemas.document import (
    AccountingEventType,
    DocumentLine,
    DocumentProduct,
    DraftedDocument,
)
from schemas.money import QUANTITY_DIGITS, Amount, Price, Quantity, round_fraction

LineKey = tuple[UUID, str]
"""Contract line and cell: what tells the lines of a product apart."""

ProductKey = tuple[UUID, UUID]
"""Contract product and period."""


class BilledLine(msgspec.Struct, frozen=True):
    """What was billed of a line so far. quantity: in units; amount: minor.

    fees: exact, of a line that is priced by single events; else 0.
    """

    quantity: Fraction
    amount: int
    event_count: int
    fees: int = 0


class BilledProduct(msgspec.Struct, frozen=True):
    """What was billed of a product in a period so far; money in minor.

    discount_percent, tax_percent: by which it was billed first.
    """

    minimum_fee: int
    sub_total: int
    total: int
    discount: int
    discount_percent: Price
    tax_percent: Price
    lines: Mapping[LineKey, BilledLine]


class Billed(msgspec.Struct, frozen=True):
    """A document and its adjustments so far, added up. adjustments: how many there are."""

    products: Mapping[ProductKey, BilledProduct]
    total_tax: int
    adjustments: int


_NOTHING = BilledLine(Fraction(0), 0, 0)


def difference(new: DraftedDocument, billed: Billed) -> DraftedDocument | None:
    """Return the adjustment that turns what was billed into a document as it is drawn now.

    None where nothing differs. It holds the lines that have changed, and the products that these
    or their fees are of.
    """
    products = []
    for product in new.products:
        before = billed.products[product.contract_product_ref, product.period_ref]
        if (changed := _product_difference(product, before)) is not None:
            products.append(changed)
    total_tax = new.total_tax - billed.total_tax
    if not products and not total_tax:
        return None
    sub_total = sum(product.total for product in products)
    total_discount = sum(product.discount for product in products)
    total = sub_total - total_discount + total_tax
    kind = AccountingEventType.CREDIT if total < 0 else AccountingEventType.DEBIT
    return replace(
        new,
        accounting_event_type=kind,
        products=tuple(products),
        taxes=(),
        sub_total=sub_total,
        total_discount=total_discount,
        total_tax=total_tax,
        credits_amount=0,
        total=total,
    )


def _product_difference(new: DocumentProduct, before: BilledProduct) -> DocumentProduct | None:
    lines = []
    for line in [*new.lines, *_vanished(new, before)]:
        known = before.lines.get((line.contract_line_ref, line.cell), _NOTHING)
        if (changed := _line_difference(line, known)) is not None:
            lines.append(changed)
    minimum_fee = (new.minimum_fee or 0) - before.minimum_fee
    total, discount = new.total - before.total, new.discount - before.discount
    if not lines and not (minimum_fee or total or discount):
        return None
    return replace(
        new,
        lines=tuple(lines),
        minimum_fee=minimum_fee,
        sub_total=new.sub_total - before.sub_total,
        total=total,
        discount=discount,
        discounted=total - discount,
        true_ups=(),
    )


def _vanished(new: DocumentProduct, before: BilledProduct) -> Iterator[DocumentLine]:
    """Yield, as nothing, the cells and fees of cells that were billed and are drawn no more."""
    siblings = {line.contract_line_ref: line for line in new.lines}
    drawn = {(line.contract_line_ref, line.cell) for line in new.lines}
    for contract_line_ref, cell in sorted(before.lines.keys() - drawn):
        yield replace(
            siblings[contract_line_ref],
            cell=cell,
            quantity=Quantity(0),
            exact_quantity=None,
            usage_amount=Amount(0),
            amount=0,
            event_count=0,
        )


def _line_difference(new: DocumentLine, before: BilledLine) -> DocumentLine | None:
    exact = new.exact_quantity
    now = Fraction(new.quantity, 10**QUANTITY_DIGITS) if exact is None else exact
    quantity = now - before.quantity
    amount = new.amount - before.amount
    event_count = new.event_count - before.event_count
    if not (quantity or amount or event_count):
        return None
    scaled = Quantity(round_fraction(quantity, QUANTITY_DIGITS))
    is_exact = Fraction(scaled, 10**QUANTITY_DIGITS) == quantity
    return replace(
        new,
        quantity=scaled,
        exact_quantity=None if is_exact else quantity,
        tiers=(),
        usage_amount=Amount(new.usage_amount - before.fees),
        amount=amount,
        event_count=event_count,
    )
