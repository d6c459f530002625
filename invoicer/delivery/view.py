"""What a document shows, as text ready to be laid out: HTML and PDF are made from the same view.

A person can recompute the total by hand from it: each line says how its amount came about, tier by
tier, with every fee, bound, discount, share of a period and rounding on the way.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec

from invoicer.delivery import words
from invoicer.delivery.explanation import ViewLine, explain_line, show_difference
from invoicer.delivery.issued import IssuedDocument, IssuedProduct
from invoicer.delivery.parties import (
    Party,
    accent_colour,
    customer_party,
    document_locale,
    entity_party,
    payment_details,
)
from schemas.money import (
    Price,
    currency_digits,
    decimal_to_scaled,
    round_percent,
    scaled_to_decimal,
)

TITLES: Final = {"INVOICE": "Invoice", "CREDIT": "Credit note", "DEBIT": "Debit note"}
_TOTAL_LABELS: Final = {"INVOICE": "Total due", "CREDIT": "Total credited", "DEBIT": "Total due"}


_PAGE: Final = "Page {page} of {pages}"
_HEADINGS: Final = (
    "From",
    "Billed to",
    "Description",
    "Quantity",
    "Unit price",
    "Amount",
    "Payment",
    "Reference",
    "Note",
)


class Fact(msgspec.Struct, frozen=True):
    """A label and what it is."""

    label: str
    value: str


_TRUE_UPS: Final = {
    True: "Added up to the minimum spend of the period of {amount} (spent: {spent})",
    False: "Added up to the minimum spend over the contract of {amount} (spent: {spent})",
}
_TRUE_UP_CHANGES: Final = {
    True: "Change of what the minimum spend of the period adds",
    False: "Change of what the minimum spend over the contract adds",
}


class ViewProduct(msgspec.Struct, frozen=True):
    """A product of one period. adjustments: what is added to, or taken off, its lines.

    total: after the minimum fee and before the discount, as the subtotal adds it up; empty where
    it would only repeat the document's.
    """

    name: str
    period: str
    lines: tuple[ViewLine, ...]
    adjustments: tuple[Fact, ...]
    total: str
    total_label: str


class View(msgspec.Struct, frozen=True):
    """The whole document.

    headings: the labels of its parts, by their English. accent: of headings and rules, as #rrggbb.
    logo: the issuer's picture, empty when there is none.
    """

    language: str
    is_rtl: bool
    accent: str
    headings: dict[str, str]
    logo: str
    title: str
    number: str
    facts: tuple[Fact, ...]
    issuer: Party
    recipient: Party
    products: tuple[ViewProduct, ...]
    totals: tuple[Fact, ...]
    total: Fact
    note: str
    payment: tuple[Fact, ...]
    issue_date: str


def build_view(document: IssuedDocument) -> View:
    """Make the view of an issued document; pure, the same for ever."""
    with words.writing(document_locale(document.parties)):
        kind = document.accounting_event_type
        is_paid_in = kind != "CREDIT"
        parties = document.parties
        return View(
            language=words.language(),
            is_rtl=words.is_rtl(),
            accent=accent_colour(parties),
            headings={label: words.say(label) for label in _HEADINGS} | {_PAGE: _page()},
            logo=document.logo,
            title=words.say(TITLES[kind]),
            number=document.document_number,
            facts=tuple(_facts(document, is_paid_in=is_paid_in)),
            issuer=entity_party(parties.get("entity", {})),
            recipient=customer_party(parties.get("customer", {})),
            products=tuple(_product(product, document) for product in document.products),
            totals=tuple(_totals(document)),
            total=Fact(
                words.say(_TOTAL_LABELS[kind]), words.money(document.total, document.currency)
            ),
            note=str(parties.get("note", "")),
            payment=tuple(Fact(*pair) for pair in payment_details(parties)) if is_paid_in else (),
            issue_date=document.issue_date.isoformat(),
        )


def _page() -> str:
    """Return the label of pages with its two places still open."""
    return words.say(_PAGE, page="{page}", pages="{pages}")


def _facts(document: IssuedDocument, *, is_paid_in: bool) -> Iterator[Fact]:
    contract = document.parties.get("contract", {})
    yield Fact(words.say("Issue date"), words.day(document.issue_date))
    if document.corrects is not None:
        yield Fact(words.say("Corrects"), document.corrects)
    if is_paid_in:
        yield Fact(words.say("Due date"), words.day(document.due_date))
        yield Fact(words.say("Terms"), _terms(document.net_terms))
    yield Fact(words.say("Period"), words.span(document.period_start, document.period_end))
    if contract.get("contract_number"):
        yield Fact(
            words.say("Contract"),
            words.say("No. {number}", number=str(contract["contract_number"])),
        )
    if contract.get("po_number"):
        yield Fact(words.say("PO number"), str(contract["po_number"]))
    yield Fact(words.say("Currency"), document.currency)


def _terms(net_terms: str) -> str:
    if not net_terms.isdecimal():
        return words.say("Due upon receipt")
    return words.say("1 day") if net_terms == "1" else words.say("{days} days", days=net_terms)


def _product(product: IssuedProduct, document: IssuedDocument) -> ViewProduct:
    currency = document.currency
    period = words.span(product.start_date, product.end_date)
    if not product.part.is_whole:
        days = product.part.through - product.part.before
        whole = str(product.part.whole)
        period += f" ({words.say('{days} of {whole} days', days=str(days), whole=whole)})"
    is_correction = product.is_difference or (document.is_rest and not product.is_ahead)
    if product.corrects is not None and not document.bills_event:
        said = words.say("corrects {number}", number=product.corrects)
        period += f", {said}" if document.corrects is None else ""
    adjustments = tuple(_adjustments(product, currency, is_correction=is_correction))
    is_alone = len(document.products) == 1 and not adjustments
    return ViewProduct(
        name=words.entered(product.product_name),
        period=period,
        lines=tuple(
            show_difference(line, currency)
            if is_correction
            else explain_line(line, product.part, currency)
            for line in product.lines
        ),
        adjustments=adjustments,
        total="" if is_alone else words.money(product.total, currency),
        total_label="" if is_alone else words.say("Total {name}", name=product.product_name),
    )


def _adjustments(product: IssuedProduct, currency: str, *, is_correction: bool) -> Iterator[Fact]:
    if product.total == product.sub_total:
        return
    if is_correction:
        yield from _changes(product, currency)
        return
    true_ups = sum((one.true_up for one in product.true_ups), Decimal(0))
    if product.total - true_ups != product.sub_total:
        minimum = words.money(product.minimum_fee, currency)
        added = words.money(product.total - true_ups - product.sub_total, currency)
        lines = words.money(product.sub_total, currency)
        label = "Added up to the minimum fee of {minimum} (lines: {lines})"
        yield Fact(words.say(label, minimum=minimum, lines=lines), added)
    for one in product.true_ups:
        if one.true_up:
            committed = words.money(one.amount, currency)
            spent = words.money(one.spent, currency)
            label = words.say(_TRUE_UPS[one.over == "PERIOD"], amount=committed, spent=spent)
            yield Fact(label, words.money(one.true_up, currency))


def _changes(product: IssuedProduct, currency: str) -> Iterator[Fact]:
    """Say by how much what is added to the lines of a product has changed."""
    true_ups = sum((one.true_up for one in product.true_ups), Decimal(0))
    if minimum := product.total - true_ups - product.sub_total:
        yield Fact(words.say("Change of what the minimum fee adds"), words.money(minimum, currency))
    for one in product.true_ups:
        if one.true_up:
            label = words.say(_TRUE_UP_CHANGES[one.over == "PERIOD"])
            yield Fact(label, words.money(one.true_up, currency))


def _totals(document: IssuedDocument) -> Iterator[Fact]:
    currency = document.currency
    yield Fact(words.say("Subtotal"), words.money(document.sub_total, currency))
    for product in document.products:
        if product.discount:
            label = words.say(
                "Discount {rate} on {name} ({amount})",
                rate=words.percent(product.discount_rate),
                name=product.product_name,
                amount=words.money(product.total, currency),
            )
            yield Fact(label, words.money(-product.discount, currency))
    yield from _all_taxes(document)
    if document.credits_amount:
        yield Fact(words.say("Credits"), words.money(-document.credits_amount, currency))


def _all_taxes(document: IssuedDocument) -> Iterator[Fact]:
    """Say the tax of what a document bills, and of what it corrects."""
    currency = document.currency
    if document.is_rest:
        yield Fact(words.say("Tax, the difference"), words.money(_own_tax(document), currency))
    elif document.corrects is None:
        yield from _taxes(document)
    for change in document.tax_changes:
        if change.tax:
            label = words.say("Tax, the difference")
            if document.corrects is None:
                label = words.say("Tax, the difference to {number}", number=change.corrects)
            yield Fact(label, words.money(change.tax, currency))


def _own_tax(document: IssuedDocument) -> Decimal:
    """Return the tax of what a document bills itself."""
    changes = sum((change.tax for change in document.tax_changes), Decimal(0))
    return document.total_tax - changes


def _taxes(document: IssuedDocument) -> Iterator[Fact]:
    """Say each rate's tax and what it is of; they add up to the document's, or it is not shown."""
    digits = currency_digits(document.currency)
    # What is billed ahead is rounded by itself.
    bases: dict[tuple[Price, bool], int] = {}
    for product in document.products:
        if document.bills_event or not product.is_difference:
            base = decimal_to_scaled(product.total - product.discount, digits)
            place = (product.tax_rate, product.is_ahead)
            bases[place] = bases.get(place, 0) + base
    taxes = [(rate, base, round_percent(base, rate)) for (rate, _), base in sorted(bases.items())]
    total = sum(tax for _rate, _base, tax in taxes)
    if document.bills_event and scaled_to_decimal(total, digits) != document.total_tax:
        # It is a part of several documents, and each of these parts is rounded by itself.
        yield Fact(words.say("Tax"), words.money(document.total_tax, document.currency))
        return
    assert scaled_to_decimal(total, digits) == _own_tax(document), "the taxes add up"
    for rate, base, tax in taxes:
        of = words.money(_currency(base, digits), document.currency)
        amount = words.money(_currency(tax, digits), document.currency)
        yield Fact(words.say("Tax {rate} on {amount}", rate=words.percent(rate), amount=of), amount)


def _currency(minor: int, digits: int) -> Decimal:
    return scaled_to_decimal(minor, digits)
