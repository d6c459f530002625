"""Adjusting: draws up what has changed of issued documents, as the inputs come in."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from invoicer import repository
from invoicer.assembly import Assembly, DocumentKey, assemble
from invoicer.billed import load_billed
from invoicer.crediting import Draw, redraw_credits
from invoicer.draft_rows import write_drafts, write_draws
from invoicer.repository import Groups, Issuer, Running
from runtime.clock import Clock
from runtime.postgres import Connection
from schemas.adjustments import difference, with_credits
from schemas.document import DocumentKind
from schemas.document_ref import adjustment_ref


class Correction(NamedTuple):
    """What has changed of an issued document.

    assembly: as it is drawn now, its draft the difference. number: of a document of its own.
    """

    assembly: Assembly
    number: int
    draws: list[Draw]


async def find_corrections(
    connection: Connection, documents: Sequence[DocumentKey], groups: Groups, running: Running
) -> dict[UUID, Correction]:
    """Draw issued documents anew and return by how much they differ, those that do, by their refs.

    The documents' contracts are locked. running: what corrections change is changed there.
    """
    if not documents:
        return {}
    cuts = await repository.load_cuts(connection, documents)
    lines = await repository.load_cut_lines(connection, [c for own in cuts.values() for c in own])
    billed = await load_billed(connection, documents)
    found = {}
    for key in sorted(documents, key=lambda key: (key.issue_date, key.document_ref)):
        own, periods = billed[key.document_ref], cuts[key.document_ref]
        rates = {k: (p.discount_percent, p.tax_percent) for k, p in own.products.items()}
        group = groups[key.contract_ref, key.document_group]
        redrawn = assemble(key, group, periods, lines, running.spent, rates)
        draft = difference(redrawn.draft, own, key.document_ref)
        if draft is None:
            continue
        draws = redraw_credits(redrawn.draft, group, periods, running.drawn)
        draft = with_credits(draft, sum(one.amount for one in draws))
        for product in draft.products:
            running.add_spent(product)
        found[key.document_ref] = Correction(
            replace(redrawn, draft=draft, is_complete=True), own.adjustments + 1, draws
        )
    return found


async def adjust(
    connection: Connection, issuer: Issuer, documents: Sequence[DocumentKey], clock: Clock
) -> list[Assembly]:
    """Draw up adjustments of issued documents, each as a draft of its own.

    The documents' contracts are locked, so their adjustments are counted without a gap.
    """
    if not documents:
        return []
    groups = await repository.load_terms(connection, documents)
    running = await repository.load_running(connection, documents, groups)
    found = await find_corrections(connection, documents, groups, running)
    if not found:
        return []
    today = clock()
    adjustments = [
        (_adjustment(one.assembly, one.number, today), one.draws) for one in found.values()
    ]
    assemblies = [assembly for assembly, _ in adjustments]
    parties = await repository.load_parties(connection, assemblies)
    await write_drafts(connection, issuer.tenant_id, issuer.entity_id, assemblies, parties)
    draws = [(assembly, draw) for assembly, own in adjustments for draw in own]
    await write_draws(connection, issuer.tenant_id, draws)
    return assemblies


def _adjustment(assembly: Assembly, number: int, now: datetime) -> Assembly:
    """Make the adjustment of a document, issued on the day that it is where the document is of."""
    parent = assembly.key
    today = now.astimezone(ZoneInfo(assembly.timezone)).date()
    key = replace(
        parent,
        document_ref=adjustment_ref(parent.document_ref, number),
        issue_date=max(today, parent.issue_date),
    )
    return replace(
        assembly,
        key=key,
        kind=DocumentKind.ADJUSTMENT,
        parent_document_ref=parent.document_ref,
    )


async def find_dependents(
    connection: Connection, assemblies: Sequence[Assembly]
) -> list[DocumentKey]:
    """Return the issued documents that look back at what was corrected just now.

    These are the last ones of products with a commitment over the contract.
    """
    corrected = {
        (assembly.key.shard_key, product.contract_product_ref)
        for assembly in assemblies
        for product in assembly.draft.products
        if product.root is not None
    }
    return await repository.find_looking_back(connection, sorted(corrected))
