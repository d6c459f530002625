"""Drafting documents of which a part was billed ahead, or which bill a part ahead. Pure.

What settles a period is the whole of it less what was billed ahead, as both were rounded.
"""

from fractions import Fraction

from msgspec.structs import replace

from schemas.adjustments import Billed, BilledLine, BilledProduct, remainder
from schemas.document import AccountingEventType, DocumentLine, DocumentProduct, DraftedDocument
from schemas.money import QUANTITY_DIGITS, Amount, Quantity
from schemas.price import basis_of


def settled(whole: DraftedDocument, ahead: DraftedDocument) -> DraftedDocument:
    """Return what a draft of whole periods leaves to bill behind that of what was billed ahead."""
    if not ahead.products:
        return whole
    products = {
        (product.contract_product_ref, product.period_ref): BilledProduct(
            minimum_fee=0,
            sub_total=product.sub_total,
            total=product.total,
            discount=product.discount,
            discount_percent=product.discount_percent,
            tax_percent=product.tax_percent,
            lines={(line.contract_line_ref, line.cell): _billed(line) for line in product.lines},
        )
        for product in ahead.products
    }
    return remainder(whole, Billed(products, ahead.total_tax, 0), 0)


def _billed(line: DocumentLine) -> BilledLine:
    quantity = line.exact_quantity
    if quantity is None:
        quantity = Fraction(line.quantity, 10**QUANTITY_DIGITS)
    fees = line.usage_amount if basis_of(line.price) == "EVENTS" else 0
    return BilledLine(quantity, line.amount, line.event_count, fees)


def all_taken_off(ahead: DraftedDocument) -> DraftedDocument:
    """Return a draft that takes off again all of one of what was billed ahead."""
    return replace(
        ahead,
        products=tuple(taken_off(product) for product in ahead.products),
        taxes=(),
        sub_total=-ahead.sub_total,
        total_discount=-ahead.total_discount,
        total_tax=-ahead.total_tax,
        credits_amount=-ahead.credits_amount,
        total=-ahead.total,
    )


def taken_off(product: DocumentProduct) -> DocumentProduct:
    """Return a product of a document that takes one off again."""
    return replace(
        product,
        lines=tuple(_taken_off(line) for line in product.lines),
        sub_total=-product.sub_total,
        total=-product.total,
        discount=-product.discount,
        discounted=-product.discounted,
    )


def _taken_off(line: DocumentLine) -> DocumentLine:
    exact = line.exact_quantity
    return replace(
        line,
        quantity=Quantity(-line.quantity),
        exact_quantity=None if exact is None else -exact,
        tiers=tuple(
            replace(
                tier,
                quantity=Quantity(-tier.quantity),
                flat_fee=type(tier.flat_fee)(-tier.flat_fee),
                amount=Amount(-tier.amount),
            )
            for tier in line.tiers
        ),
        usage_amount=Amount(-line.usage_amount),
        amount=-line.amount,
        event_count=-line.event_count,
    )


def joined(document: DraftedDocument, ahead: DraftedDocument) -> DraftedDocument:
    """Put a draft of what is billed ahead behind a document's own products."""
    total = document.total + ahead.total
    return replace(
        document,
        accounting_event_type=AccountingEventType.CREDIT
        if total < 0
        else AccountingEventType.INVOICE,
        is_partial_period=document.is_partial_period or ahead.is_partial_period,
        products=(*document.products, *ahead.products),
        taxes=(),
        sub_total=document.sub_total + ahead.sub_total,
        total_discount=document.total_discount + ahead.total_discount,
        total_tax=document.total_tax + ahead.total_tax,
        credits_amount=document.credits_amount + ahead.credits_amount,
        total=total,
    )
