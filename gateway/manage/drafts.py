"""Documents that nobody has drawn up yet, as they stand now: from the contract and its charges.

The ref of a document is derived from its contract, group and issue date, so that it can be found
again from the contracts of the customer whose bits it has. What is shown is what the invoicer's
own drafting makes of the usage rated so far; nothing is written.
"""

from collections.abc import Sequence
from datetime import date, datetime
from functools import reduce
from itertools import takewhile
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from gateway.manage.context import queries
from runtime.postgres import Connection
from schemas.ahead_drafting import all_taken_off, joined, settled
from schemas.commitments import read_commitments, true_ups_json
from schemas.document import DocumentLine, DocumentProduct, DraftedDocument, tiers_json
from schemas.document_ref import document_ref
from schemas.drafting import ProductInput, draft_document
from schemas.event_ref import month_of, shard_key_of
from schemas.money import (
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    currency_digits,
    decimal_to_scaled,
    scaled_to_decimal,
)
from schemas.periods import BillingTerms, Period, period_at, periods
from schemas.price import is_usage
from schemas.standing import Totals, product_so_far

Row = asyncpg.Record
_DAYS_MAX: Final = 31


class Due(msgspec.Struct, frozen=True):
    """A contract product with a period that the document is about."""

    terms: Row
    period: Period


class Found(msgspec.Struct, frozen=True):
    """A draft, and what it is about. about: columns that the period does not tell."""

    due: list[Due]
    draft: DraftedDocument
    about: dict[str, Any] = {}

    def row(self, ref: UUID) -> dict[str, Any]:
        """Return it in the columns of its table."""
        first, draft = self.due[0].terms, self.draft
        digits = draft.currency_digits
        nothing = (
            *("document_number", "created_at", "due_date", "submission_date", "paid_date"),
            "parent_document_ref",
        )
        return {
            **dict.fromkeys(nothing),
            "number_in_contract": None,
            "total_in_contract": None,
            "document_ref": ref,
            "state": "DRAFT",
            "issue_date": self.due[0].period.issue_date,
            "is_partial_period": draft.is_partial_period,
            "accounting_event_type": draft.accounting_event_type,
            "currency": draft.currency,
            "net_terms": first["net_terms"],
            "sub_total": scaled_to_decimal(draft.sub_total, digits),
            "total_discount": scaled_to_decimal(draft.total_discount, digits),
            "total_tax": scaled_to_decimal(draft.total_tax, digits),
            "credits_amount": scaled_to_decimal(draft.credits_amount, digits),
            "total": scaled_to_decimal(draft.total, digits),
            "contract_ref": first["contract_ref"],
            "contract_number": first["contract_number"],
            "parties": first["parties"],
            "period_start": min(one.period.start_date for one in self.due),
            "period_end": max(one.period.end_date for one in self.due),
            **self.about,
        }


async def find_draft(connection: Connection, tenant_id: int, ref: UUID) -> Found | None:
    """Return the draft of a document, None if there is to be no such document."""
    place = shard_key_of(ref.int)
    terms = await connection.fetch(queries.list_terms_of_shard, tenant_id, place)
    found = _named(ref, terms)
    if found is None:
        return None
    group, issue_date = found
    return await draft_on(connection, tenant_id, group, issue_date)


async def draft_on(
    connection: Connection, tenant_id: int, group: Sequence[Row], issue_date: date
) -> Found | None:
    """Return the draft that a group of products has on an issue date, None if it has none.

    group: rows of `list_terms_of_shard`.
    """
    settling, ahead = (
        [Due(row, p) for row in group for p in of_day(BillingTerms.of_row(row), issue_date)]
        for of_day in (due_periods, ahead_periods)
    )
    due = [*settling, *ahead]
    if not due:
        return None
    refs = [row["contract_product_ref"] for row in group]
    place = shard_key_of(refs[0].int)
    lines = await connection.fetch(queries.list_lines_of_products, tenant_id, place, refs)
    starts = [one.period.start for one in due]
    charges = await connection.fetch(queries.list_charges_so_far, tenant_id, place, refs, starts)
    totals = _by_place(charges)
    cut = await connection.fetch(queries.list_billed_ahead, tenant_id, place, refs, starts)
    billed, currency = {**totals, **_by_place(cut)}, group[0]["currency"]
    whole = draft_document([product_input(one, lines, totals) for one in settling], currency)
    before, now = (
        draft_document([_ahead_input(one, lines, billed) for one in own], currency)
        for own in ([one for one in settling if one.period.is_ahead], ahead)
    )
    parts = [now] if ahead else []
    parts += await _given_back(connection, tenant_id, settling)
    draft = reduce(joined, parts, settled(whole, before))
    return Found(due, draft, {"issue_date": issue_date})


