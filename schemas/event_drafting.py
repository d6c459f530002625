"""Drafting the document of one event: what it adds to the rounded lines of its period. Pure."""

import msgspec

from schemas.document import AccountingEventType, DocumentLine, DocumentProduct, DraftedDocument
from schemas.drafting import tax_lines
from schemas.money import Amount, Quantity, round_percent


def draft_difference(after: DraftedDocument, before: DraftedDocument) -> DraftedDocument:
    """Draw up the document of what has come between two drafts of the same products and lines.

    Lines are differences of rounded amounts, so that documents drawn up one after the other add up
    to the last draft's lines; discounts and taxes are computed anew, on the difference.
    """
    pairs = zip(after.products, before.products, strict=True)
    products = tuple(_product(later, earlier) for later, earlier in pairs)
    taxes = tax_lines(products)
    sub_total = sum(product.total for product in products)
    total_discount = sum(product.discount for product in products)
    total_tax = sum(tax.tax for tax in taxes)
    total = sub_total - total_discount + total_tax
    kind = AccountingEventType.CREDIT if total < 0 else AccountingEventType.INVOICE
    return msgspec.structs.replace(
        after,
        accounting_event_type=kind,
        products=products,
        taxes=taxes,
        sub_total=sub_total,
        total_discount=total_discount,
        total_tax=total_tax,
        credits_amount=0,
        total=total,
    )


def _product(after: DocumentProduct, before: DocumentProduct) -> DocumentProduct:
    pairs = zip(after.lines, before.lines, strict=True)
    lines = tuple(_line(later, earlier) for later, earlier in pairs)
    total = sum(line.amount for line in lines)
    discount = round_percent(total, after.discount_percent)
    return msgspec.structs.replace(
        after,
        lines=lines,
        minimum_fee=None,
        true_ups=(),
        sub_total=total,
        total=total,
        discount=discount,
        discounted=total - discount,
    )


def _line(after: DocumentLine, before: DocumentLine) -> DocumentLine:
    """Return a line's difference; the tiers that it climbed are the period's to explain."""
    return msgspec.structs.replace(
        after,
        quantity=Quantity(after.quantity - before.quantity),
        usage_amount=Amount(after.usage_amount - before.usage_amount),
        amount=after.amount - before.amount,
        tiers=(),
        event_count=after.event_count - before.event_count,
    )
