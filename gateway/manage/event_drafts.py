"""The documents of single events, due upon usage, as they would be drawn up now.

The ref of such a document leads back to its event's (`event_document_ref`), given the contract and
its group; whose contracts may be meant, the customer's bits say. What it bills is by how much the
event moves its lines' rounded amounts, in the order in which events were rated: so the documents of
a period add up to its lines.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from gateway.manage.context import queries
from gateway.manage.drafts import Due, Found, product_input
from gateway.manage.values import DUE_UPON_USAGE
from gateway.reports.asking import names_of, refs_between
from gateway.reports.asking import queries as reports
from runtime.postgres import Connection
from schemas.aggregation import PLAIN
from schemas.document_ref import document_ref, event_document_ref
from schemas.drafting import ProductInput, draft_document
from schemas.event_drafting import draft_difference
from schemas.event_ref import shard_key_of
from schemas.meter_feed import times
from schemas.money import QUANTITY_DIGITS, Quantity, decimal_to_scaled, scaled_to_decimal
from schemas.periods import BillingTerms, period_at
from schemas.price import basis_of, from_json
from schemas.standing import Totals

Row = asyncpg.Record


async def bills_events(connection: Connection, tenant_id: int, place: int) -> bool:
    """Tell whether a contract in a shard bills upon usage, so that events have documents there."""
    terms = await connection.fetch(queries.list_terms_of_shard, tenant_id, place)
    return any(row["net_terms"] == DUE_UPON_USAGE for row in terms)


async def find_event_draft(connection: Connection, tenant_id: int, ref: UUID) -> Found | None:
    """Return the draft of an event's document; None if the event is unknown, deleted or not due."""
    place = shard_key_of(ref.int)
    terms = await connection.fetch(queries.list_terms_of_shard, tenant_id, place)
    groups = _groups_by_event(ref, terms)
    if not groups:
        return None
    event = await connection.fetchrow(reports.find_event, tenant_id, place, list(groups))
    if event is None or event["is_deleted"]:
        return None
    at = event["occurred_at"]
    covering = [
        (row, period_at(BillingTerms.of_row(row), at)) for row in groups[event["event_ref"]]
    ]
    due = [Due(row, period) for row, period in covering if period is not None]
    refs = [one.terms["contract_product_ref"] for one in due]
    rows = await connection.fetch(queries.list_lines_of_products, tenant_id, place, refs)
    above = await connection.fetch(queries.list_meters_above, tenant_id, event["meter_id"])
    feeds = {row["toward_id"]: row for row in above}
    lines = [row for row in rows if row["meter_id"] in feeds]
    priced = {row["contract_product_ref"] for row in lines}
    due = [one for one in due if one.terms["contract_product_ref"] in priced]
    if not due:
        return None
    befores, afters = [], []
    for one in due:
        before, after = await _totals(connection, tenant_id, one, lines, event, feeds)
        befores.append(_input(one, lines, before))
        afters.append(_input(one, lines, after))
    currency = due[0].terms["currency"]
    draft = draft_difference(draft_document(afters, currency), draft_document(befores, currency))
    return Found(due, draft, _about(due[0], at))


def _groups_by_event(ref: UUID, terms: Sequence[Row]) -> dict[UUID, list[Row]]:
    """Return the products that would bill an event upon usage, by every ref it may have."""
    groups: dict[UUID, list[Row]] = {}
    for row in terms:
        if row["net_terms"] == DUE_UPON_USAGE:
            event_ref = event_document_ref(ref.int, row["contract_ref"], row["document_group"])
            for name in names_of(UUID(int=event_ref)):
                groups.setdefault(name, []).append(row)
    return groups


async def _totals(
    connection: Connection,
    tenant_id: int,
    due: Due,
    lines: Sequence[Row],
    event: Row,
    feeds: Mapping[int, Row],
) -> tuple[Totals, Totals]:
    """Return what the lines have come to before an event and with it, in the order of rating.

    feeds: the event's factor by the meter that a line prices.
    """
    period = due.period
    between = (*refs_between(period.start, period.end), period.start, period.end)
    whose = (tenant_id, event["shard_key"], event["customer_id"])
    before: dict[tuple[UUID, datetime], list[Any]] = {}
    after: dict[tuple[UUID, datetime], list[Any]] = {}
    for line in lines:
        place = (line["contract_line_ref"], period.start)
        feed = feeds[line["meter_id"]]
        is_of_total = basis_of(from_json(line["price"])) == "TOTAL"
        if line["aggregation"] not in PLAIN or feed["is_computed"] or not is_of_total:
            continue  # shown once it is billed, a moment later
        row = await connection.fetchrow(
            queries.sum_before_event, *whose, line["meter_id"], *between, event["rated_at"]
        )
        assert row is not None, "a sum is one row"
        is_count = line["aggregation"] == "COUNT"
        used = row["units"] if is_count else row["quantity"]
        added = _times(1 if is_count else event["quantity"], feed["factor"])
        count = row["event_count"]
        rest = {"charge_ref": None, "exact_quantity": None, "cell": "", "amount": 0}
        before[place] = [{"quantity": used, "event_count": count, **rest}]
        after[place] = [{"quantity": _plus(used, added), "event_count": count + 1, **rest}]
    return before, after


def _times(quantity: Decimal | int, factor: Decimal) -> Quantity:
    scaled = decimal_to_scaled(Decimal(quantity), QUANTITY_DIGITS)
    return times(scaled, Fraction(factor))


def _plus(used: Decimal, added: Quantity) -> Decimal:
    """Add exactly: a decimal context would round what is long."""
    return scaled_to_decimal(decimal_to_scaled(used, QUANTITY_DIGITS) + added, QUANTITY_DIGITS)


def _input(due: Due, lines: Sequence[Row], totals: Totals) -> ProductInput:
    """Put together what a product is drafted from: usage alone, its minimum is the period's."""
    drawn = product_input(due, lines, totals)
    return msgspec.structs.replace(drawn, minimum_fee=None, commitments=())


def _about(due: Due, at: datetime) -> dict[str, Any]:
    """Say when the document is due, and which one it belongs under."""
    terms = due.terms
    day = at.astimezone(ZoneInfo(terms["timezone"])).date()
    parent = document_ref(
        str(terms["tenant_ref"]),
        terms["contract_ref"],
        terms["document_group"],
        due.period.issue_date,
    )
    return {"issue_date": day, "due_date": day, "parent_document_ref": parent}
