"""From rows to drafts: which periods a document holds, whether all are in, what it says. Pure.

The rows come set-wise, for many documents at once; each document is then assembled by itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import takewhile
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from schemas.commitments import read_commitments
from schemas.document import DocumentKind, DraftedDocument
from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.errors import InvalidInput
from schemas.money import PRICE_DIGITS, Price, decimal_to_scaled
from schemas.periods import (
    BillingTerms,
    CycleUnit,
    Part,
    PaymentTime,
    Period,
    first_instant,
    period_at,
    periods_of_lineage,
)
from schemas.periods import periods as periods_of

_MOMENT: Final = timedelta(microseconds=1)

Spent = Mapping[UUID, Mapping[UUID, int]]
"""What products have come to, minor: by lineage, then by period."""


class DocumentKey(msgspec.Struct, frozen=True):
    """What a document is of: one group of a contract's products, at one issue date."""

    shard_key: int
    document_ref: UUID
    contract_ref: UUID
    document_group: int
    issue_date: date


class ProductTerms(msgspec.Struct, frozen=True):
    """A row of `load_terms`: a contract product and what it is sold under.

    lineage: the terms of all products that carry one another on, its own among them.
    """

    contract_product_ref: UUID
    contract_ref: UUID
    position: int
    document_group: int
    product_name: str
    currency: str
    net_terms: str
    tax: Decimal
    discount: Decimal
    minimum_fee: Decimal | None
    commitments: str
    credits: str
    billing_start_date: date
    billing_end_date: date | None
    cycle_unit: CycleUnit
    cycle_length: int
    issue_day: date | None
    payment_time: PaymentTime
    timezone: str
    lineage_ref: UUID
    since_date: date | None = None
    until_date: date | None = None
    ahead_since: date | None = None
    lineage: tuple[BillingTerms, ...] = ()

    @property
    def billing(self) -> BillingTerms:
        """The terms by which its time is cut into periods."""
        return BillingTerms(
            start_date=self.billing_start_date,
            end_date=self.billing_end_date,
            unit=self.cycle_unit,
            cycle=self.cycle_length,
            issue_day=self.issue_day,
            payment_time=self.payment_time,
            timezone=self.timezone,
            since=self.since_date,
            until=self.until_date,
            ahead_since=self.ahead_since,
        )


def with_lineages(products: Sequence[ProductTerms]) -> list[ProductTerms]:
    """Tell each of the products of contracts what it carries on, and what carries it on."""
    lineages: dict[UUID, tuple[BillingTerms, ...]] = {}
    for one in products:
        lineages[one.lineage_ref] = (*lineages.get(one.lineage_ref, ()), one.billing)
    return [replace(one, lineage=lineages[one.lineage_ref]) for one in products]


class CutPeriod(msgspec.Struct, frozen=True):
    """A row of `load_cuts`: the last cut of one period that a document is made of."""

    shard_key: int
    document_ref: UUID
    contract_product_ref: UUID
    period_ref: UUID
    cut_number: int
    period_index: int
    start_at: datetime
    start_date: date
    end_date: date
    full_start_date: date
    full_end_date: date
    issue_date: date
    rest_date: date

    @property
    def is_ahead(self) -> bool:
        """Tell whether part of it is billed by a document before the one that settles it."""
        return self.rest_date != self.issue_date

    @property
    def part(self) -> Part:
        """The days that it covers of its whole cycle."""
        return Part.of(
            start_date=self.start_date,
            end_date=self.end_date,
            full_start_date=self.full_start_date,
            full_end_date=self.full_end_date,
        )


class Assembly(msgspec.Struct, frozen=True):
    """A document as its inputs make it.

    lead_product_ref: the product whose payment details and note the document shows, and in whose
    timezone its days are. parent_document_ref: of an adjustment, the document that it corrects.
    period_end: the day after the last. is_complete: every input due at its instant is in.
    event_ref, event_due_id: of a document of one event, that, and which of its changes it bills.
    ahead: what it bills of periods before they are over; `draft` is without it until it is added.
    not_before: it settles what others have billed ahead, and is not issued before its day begins.
    """

    key: DocumentKey
    lead_product_ref: UUID
    net_terms: str
    timezone: str
    period_start: date
    period_end: date
    is_complete: bool
    draft: DraftedDocument
    kind: DocumentKind = DocumentKind.PERIOD
    parent_document_ref: UUID | None = None
    event_ref: UUID | None = None
    event_due_id: int | None = None
    ahead: DraftedDocument | None = None
    not_before: datetime | None = None


