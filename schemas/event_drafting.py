"""Drafting the document of one event: what it adds to the rounded lines of its period. Pure."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from schemas.document import AccountingEventType, DocumentLine, DocumentProduct, DraftedDocument
from schemas.drafting import tax_lines
from schemas.money import Amount, Price, Quantity, round_percent
from schemas.price import TierCharge


def draft_difference(after: DraftedDocument, before: DraftedDocument) -> DraftedDocument:
    """Draw up the document of what has come between two drafts of the same products.

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
    return replace(
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
    lines = tuple(_lines(after.lines, before.lines))
    total = sum(line.amount for line in lines)
    discount = round_percent(total, after.discount_percent)
    return replace(
        after,
        lines=lines,
        minimum_fee=None,
        true_ups=(),
        sub_total=total,
        total=total,
        discount=discount,
        discounted=total - discount,
    )


def _lines(after: Sequence[DocumentLine], before: Sequence[DocumentLine]) -> Iterator[DocumentLine]:
    """Yield the difference of each line, and cell; a fee of all cells may be on one side alone."""
    then = {(line.contract_line_ref, line.cell): line for line in before}
    for line in after:
        earlier = then.pop((line.contract_line_ref, line.cell), None)
        yield _line(line, _nothing(line) if earlier is None else earlier)
    for gone in then.values():
        yield _line(_nothing(gone), gone)


def _nothing(line: DocumentLine) -> DocumentLine:
    return replace(
        line, quantity=Quantity(0), usage_amount=Amount(0), amount=0, tiers=(), event_count=0
    )


def _line(after: DocumentLine, before: DocumentLine) -> DocumentLine:
    """Return a line's difference, and by how much each of its tiers has changed."""
    return replace(
        after,
        quantity=Quantity(after.quantity - before.quantity),
        usage_amount=Amount(after.usage_amount - before.usage_amount),
        amount=after.amount - before.amount,
        tiers=tier_differences(after.tiers, before.tiers),
        event_count=after.event_count - before.event_count,
    )


def tier_differences(
    after: Sequence[TierCharge], before: Sequence[TierCharge]
) -> tuple[TierCharge, ...]:
    """Return by how much each tier comes to something else, from the lowest to the open one."""
    new, old = ({tier.up_to: tier for tier in tiers} for tiers in (after, before))
    changed = []
    for up_to in sorted(new.keys() | old.keys(), key=lambda bound: (bound is None, bound or 0)):
        tier = new.get(up_to) or old[up_to]
        nothing = TierCharge(up_to, Quantity(0), tier.unit_price, Price(0), Amount(0))
        now, then = new.get(up_to, nothing), old.get(up_to, nothing)
        if now != then:
            changed.append(
                replace(
                    tier,
                    quantity=Quantity(now.quantity - then.quantity),
                    flat_fee=Price(now.flat_fee - then.flat_fee),
                    amount=Amount(now.amount - then.amount),
                )
            )
    return tuple(changed)
