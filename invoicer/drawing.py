"""Drawing documents up from all their inputs so far, as drafts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from invoicer import repository
from invoicer.adjusting import Correction, find_corrections
from invoicer.ahead import add_parts, ahead_parts, draw_ahead, says_nothing
from invoicer.ahead_rows import Aheads, drop_documents, load_aheads, settles_ahead
from invoicer.assembly import Assembly, CutPeriod, DocumentKey, ProductTerms, assemble
from invoicer.billed import load_billed
from invoicer.crediting import Draw, draw_credits, redraw_credits
from invoicer.draft_rows import write_drafts, write_draws
from invoicer.repository import Groups, Issuer, Running, Standing
from invoicer.waiting import assign_waiting
from runtime.postgres import Connection
from schemas.adjustments import Billed, carry, remainder
from schemas.drafting import CutLine


class _Given(NamedTuple):
    """What documents are drawn up from; by document, if nothing else is said.

    lines: by period. billed: what others have billed ahead. waiting: the issued documents whose
    changes each takes along; corrections: these changes.
    """

    terms: Groups
    cuts: Mapping[UUID, list[CutPeriod]]
    lines: Mapping[UUID, Sequence[CutLine]]
    aheads: Aheads
    billed: Mapping[UUID, Billed]
    waiting: Mapping[UUID, Sequence[DocumentKey]]
    corrections: Mapping[UUID, Correction]
    running: Running


async def draw(
    connection: Connection,
    issuer: Issuer,
    documents: Sequence[DocumentKey],
    standing: Mapping[UUID, Standing],
) -> list[Assembly]:
    """Draw up the documents from all their inputs so far, and write them as drafts.

    One that is complete and has nothing to say is left out.
    """
    if not documents:
        return []
    given = await _load(connection, issuer, documents, standing)
    assemblies: list[Assembly] = []
    draws: list[tuple[Assembly, Draw]] = []
    silent: list[DocumentKey] = []
    for key in sorted(documents, key=lambda key: (key.issue_date, key.document_ref)):
        assembly, drawn = _draw_one(key, given)
        group = given.terms[key.contract_ref, key.document_group]
        if assembly.is_complete and says_nothing(
            assembly.draft, group, given.cuts.get(key.document_ref, ())
        ):
            silent.append(key)
            continue
        assemblies.append(assembly)
        draws += [(assembly, one) for one in drawn]
    if silent:
        await drop_documents(connection, silent)
    if assemblies:
        parties = await repository.load_parties(connection, assemblies)
        await write_drafts(connection, issuer.tenant_id, issuer.entity_id, assemblies, parties)
        await write_draws(connection, issuer.tenant_id, draws)
    return assemblies


async def _load(
    connection: Connection,
    issuer: Issuer,
    documents: Sequence[DocumentKey],
    standing: Mapping[UUID, Standing],
) -> _Given:
    """Load all that documents are drawn up from; what they said before is gone then."""
    terms = await repository.load_terms(connection, documents)
    cuts = await repository.load_cuts(connection, documents)
    aheads = await load_aheads(connection, issuer.tenant_id, documents, terms, cuts)
    all_cuts = [cut for own in (cuts, aheads.own) for found in own.values() for cut in found]
    lines = await repository.load_cut_lines(connection, all_cuts)
    if redrawn := [key for key in documents if key.document_ref in standing]:
        await repository.drop_content(connection, redrawn)
    running = await repository.load_running(connection, documents, terms)
    waiting = await assign_waiting(connection, documents)
    roots = [root for own in waiting.values() for root in own]
    billed = await _load_billed_ahead(connection, documents, terms)
    corrections = await find_corrections(connection, roots, terms, running)
    return _Given(terms, cuts, lines, aheads, billed, waiting, corrections, running)


def _draw_one(key: DocumentKey, given: _Given) -> tuple[Assembly, list[Draw]]:
    """Draw up one document; return it with what it draws from credits."""
    ref, running = key.document_ref, given.running
    group, cuts = given.terms[key.contract_ref, key.document_group], given.cuts.get(ref, [])
    ahead = given.aheads.own.get(ref, [])
    assembly = assemble(key, group, cuts, given.lines, running.spent, aheads=ahead)
    for product in assembly.draft.products:
        running.set_spent(product)
    # What is given back is there for the period as it is now again.
    back = list(given.aheads.given.get(ref, ()))
    sold = [one for (of, _), own in given.terms.items() if of == key.contract_ref for one in own]
    drawn_back = draw_ahead(back, sold, assembly.draft.currency_digits, running.drawn)
    if ref in given.billed:
        assembly, drawn = _rest(assembly, group, cuts, given.billed[ref], running)
    else:
        assembly, drawn = draw_credits(assembly, group, cuts, running.drawn)
    parts = ahead_parts(assembly, ahead, given.aheads.tenant_ref)
    drawn_ahead = draw_ahead(parts, group, assembly.draft.currency_digits, running.drawn)
    parts, drawn_ahead = [*parts, *back], [*drawn_ahead, *drawn_back]
    taken = [
        given.corrections[root.document_ref]
        for root in given.waiting[ref]
        if root.document_ref in given.corrections
    ]
    draft = add_parts(assembly.draft, parts, drawn_ahead)
    draft = carry(draft, [one.assembly.draft for one in taken])
    is_settled = not any(cut.period_ref in given.aheads.waiting for cut in cuts)
    assembly = replace(assembly, draft=draft, is_complete=assembly.is_complete and is_settled)
    return assembly, [*drawn, *drawn_ahead, *(one for own in taken for one in own.draws)]


async def _load_billed_ahead(
    connection: Connection, documents: Sequence[DocumentKey], groups: Groups
) -> dict[UUID, Billed]:
    """Return what others have billed ahead of these documents, single events or periods."""
    ahead = [
        key
        for key in documents
        if groups[key.contract_ref, key.document_group][0].net_terms == "DUE_UPON_USAGE"
        or settles_ahead(groups, [key])
    ]
    return await load_billed(connection, ahead) if ahead else {}


def _rest(
    whole: Assembly,
    group: Sequence[ProductTerms],
    cuts: Sequence[CutPeriod],
    before: Billed,
    running: Running,
) -> tuple[Assembly, list[Draw]]:
    """Make the document of what was not billed ahead of it, credits drawn for all of it."""
    draws = redraw_credits(whole.draft, group, cuts, running.drawn)
    credits_amount = sum(one.amount for one in draws)
    draft = remainder(whole.draft, before, credits_amount)
    return replace(whole, draft=draft), draws