async def _given_back(
    connection: Connection, tenant_id: int, settling: Sequence[Due]
) -> list[DraftedDocument]:
    """Return what is billed ahead of periods whose place others have taken, taken off again.

    settling: the periods that have. One draft for each document that bills something ahead.
    """
    if not settling:
        return []
    place = shard_key_of(settling[0].terms["contract_product_ref"].int)
    taken = (
        [one.terms["contract_product_ref"] for one in settling],
        [one.period.start_date for one in settling],
    )
    former = await connection.fetch(queries.list_former_ahead, tenant_id, place, *taken)
    if not former:
        return []
    refs = [row["contract_product_ref"] for row in former]
    starts = [row["start_at"] for row in former]
    rows = await connection.fetch(queries.list_terms_of_shard, tenant_id, place)
    terms = {row["contract_product_ref"]: row for row in rows}
    lines = await connection.fetch(queries.list_lines_of_products, tenant_id, place, refs)
    cut = await connection.fetch(queries.list_billed_ahead, tenant_id, place, refs, starts)
    by_document: dict[tuple[int, date], list[ProductInput]] = {}
    for ref, start, issue_date in former:
        own = terms[ref]
        period = period_at(replace(BillingTerms.of_row(own), until=None), start)
        assert period is not None, "it was opened"
        made = _ahead_input(Due(own, period), lines, _by_place(cut))
        by_document.setdefault((own["document_group"], issue_date), []).append(made)
    currency = settling[0].terms["currency"]
    return [all_taken_off(draft_document(own, currency)) for own in by_document.values()]


def _by_place(rows: Sequence[Row]) -> dict[tuple[UUID, datetime], list[Row]]:
    totals: dict[tuple[UUID, datetime], list[Row]] = {}
    for row in rows:
        totals.setdefault((row["contract_line_ref"], row["start_at"]), []).append(row)
    return totals


Groups = dict[tuple[UUID, int], list[Row]]
"""The products of each contract and document group."""


def groups_of(terms: Sequence[Row]) -> Groups:
    """Sort rows of `list_terms_of_shard` into what shares documents."""
    groups: Groups = {}
    for row in terms:
        groups.setdefault((row["contract_ref"], row["document_group"]), []).append(row)
    return groups


def _named(ref: UUID, terms: Sequence[Row]) -> tuple[list[Row], date] | None:
    """Return the products and the issue date that a document's ref was derived from."""
    year, month = divmod(month_of(ref.int), 12)
    for (contract_ref, group), rows in groups_of(terms).items():
        for day in range(1, _DAYS_MAX + 1):
            try:
                issue_date = date(2000 + year, month + 1, day)
            except ValueError:
                break
            tenant_ref = str(rows[0]["tenant_ref"])
            if document_ref(tenant_ref, contract_ref, group, issue_date) == ref:
                return rows, issue_date
    return None


def due_periods(terms: BillingTerms, issue_date: date) -> list[Period]:
    """Return the periods which the document of a day settles, in order."""
    by_then = takewhile(lambda period: period.issue_date <= issue_date, periods(terms))
    return [period for period in by_then if period.rest_date == issue_date]


def ahead_periods(terms: BillingTerms, issue_date: date) -> list[Period]:
    """Return the periods of which the document of a day bills a part ahead, in order."""
    by_then = takewhile(lambda period: period.issue_date <= issue_date, periods(terms))
    return [one for one in by_then if one.is_ahead and one.issue_date == issue_date]


def product_input(due: Due, lines: Sequence[Row], totals: Totals) -> ProductInput:
    """Put together what a product is drafted from: all its lines, with their usage so far."""
    return replace(
        product_so_far(due.terms, due.period, lines, totals),
        commitments=read_commitments(due.terms["commitments"]),
        spent_before=_spent_before(due.terms, due.period),
    )


def _ahead_input(due: Due, lines: Sequence[Row], totals: Totals) -> ProductInput:
    """Put together what of a product is billed ahead: fixed fees, and during use what was used."""
    drawn = product_so_far(due.terms, due.period, lines, totals)
    if due.terms["payment_time"] == "BEFORE_USE" or due.period.start >= due.period.issued_at:
        fixed = [line for line in drawn.lines if not is_usage(line.price)]
        drawn = replace(drawn, lines=fixed)
    return replace(drawn, is_ahead=True)


def _spent_before(terms: Row, period: Period) -> int | None:
    """Return what was spent before the last period; None for the others."""
    if period_at(BillingTerms.of_row(terms), period.end) is not None:
        return None
    return decimal_to_scaled(terms["spent"], currency_digits(terms["currency"]))


def product_row(product: DocumentProduct, digits: int) -> dict[str, Any]:
    """Show a product of a draft in the columns of its table."""
    return {
        "product_name": product.product_name,
        "minimum_fee": scaled_to_decimal(product.minimum_fee or 0, digits),
        "sub_total": scaled_to_decimal(product.sub_total, digits),
        "total": scaled_to_decimal(product.total, digits),
        "discount": scaled_to_decimal(product.discount, digits),
        "true_ups": true_ups_json(product.true_ups, digits),
    }


def line_row(line: DocumentLine, digits: int) -> dict[str, Any]:
    """Show a line of a draft in the columns of its table."""
    price = line.unit_price
    return {
        "line_item_ref": line.line_item_ref,
        "item": line.item,
        "model": line.price.model,
        "quantity": scaled_to_decimal(line.quantity, QUANTITY_DIGITS),
        "unit_price": None if price is None else scaled_to_decimal(price, PRICE_DIGITS),
        "amount": scaled_to_decimal(line.amount, digits),
        "tiers": tiers_json(line.tiers) if line.tiers else None,
        "charge_ref": line.charge_ref,
        "event_count": line.event_count,
        "events_digest": line.events_digest,
        "cell": line.cell,
    }
