"""Prepaid credits of documents: what each draws, in the order in which they are issued.

A grant pays for its own product: what that comes to after its discount, with the tax on it. The
contract's row is locked, so that no two documents draw at once. An adjustment draws, or gives back,
what its document would draw now less what was drawn for its periods.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import takewhile
from typing import NamedTuple, Protocol
from uuid import UUID

from msgspec.structs import replace

from invoicer.assembly import Assembly, CutPeriod, ProductTerms
from schemas.credits import Grant, Span, draw, read_grants
from schemas.document import DocumentProduct, DraftedDocument
from schemas.money import Price, round_percent
from schemas.periods import periods_of_lineage

Drawn = dict[UUID, dict[tuple[int, date], int]]
"""What was drawn, minor: by lineage, then by the grant's place and the period's first day."""


class InPeriod(Protocol):
    """What of a period says which one it is."""

    @property
    def index(self) -> int:
        """Count from the contract product's first one."""

    @property
    def start_date(self) -> date:
        """Return its first day."""


class Draw(NamedTuple):
    """What a document draws from one grant for one period, or gives back; in minor."""

    contract_product_ref: UUID
    period_index: int
    place: int
    amount: int


def draw_credits(
    assembly: Assembly,
    group: Sequence[ProductTerms],
    cuts: Sequence[CutPeriod],
    drawn: Drawn,
) -> tuple[Assembly, list[Draw]]:
    """Pay a document from the credits of its products; return it as it is then, and what it drew.

    drawn: by all other documents of the contract; what this one draws is added.
    """
    draws = _draws(assembly.draft, group, cuts, drawn)
    credits_amount = sum(one.amount for one in draws)
    draft = assembly.draft
    paid = replace(draft, credits_amount=credits_amount, total=draft.total - credits_amount)
    return replace(assembly, draft=paid), draws


def redraw_credits(
    redrawn: DraftedDocument,
    group: Sequence[ProductTerms],
    cuts: Sequence[CutPeriod],
    drawn: Drawn,
) -> list[Draw]:
    """Return what a document as it is drawn now draws more than was drawn for its periods, or less.

    drawn: by all documents of the contract; what changes is changed there.
    """
    terms = {one.contract_product_ref: one for one in group}
    before: dict[tuple[UUID, int, int], int] = {}
    for cut in cuts:
        ref, own = (
            cut.contract_product_ref,
            drawn.get(terms[cut.contract_product_ref].lineage_ref, {}),
        )
        for place, day in [key for key in own if key[1] == cut.start_date]:
            before[ref, cut.period_index, place] = own.pop((place, day))
    draws = _draws(redrawn, group, cuts, drawn)
    after = {one[:3]: one.amount for one in draws}
    changes = {key: after.get(key, 0) - before.get(key, 0) for key in before.keys() | after.keys()}
    return [Draw(*key, amount) for key, amount in sorted(changes.items()) if amount]


def draw_for_event(
    terms: ProductTerms, digits: int, drawn: Drawn, period: InPeriod, unpaid: int
) -> list[Draw]:
    """Pay what the events of a period have come to and nobody has paid, or give back; minor.

    unpaid: below zero, more was drawn than they come to now. drawn: what is drawn is added to it.
    """
    own, start = drawn.setdefault(terms.lineage_ref, {}), period.start_date
    if unpaid >= 0:
        amounts = _draw(terms, digits, own, start, unpaid)
    else:
        amounts = {}
        for (place, day), amount in sorted(own.items(), reverse=True):
            back = min(amount, -unpaid) if day == start else 0
            if back > 0:
                amounts[place] = -back
                unpaid += back
    for place, amount in amounts.items():
        own[place, start] = own.get((place, start), 0) + amount
    ref = terms.contract_product_ref
    return [Draw(ref, period.index, *one) for one in sorted(amounts.items())]


def _draws(
    draft: DraftedDocument,
    group: Sequence[ProductTerms],
    cuts: Sequence[CutPeriod],
    drawn: Drawn,
) -> list[Draw]:
    """Draw for each product in turn; what is drawn is added to what was."""
    terms = {one.contract_product_ref: one for one in group}
    if all(one.credits == "[]" for one in group):
        return []
    periods = {cut.period_ref: cut for cut in cuts}
    left = draft.total
    found: list[Draw] = []
    for product, due in zip(draft.products, dues(draft.products), strict=True):
        own_terms, period = terms[product.contract_product_ref], periods[product.period_ref]
        own, start = drawn.setdefault(own_terms.lineage_ref, {}), period.start_date
        paid = _draw(own_terms, draft.currency_digits, own, start, min(due, left))
        for place, amount in paid.items():
            own[place, start] = amount
            found.append(Draw(product.contract_product_ref, period.period_index, place, amount))
            left -= amount
    return found


def _draw(
    terms: ProductTerms,
    digits: int,
    drawn: Mapping[tuple[int, date], int],
    start: date,
    due: int,
) -> dict[int, int]:
    grants: Sequence[Grant] = read_grants(terms.credits, digits, terms.billing_start_date)
    if not grants or due <= 0:
        return {}
    last = max([start, *(day for _, day in drawn)])
    by_then = takewhile(lambda one: one.start_date <= last, periods_of_lineage(terms.lineage))
    spans = [Span(period.start_date, period.end_date) for period in by_then]
    return draw(grants, spans, drawn, start, due)


def dues(products: Sequence[DocumentProduct]) -> list[int]:
    """Return what each product comes to with its tax, minor; they add up to the document's total.

    The tax of a rate, rounded once, is split by how it grows from product to product.
    """
    bases: dict[Price, int] = {}
    found = []
    for product in products:
        rate = product.tax_percent
        before = bases.get(rate, 0)
        bases[rate] = before + product.discounted
        tax = round_percent(bases[rate], rate) - round_percent(before, rate)
        found.append(product.discounted + tax)
    return found
