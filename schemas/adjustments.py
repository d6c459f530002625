"""Adjustments: what a document would say now, less all that was issued for it. Pure.

Lines, minimum fees, commitments, discounts and tax are compared each for itself, as they were
rounded, so that a document and its adjustments always add up to the document that would be drawn
today. No minimum fee applies to a difference.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from uuid import UUID

import msgspec
from msgspec.structs import replace

from schemas.commitments import TrueUp
from schemas.document import (
    FEE_CELL,
    AccountingEventType,
    Adjustment,
    DocumentLine,
    DocumentProduct,
    DraftedDocument,
)
from schemas.event_drafting import tier_differences
from schemas.mean_price import mean_walk
from schemas.money import QUANTITY_DIGITS, Amount, Price, Quantity, round_fraction
from schemas.price import TierCharge, basis_of, cell_price, cell_values, is_usage

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
    true_ups: tuple[TrueUp, ...] = ()


class Billed(msgspec.Struct, frozen=True):
    """A document and its adjustments so far, added up. adjustments: documents of their own."""

    products: Mapping[ProductKey, BilledProduct]
    total_tax: int
    adjustments: int


_NOTHING = BilledLine(Fraction(0), 0, 0)


def difference(new: DraftedDocument, billed: Billed, root: UUID) -> DraftedDocument | None:
    """Return the adjustment that turns what was billed into a document as it is drawn now.

    None where nothing differs. It holds the lines that have changed, and the products that these
    or their fees are of. root: the document that it is the difference to.
    """
    products = []
    for product in new.products:
        before = billed.products[product.contract_product_ref, product.period_ref]
        if (changed := _product_difference(product, before)) is not None:
            products.append(replace(changed, root=root))
    total_tax = new.total_tax - billed.total_tax
    if not products and not total_tax:
        return None
    sub_total = sum(product.total for product in products)
    total_discount = sum(product.discount for product in products)
    adjustment = replace(
        new,
        products=tuple(products),
        taxes=(),
        sub_total=sub_total,
        total_discount=total_discount,
        total_tax=total_tax,
        adjustments=(Adjustment(root, sub_total, total_discount, total_tax),),
    )
    return with_credits(adjustment, 0)


def with_credits(adjustment: DraftedDocument, credits_amount: int) -> DraftedDocument:
    """Return a document of one adjustment as it is when credits have paid so much of it.

    Below zero: so much is given back to them. What is left says whether it is a credit.
    """
    [own] = adjustment.adjustments
    total = adjustment.sub_total - adjustment.total_discount + adjustment.total_tax - credits_amount
    return replace(
        adjustment,
        accounting_event_type=AccountingEventType.CREDIT
        if total < 0
        else AccountingEventType.DEBIT,
        credits_amount=credits_amount,
        total=total,
        adjustments=(replace(own, credits_amount=credits_amount),),
    )


def carry(document: DraftedDocument, adjustments: Sequence[DraftedDocument]) -> DraftedDocument:
    """Put adjustments of earlier documents onto a document, behind its own products."""
    if not adjustments:
        return document
    parts = (document, *adjustments)
    total = sum(part.total for part in parts)
    return replace(
        document,
        accounting_event_type=AccountingEventType.CREDIT
        if total < 0
        else AccountingEventType.INVOICE,
        products=tuple(product for part in parts for product in part.products),
        sub_total=sum(part.sub_total for part in parts),
        total_discount=sum(part.total_discount for part in parts),
        total_tax=sum(part.total_tax for part in parts),
        credits_amount=sum(part.credits_amount for part in parts),
        total=total,
        adjustments=tuple(own for part in parts for own in part.adjustments),
    )


def remainder(new: DraftedDocument, billed: Billed, credits_amount: int) -> DraftedDocument:
    """Return what a document as it is drawn now leaves to bill, with all its products and lines.

    billed: what was issued ahead of it, by documents of single events. credits_amount: what pays
    for all of it, less what has paid for those; minor.
    """
    products = []
    for product in new.products:
        before = billed.products.get((product.contract_product_ref, product.period_ref))
        products.append(product if before is None else _remaining(product, before))
    sub_total = sum(product.total for product in products)
    total_discount = sum(product.discount for product in products)
    total_tax = new.total_tax - billed.total_tax
    total = sub_total - total_discount + total_tax - credits_amount
    return replace(
        new,
        accounting_event_type=AccountingEventType.CREDIT
        if total < 0
        else AccountingEventType.INVOICE,
        products=tuple(products),
        taxes=(),
        sub_total=sub_total,
        total_discount=total_discount,
        total_tax=total_tax,
        credits_amount=credits_amount,
        total=total,
    )


def _remaining(new: DocumentProduct, before: BilledProduct) -> DocumentProduct:
    lines = []
    for line in [*new.lines, *_vanished(new, before)]:
        known = before.lines.get((line.contract_line_ref, line.cell), _NOTHING)
        unchanged = replace(
            line,
            quantity=Quantity(0),
            exact_quantity=None,
            tiers=(),
            usage_amount=Amount(0),
            amount=0,
            event_count=0,
        )
        changed = _line_difference(line, known)
        if changed is not None or is_usage(line.price):  # of a fixed fee nothing may be left
            lines.append(changed or unchanged)
    product = _product_difference(new, before)
    return replace(product or _emptied(new), lines=tuple(lines))


def _emptied(product: DocumentProduct) -> DocumentProduct:
    nothing = {"minimum_fee": 0, "sub_total": 0, "total": 0, "discount": 0, "discounted": 0}
    return replace(product, true_ups=(), **nothing)


def _product_difference(new: DocumentProduct, before: BilledProduct) -> DocumentProduct | None:
    lines = []
    for line in [*new.lines, *_vanished(new, before)]:
        known = before.lines.get((line.contract_line_ref, line.cell), _NOTHING)
        if (changed := _line_difference(line, known)) is not None:
            lines.append(changed)
    minimum_fee = (new.minimum_fee or 0) - before.minimum_fee
    total, discount = new.total - before.total, new.discount - before.discount
    true_ups = _true_up_differences(new.true_ups, before.true_ups)
    if not lines and not (minimum_fee or total or discount or true_ups):
        return None
    return replace(
        new,
        lines=tuple(lines),
        minimum_fee=minimum_fee,
        sub_total=new.sub_total - before.sub_total,
        total=total,
        discount=discount,
        discounted=total - discount,
        true_ups=true_ups,
    )


def _true_up_differences(new: Sequence[TrueUp], before: Sequence[TrueUp]) -> tuple[TrueUp, ...]:
    """Return by how much each commitment comes to something else, those that don't left out."""
    known = {one.over: one for one in before}
    changed = []
    for one in new:
        old = known.get(one.over, TrueUp(one.over, 0, 0, 0))
        if one != old:
            figures = (one.committed - old.committed, one.spent - old.spent, one.added - old.added)
            changed.append(TrueUp(one.over, *figures))
    return tuple(changed)


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
            tiers=(),
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
        tiers=tier_differences(new.tiers, _tiers_before(new, before.quantity)),
        usage_amount=Amount(new.usage_amount - before.fees),
        amount=amount,
        event_count=event_count,
    )


def _tiers_before(line: DocumentLine, quantity: Fraction) -> Sequence[TierCharge]:
    """Return the tiers that a line had entered by what was billed of it."""
    price, basis = line.price, basis_of(line.price)
    if basis == "EVENTS" or line.cell == FEE_CELL:
        return ()
    if basis == "CELLS":
        price = cell_price(price, cell_values(line.cell))
    return mean_walk(price, quantity)
