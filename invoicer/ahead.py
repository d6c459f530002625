"""What documents bill of periods before they are over, and what of it is given back. Pure.

A part that is billed ahead names the later document that settles its period, its root. That one is
then the whole period less what was billed ahead, as rounded, so both add up to the whole. Where a
contract was cut short within a period, the document of the shorter one gives the part back.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from uuid import UUID

import msgspec
from msgspec.structs import replace

from invoicer.assembly import Assembly, CutPeriod, ProductTerms
from invoicer.crediting import Draw, Drawn, draw_for_event, dues
from schemas.ahead_drafting import taken_off
from schemas.document import AccountingEventType, Adjustment, DocumentProduct, DraftedDocument
from schemas.document_ref import document_ref


class AheadPart(msgspec.Struct, frozen=True):
    """One product's part that is billed ahead; its `root` is said. tax: its share, minor.

    index, start_date: of the period.
    """

    product: DocumentProduct
    index: int
    start_date: date
    tax: int


def ahead_parts(
    assembly: Assembly, aheads: Sequence[CutPeriod], tenant_ref: str
) -> list[AheadPart]:
    """Return what a document bills ahead, product by product.

    The tax of a rate, rounded once, is split by how it grows from product to product.
    """
    if assembly.ahead is None:
        return []
    key = assembly.key
    cuts = {cut.period_ref: cut for cut in aheads}
    parts = []
    products = assembly.ahead.products
    for product, due in zip(products, dues(products), strict=True):
        cut = cuts[product.period_ref]
        root = document_ref(tenant_ref, key.contract_ref, key.document_group, cut.rest_date)
        tax = due - product.discounted
        parts.append(AheadPart(replace(product, root=root), cut.period_index, cut.start_date, tax))
    return parts


def given_back(part: AheadPart) -> AheadPart:
    """Return the part that takes one off again."""
    return replace(part, product=taken_off(part.product), tax=-part.tax)


def draw_ahead(
    parts: Sequence[AheadPart], group: Sequence[ProductTerms], digits: int, drawn: Drawn
) -> list[Draw]:
    """Pay parts from the credits of their products; a part below zero gives back all it has drawn.

    drawn: by all other documents of the contract; what these draw is added.
    """
    terms = {one.contract_product_ref: one for one in group}
    found: list[Draw] = []
    for part in parts:
        product = part.product
        own = terms[product.contract_product_ref]
        if own.credits == "[]":
            continue
        due = product.discounted + part.tax
        if due < 0:
            due = -sum(
                amount
                for (_, day), amount in drawn.get(own.lineage_ref, {}).items()
                if day == part.start_date
            )
        if due:
            found += draw_for_event(own, digits, drawn, part, due)
    return found


def add_parts(
    draft: DraftedDocument, parts: Sequence[AheadPart], draws: Sequence[Draw]
) -> DraftedDocument:
    """Put parts that are billed ahead, or given back, onto a document behind its own products."""
    if not parts:
        return draft
    sums = list(_sums(parts, draws))
    credits_amount = sum(one.credits_amount for one in sums)
    sub_total = draft.sub_total + sum(one.sub_total for one in sums)
    total_discount = draft.total_discount + sum(one.total_discount for one in sums)
    total_tax = draft.total_tax + sum(one.total_tax for one in sums)
    credits_amount += draft.credits_amount
    total = sub_total - total_discount + total_tax - credits_amount
    return replace(
        draft,
        accounting_event_type=AccountingEventType.CREDIT
        if total < 0
        else AccountingEventType.INVOICE,
        is_partial_period=draft.is_partial_period
        or any(not part.product.part.is_whole for part in parts),
        products=(*draft.products, *(part.product for part in parts)),
        taxes=(),
        sub_total=sub_total,
        total_discount=total_discount,
        total_tax=total_tax,
        credits_amount=credits_amount,
        total=total,
        adjustments=(*draft.adjustments, *sums),
    )


def _sums(parts: Sequence[AheadPart], draws: Sequence[Draw]) -> Iterator[Adjustment]:
    """Add parts up by the documents that settle them."""
    by_root: dict[UUID, list[AheadPart]] = {}
    for part in parts:
        assert part.product.root is not None
        by_root.setdefault(part.product.root, []).append(part)
    for root, own in by_root.items():
        places = {(part.product.contract_product_ref, part.index) for part in own}
        yield Adjustment(
            root=root,
            sub_total=sum(part.product.total for part in own),
            total_discount=sum(part.product.discount for part in own),
            total_tax=sum(part.tax for part in own),
            credits_amount=sum(draw.amount for draw in draws if draw[:2] in places),
            is_ahead=True,
        )


def says_nothing(
    draft: DraftedDocument, group: Sequence[ProductTerms], cuts: Sequence[CutPeriod]
) -> bool:
    """Tell whether a document bills nothing of what it settles, and takes nothing along.

    cuts: what it settles; one that bills whole periods is made, whatever these come to, and so is
    one that a commitment is to be seen on.
    """
    if any(one.commitments != "[]" for one in group):
        return False
    is_empty = all(
        not (product.total or product.discount)
        and all(not (line.quantity or line.amount or line.event_count) for line in product.lines)
        for product in draft.products
    )
    sums = (draft.total, draft.total_tax, draft.credits_amount)
    return is_empty and not any(sums) and all(cut.is_ahead for cut in cuts)
