"""Documents of single events: the transaction that bills what a contract has rated upon usage.

What is due stands in `event_due`, in the order of rating, and how far it has documents in
`event_billing`: a message is only a call to look. A child stands under its period's document, which
bills what is left when the period is closed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from msgspec.structs import replace

from invoicer import repository
from invoicer.assembly import Assembly, DocumentKey, ProductTerms, with_lineages
from invoicer.crediting import Draw, Drawn, draw_for_event, dues
from invoicer.draft_rows import write_drafts, write_draws
from invoicer.event_changes import (
    Affected,
    Change,
    EventLine,
    Total,
    Totals,
    Use,
    draft_change,
    is_empty,
    lines_moved,
    micros,
    move,
    periods_of,
    product_input,
    read_tally,
    write_tally,
)
from invoicer.issuing import Batch, Outcome
from invoicer.repository import Issuer, columns, line_price, queries
from runtime.clock import Clock
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.document import AccountingEventType, DocumentKind, DraftedDocument
from schemas.document_ref import adjustment_ref, document_ref, event_document_ref
from schemas.meter_formula import parse_formula
from schemas.money import QUANTITY_DIGITS, decimal_to_scaled, scaled_to_decimal
from schemas.pricing.event_fees import FeeTally

UPON_USAGE = "DUE_UPON_USAGE"


class Billing(NamedTuple):
    """What is known of a contract whose events are billed, and of its changes at hand."""

    shard_key: int
    contract_ref: UUID
    tenant_ref: str
    groups: list[list[ProductTerms]]
    lines: list[EventLine]
    period_refs: dict[tuple[UUID, datetime], UUID]
    totals: Totals
    drawn: Drawn
    unpaid: dict[UUID, int]
    now: datetime


async def bill_events(
    connection: Connection, shard_key: int, contract_ref: UUID, count_max: int, clock: Clock
) -> tuple[Outcome, bool]:
    """Bill the next changes of a contract's events; tell whether there may be more.

    All or nothing. Raises InvalidInput where one can't be billed.
    """
    async with connection.transaction():
        place = (shard_key, contract_ref)
        await connection.execute(queries.lock_contracts, *[[one] for one in place])
        row = await connection.fetchrow(queries.find_event_issuer, *place)
        if row is None:
            return Outcome(0, 0, 0), False
        through = row["billed_through"]
        rows = await connection.fetch(queries.load_due, *place, through, count_max)
        if not rows:
            return Outcome(0, 0, 0), False
        issuer = Issuer(row["tenant_id"], row["entity_id"], row["document_number_format"], 0)
        changes = [_change(row) for row in rows]
        billing = await _load(connection, place, str(row["tenant_ref"]), changes, clock())
        found: list[tuple[Assembly, list[Draw]]] = []
        for change in changes:
            for group in billing.groups:
                found += await _bill(connection, billing, group, change)
        assemblies = [assembly for assembly, _ in found]
        batch = Batch(connection, issuer, clock)
        if assemblies:
            parties = await repository.load_parties(connection, assemblies)
            await write_drafts(connection, issuer.tenant_id, issuer.entity_id, assemblies, parties)
            draws = [(assembly, draw) for assembly, own in found for draw in own]
            await write_draws(connection, issuer.tenant_id, draws)
            await batch.issue(assemblies, {})
        await _save(connection, issuer.tenant_id, billing)
        last = rows[-1]["due_id"]
        await connection.execute(queries.move_billed, *place, issuer.tenant_id, last)
        await connection.execute(queries.drop_parked_events, *place)
        # Mostly none: a period's document is drawn up behind those of the events in its cut.
        roots = {part.root for assembly in assemblies for part in assembly.draft.adjustments}
        held = (list(roots), min(row["rated_below"] for row in rows))
        overtaken = await connection.fetch(queries.find_overtaken, shard_key, *held)
        await batch.run([], [repository.read_key(row) for row in overtaken], {})
        crashpoint("invoicer.before_issue")
    crashpoint("invoicer.after_issue")
    return Outcome(len(rows), batch.drafted, batch.issued), len(rows) == count_max


def _change(row: asyncpg.Record) -> Change:
    return Change(
        due_id=row["due_id"],
        event_ref=row["event_ref"],
        place=row["place"],
        meter_id=row["meter_id"],
        before=None if row["place_before"] is None else _use(row, "_before"),
        after=_use(row, ""),
        is_first=row["place_before"] is None,
    )


def _use(row: asyncpg.Record, when: str) -> Use | None:
    if row["kind" + when] == "DELETE":
        return None
    quantity = decimal_to_scaled(row["quantity" + when], QUANTITY_DIGITS)
    return Use(row["occurred_at" + when], quantity, row["additional_data" + when])


async def _load(
    connection: Connection,
    place: tuple[int, UUID],
    tenant_ref: str,
    changes: Sequence[Change],
    now: datetime,
) -> Billing:
    """Load all that the changes are billed by."""
    shard_key, contract_ref = place
    terms = await connection.fetch(queries.load_terms, [shard_key], [contract_ref])
    groups: dict[int, list[ProductTerms]] = {}
    for one in with_lineages([ProductTerms(**row) for row in terms]):
        if one.net_terms == UPON_USAGE:
            groups.setdefault(one.document_group, []).append(one)
    products = [one for group in groups.values() for one in group]
    lines = [_line(row) for row in await connection.fetch(queries.load_event_lines, *place)]
    starts = {
        (one.contract_product_ref, period.start)
        for change in changes
        for one in products
        for period in periods_of(change, one)
    }
    rows = await connection.fetch(
        queries.load_event_periods, shard_key, *columns(sorted(starts), 2)
    )
    refs = {(row["contract_product_ref"], row["start_at"]): row["period_ref"] for row in rows}
    names = [line.contract_line_ref for line in lines]
    totals = {
        (row["contract_line_ref"], row["period_ref"], row["cell"]): Total(
            decimal_to_scaled(row["quantity"], QUANTITY_DIGITS),
            row["event_count"],
            read_tally(row["progress"]),
        )
        for row in await connection.fetch(
            queries.load_event_totals, shard_key, names, list(refs.values())
        )
    }
    drawn = await repository.load_draws(connection, [(shard_key, one) for one in products])
    own = list(groups.values())
    return Billing(*place, tenant_ref, own, lines, refs, totals, drawn, {}, now)


def _line(row: asyncpg.Record) -> EventLine:
    fields: dict[str, Any] = dict(row)
    formula = fields.pop("formula")
    price = line_price(fields.pop("price"))
    return EventLine(
        **fields, price=price, formula=None if formula is None else parse_formula(formula)
    )


async def _bill(
    connection: Connection, billing: Billing, group: Sequence[ProductTerms], change: Change
) -> list[tuple[Assembly, list[Draw]]]:
    """Draw up a change for one group of the contract; nothing where it moves nothing there."""
    affected = _affected(billing, group, change)
    if not affected:
        return []
    places = {(line.contract_line_ref, one.period_ref) for one, lines in affected for line in lines}
    then = {at: replace(total) for at, total in billing.totals.items() if at[:2] in places}
    for one, lines in affected:
        for line, place in move(billing.totals, one, lines, change):
            tally = await _count_again(connection, billing, one, line, change)
            billing.totals[place].tally = tally
    then |= {at: Total() for at in billing.totals.keys() - then.keys() if at[:2] in places}
    draft = draft_change(
        group[0].currency,
        [one.root for one, _ in affected],
        [product_input(one, lines, billing.totals) for one, lines in affected],
        [product_input(one, lines, then) for one, lines in affected],
    )
    if not change.is_first:
        if is_empty(draft):
            return []
        kind = AccountingEventType.CREDIT if draft.total < 0 else AccountingEventType.DEBIT
        draft = replace(draft, accounting_event_type=kind)
    assembly = _assembly(billing, change, affected[0][0], draft)
    return [await _paid(connection, billing, group, assembly, [one for one, _ in affected])]


def _affected(
    billing: Billing, group: Sequence[ProductTerms], change: Change
) -> list[tuple[Affected, list[EventLine]]]:
    """Return the products and periods that a change moves, with the lines that it does."""
    found = []
    for terms in group:
        lines = lines_moved(billing.lines, change, terms.contract_product_ref)
        for period in periods_of(change, terms) if lines else ():
            key = (terms.contract_product_ref, period.start)
            if (period_ref := billing.period_refs.get(key)) is not None:
                names = (billing.contract_ref, terms.document_group, period.issue_date)
                root = document_ref(billing.tenant_ref, *names)
                found.append((Affected(terms, period, period_ref, root), lines))
    return found


async def _count_again(
    connection: Connection, billing: Billing, affected: Affected, line: EventLine, change: Change
) -> FeeTally:
    """Count the fees of all events of a line and period, in their order."""
    tally = FeeTally.start(line.price)
    rows = await connection.fetch(
        queries.load_events_as_of,
        *(billing.shard_key, billing.contract_ref, change.due_id, line.meter_id),
        *(affected.period.start, affected.period.end),
    )
    for row in rows:
        quantity = decimal_to_scaled(row["quantity"], QUANTITY_DIGITS)
        use = Use(row["occurred_at"], quantity, row["additional_data"])
        tally.count(line.price, (micros(use.at), row["event_ref"].int), line.billable(use))
    return tally


def _assembly(
    billing: Billing, change: Change, first: Affected, draft: DraftedDocument
) -> Assembly:
    """Dress a draft as the document of an event, or as the adjustment of one."""
    terms, period = first.terms, first.period
    zone = ZoneInfo(terms.timezone)
    own = event_document_ref(change.event_ref.int, billing.contract_ref, terms.document_group)
    ref = UUID(int=own)
    use = change.after or change.before
    assert use is not None, "an event that never counted moves nothing"
    day = use.at.astimezone(zone).date()
    if not change.is_first:
        ref = adjustment_ref(ref, change.place)
        day = max(billing.now.astimezone(zone).date(), day)
    key = DocumentKey(billing.shard_key, ref, billing.contract_ref, terms.document_group, day)
    return Assembly(
        key=key,
        lead_product_ref=terms.contract_product_ref,
        net_terms=terms.net_terms,
        timezone=terms.timezone,
        period_start=period.start_date,
        period_end=period.end_date,
        is_complete=True,
        draft=draft,
        kind=DocumentKind.EVENT if change.is_first else DocumentKind.ADJUSTMENT,
        parent_document_ref=first.root,
        event_ref=change.event_ref,
        event_due_id=change.due_id,
    )


async def _paid(
    connection: Connection,
    billing: Billing,
    group: Sequence[ProductTerms],
    assembly: Assembly,
    affected: Sequence[Affected],
) -> tuple[Assembly, list[Draw]]:
    """Pay a document from the credits of its products, or give back what a change takes off."""
    if all(one.credits == "[]" for one in group):
        return assembly, []
    roots = [one.root for one in affected if one.root not in billing.unpaid]
    billing.unpaid.update(dict.fromkeys(roots, 0))
    digits = assembly.draft.currency_digits
    for row in await connection.fetch(queries.load_unpaid, billing.shard_key, roots):
        billing.unpaid[row["root_document_ref"]] = decimal_to_scaled(row["total"], digits)
    draft = assembly.draft
    paid: dict[UUID, int] = dict.fromkeys((one.root for one in affected), 0)
    draws: list[Draw] = []
    for one, due in zip(affected, dues(draft.products), strict=True):
        unpaid = billing.unpaid[one.root] + due
        own = draw_for_event(one.terms, digits, billing.drawn, one.period, unpaid)
        drawn = sum(draw.amount for draw in own)
        billing.unpaid[one.root] = unpaid - drawn
        paid[one.root] += drawn
        draws += own
    total = draft.total - sum(paid.values())
    kind = draft.accounting_event_type
    if total < 0:
        kind = AccountingEventType.CREDIT
    elif kind is AccountingEventType.CREDIT:
        is_event = assembly.kind is DocumentKind.EVENT
        kind = AccountingEventType.INVOICE if is_event else AccountingEventType.DEBIT
    parts = tuple(replace(part, credits_amount=paid[part.root]) for part in draft.adjustments)
    draft = replace(
        draft,
        accounting_event_type=kind,
        credits_amount=sum(paid.values()),
        total=total,
        adjustments=parts,
    )
    return replace(assembly, draft=draft), draws


async def _save(connection: Connection, tenant_id: int, billing: Billing) -> None:
    """Write what the lines have come to."""
    rows = [
        (
            *place,
            scaled_to_decimal(total.quantity, QUANTITY_DIGITS),
            total.event_count,
            write_tally(total.tally),
        )
        for place, total in billing.totals.items()
    ]
    await connection.execute(
        queries.save_event_totals, billing.shard_key, tenant_id, *columns(rows, 6)
    )