@lru_cache(maxsize=16_384)
def due_starts(terms: BillingTerms, issue_date: date) -> tuple[datetime, ...]:
    """Return the starts of the periods that are settled on a day, in order.

    Periods that end before the first issue day wait for it, so that day may issue several.
    """
    if terms.payment_time != "AFTER_USE":
        return tuple(p.start for p in _issued_by(terms, issue_date) if p.rest_date == issue_date)
    if terms.unit != "ONE_TIME" and (terms.issue_day is None or issue_date > terms.issue_day):
        last = period_at(terms, first_instant(issue_date, terms.timezone) - _MOMENT)
        return (last.start,) if last is not None and last.issue_date == issue_date else ()
    due = _issued_by(terms, issue_date)
    return tuple(period.start for period in due if period.issue_date == issue_date)


@lru_cache(maxsize=16_384)
def ahead_starts(terms: BillingTerms, issue_date: date) -> tuple[datetime, ...]:
    """Return the starts of the periods of which a part is billed ahead on a day, in order."""
    if terms.payment_time == "AFTER_USE":
        return ()
    due = _issued_by(terms, issue_date)
    return tuple(p.start for p in due if p.is_ahead and p.issue_date == issue_date)


def _issued_by(terms: BillingTerms, day: date) -> Iterator[Period]:
    return takewhile(lambda period: period.issue_date <= day, periods_of(terms))


def assemble(
    key: DocumentKey,
    group: Sequence[ProductTerms],
    cuts: Sequence[CutPeriod],
    lines: Mapping[UUID, Sequence[CutLine]],
    spent: Spent,
    rates: Mapping[tuple[UUID, UUID], tuple[Price, Price]] | None = None,
    aheads: Sequence[CutPeriod] = (),
) -> Assembly:
    """Put a document together.

    group: the contract's products of the document's group, by position. cuts: of the document's
    inputs; aheads: those that are billed before they are over. lines: of each period, by
    period_ref. spent: of products with a commitment over the contract, by other documents. rates:
    discount and tax in percent by product and period, where they were settled before.
    Raises InvalidInput where the products can't share a document, or as drafting does.
    """
    by_ref = {terms.contract_product_ref: terms for terms in group}
    cuts, aheads = (
        sorted(own, key=lambda cut: (by_ref[cut.contract_product_ref].position, cut.start_date))
        for own in (cuts, aheads)
    )
    inputs = [*cuts, *aheads]
    lead = by_ref[inputs[0].contract_product_ref]
    if {(terms.currency, terms.net_terms) for terms in group} != {(lead.currency, lead.net_terms)}:
        detail = "products of one document differ in currency or net terms"
        raise InvalidInput("document_group_mixed", detail)
    products = _product_inputs(by_ref, cuts, lines, spent, rates)
    return Assembly(
        key=key,
        lead_product_ref=lead.contract_product_ref,
        net_terms=lead.net_terms,
        timezone=lead.timezone,
        period_start=min(cut.start_date for cut in inputs),
        period_end=max(cut.end_date for cut in inputs),
        is_complete=_are_in(due_starts, key, group, cuts)
        and _are_in(ahead_starts, key, group, aheads),
        draft=draft_document(products, lead.currency),
        ahead=_draft_ahead(by_ref, aheads, lines, lead.currency),
        not_before=first_instant(key.issue_date, lead.timezone)
        if any(cut.is_ahead for cut in cuts)
        else None,
    )


def _are_in(
    starts: Callable[[BillingTerms, date], Sequence[datetime]],
    key: DocumentKey,
    group: Sequence[ProductTerms],
    cuts: Sequence[CutPeriod],
) -> bool:
    """Tell whether all is in that is due on a document's day."""
    due = {
        (terms.contract_product_ref, start)
        for terms in group
        for start in starts(terms.billing, key.issue_date)
    }
    return due <= {(cut.contract_product_ref, cut.start_at) for cut in cuts}


def _product_inputs(
    by_ref: Mapping[UUID, ProductTerms],
    cuts: Sequence[CutPeriod],
    lines: Mapping[UUID, Sequence[CutLine]],
    spent: Spent,
    rates: Mapping[tuple[UUID, UUID], tuple[Price, Price]] | None,
) -> list[ProductInput]:
    """Put together what a document's products are drafted from, in their order."""
    products: list[ProductInput] = []
    for cut in cuts:
        own = _product_input(by_ref[cut.contract_product_ref], cut, lines.get(cut.period_ref, ()))
        if rates is not None:
            own = _at_rates(own, rates)
        if any(one.over == "CONTRACT" for one in own.commitments):
            terms = by_ref[cut.contract_product_ref]
            kin = {ref for ref, one in by_ref.items() if one.lineage_ref == terms.lineage_ref}
            before = [one for one in products if one.contract_product_ref in kin]
            others = spent[terms.lineage_ref]
            own = replace(own, spent_before=_spent_before(terms, cut, before, others))
        products.append(own)
    return products


def _draft_ahead(
    by_ref: Mapping[UUID, ProductTerms],
    aheads: Sequence[CutPeriod],
    lines: Mapping[UUID, Sequence[CutLine]],
    currency: str,
) -> DraftedDocument | None:
    """Draft what is billed of periods before they are over, as if it were a document of its own."""
    if not aheads:
        return None
    products = [
        _product_input(by_ref[cut.contract_product_ref], cut, lines.get(cut.period_ref, ()))
        for cut in aheads
    ]
    return draft_document([replace(own, is_ahead=True) for own in products], currency)


def _product_input(terms: ProductTerms, cut: CutPeriod, lines: Sequence[CutLine]) -> ProductInput:
    minimum = terms.minimum_fee
    return ProductInput(
        contract_product_ref=terms.contract_product_ref,
        period_ref=cut.period_ref,
        cut_number=cut.cut_number,
        product_name=terms.product_name,
        lines=lines,
        part=cut.part,
        is_first_period=cut.period_index == 0,
        minimum_fee=None if minimum is None else _price(minimum),
        discount_percent=_price(terms.discount),
        tax_percent=_price(terms.tax),
        commitments=read_commitments(terms.commitments),
    )


def _at_rates(
    product: ProductInput, rates: Mapping[tuple[UUID, UUID], tuple[Price, Price]]
) -> ProductInput:
    discount, tax = rates[product.contract_product_ref, product.period_ref]
    return replace(product, discount_percent=discount, tax_percent=tax)


def _spent_before(
    terms: ProductTerms, cut: CutPeriod, before: Sequence[ProductInput], others: Mapping[UUID, int]
) -> int | None:
    """Return what the periods before the last one came to, minor; None for the others.

    before: those on the same document. others: those on others, by period.
    Raises InvalidInput when a period before has no document yet.
    """
    end_day = terms.billing.end_day
    if end_day is None or cut.end_date < end_day:
        return None
    through = takewhile(
        lambda period: period.start_date <= cut.end_date, periods_of_lineage(terms.lineage)
    )
    *earlier, last = [period.start_date for period in through]
    if last > cut.start_date:  # another product goes on in its place
        return None
    here = {one.period_ref for one in before}
    totals = [total for ref, total in others.items() if ref not in here | {cut.period_ref}]
    totals += [product.total for product in draft_document(before, terms.currency).products]
    if len(totals) != len(earlier):
        detail = "a commitment over the contract needs the documents of all periods before"
        raise InvalidInput("commitment_incomplete", detail)
    return sum(totals)


def _price(value: Decimal) -> Price:
    return Price(decimal_to_scaled(value, PRICE_DIGITS))


def due_date(issue_date: date, net_terms: str) -> date:
    """Return the day by which a document is to be paid.

    net_terms: days, or DUE_UPON_RECEIPT or DUE_UPON_USAGE: the day itself.
    """
    return issue_date + timedelta(days=int(net_terms) if net_terms.isdecimal() else 0)
