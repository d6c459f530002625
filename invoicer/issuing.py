"""One transaction: inputs in, documents drawn up, and those that are complete issued.

The order of the steps is the order of the locks: contracts first, the series' row last and short.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from invoicer import repository
from invoicer.adjusting import adjust, find_corrections, find_dependents
from invoicer.adjustments import Billed, carry, remainder
from invoicer.assembly import Assembly, CutPeriod, DocumentKey, ProductTerms, assemble
from invoicer.billed import load_billed
from invoicer.crediting import Draw, draw_credits, redraw_credits
from invoicer.draft_rows import write_drafts, write_draws
from invoicer.inputs import InputKey
from invoicer.ledger import book_issued
from invoicer.numbering import Ready, issue_order, number_documents, ready, take_numbers
from invoicer.repository import Groups, Issuer, Routed, Running, Standing
from invoicer.reviewing import hold
from invoicer.settling import set_off_issued
from invoicer.waiting import add_waiting, assign_waiting, drop_stranded, drop_waiting, split_waiting
from runtime.clock import Clock
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.document_number import series_of
from schemas.errors import Conflict
from schemas.lifecycle import REDRAWN


class Outcome(NamedTuple):
    """What a batch came to. inputs: those that were new."""

    inputs: int
    drafted: int
    issued: int


async def take_inputs(
    connection: Connection, issuer: Issuer, inputs: Sequence[Routed], clock: Clock
) -> Outcome:
    """Take inputs of one issuer: record them, draw up their documents, issue the complete ones.

    All or nothing. Inputs that were taken before change nothing. clock: gives `issued_at`.
    Later cuts of documents that are issued already make adjustments, which are issued at once.
    Raises Conflict when an input is of a period that an issued document does not have, InvalidInput
    where one can't be invoiced, and what the database raises.
    """
    documents = {routed.document.document_ref: routed.document for routed in inputs}
    async with connection.transaction():
        await repository.lock_contracts(connection, documents.values())
        fresh = await repository.add_inputs(connection, issuer.tenant_id, inputs)
        if not fresh:
            return Outcome(0, 0, 0)
        await repository.drop_parked(connection, [key for key, _ref in fresh])
        fresh_refs = {ref for _key, ref in fresh}
        touched = [document for ref, document in documents.items() if ref in fresh_refs]
        standing = await repository.load_standing(connection, touched)
        _check_periods(fresh, standing)
        drawn = [key for key in touched if _is_drawn(standing.get(key.document_ref))]
        changed = [key for key in touched if key not in drawn]
        batch = Batch(connection, issuer, clock)
        await batch.run(drawn, changed, standing)
        crashpoint("invoicer.before_issue")
    crashpoint("invoicer.after_issue")
    return Outcome(len(fresh), batch.drafted, batch.issued)


async def release(
    connection: Connection, issuer: Issuer, stranded: Sequence[DocumentKey], clock: Clock
) -> Outcome:
    """Correct documents of one issuer whose contracts have no next document any more."""
    async with connection.transaction():
        await repository.lock_contracts(connection, stranded)
        gone = await drop_stranded(connection, stranded)
        batch = Batch(connection, issuer, clock)
        await batch.run([], [key for key in stranded if key.document_ref in gone], {})
    return Outcome(0, batch.drafted, batch.issued)


class Batch:
    """What is drawn up and issued in one transaction, for one issuer."""

    def __init__(self, connection: Connection, issuer: Issuer, clock: Clock) -> None:
        self._connection = connection
        self._issuer = issuer
        self._clock = clock
        self.drafted = 0
        self.issued = 0

    async def run(
        self,
        drawn: Sequence[DocumentKey],
        changed: Sequence[DocumentKey],
        standing: Mapping[UUID, Standing],
    ) -> None:
        """Draw up documents, and correct issued ones that have changed."""
        connection, issuer = self._connection, self._issuer
        own, waiting = await split_waiting(connection, issuer, changed)
        known = set(drawn)
        more = [
            k for k in await add_waiting(connection, issuer.tenant_id, waiting) if k not in known
        ]
        if more:
            standing = {**standing, **await repository.load_standing(connection, more)}
        assemblies = await draw(connection, issuer, [*drawn, *more], standing)
        await self.issue(assemblies, standing)
        adjustments = await adjust(connection, issuer, own, self._clock)
        await self.issue(adjustments, {})
        # What was corrected may be looked back at, by documents that nothing looks back at.
        dependents = await find_dependents(connection, [*assemblies, *adjustments])
        own, waiting = await split_waiting(connection, issuer, dependents)
        await add_waiting(connection, issuer.tenant_id, waiting)
        await self.issue(await adjust(connection, issuer, own, self._clock), {})

    async def issue(
        self, assemblies: Sequence[Assembly], standing: Mapping[UUID, Standing]
    ) -> None:
        """Issue what is complete, series by series: these are by year at the most."""
        self.drafted += len(assemblies)
        for _series, own in groupby(sorted(assemblies, key=_in_series), key=_in_series):
            arguments = (list(own), standing, self._clock)
            self.issued += await _issue(self._connection, self._issuer, *arguments)


def _in_series(assembly: Assembly) -> int:
    """Sort key: series are by year at the most, and are locked in their order."""
    return assembly.key.issue_date.year


def _check_periods(
    fresh: Sequence[tuple[InputKey, UUID]], standing: Mapping[UUID, Standing]
) -> None:
    """Refuse a period that an issued document was not issued for.

    A later cut of one of its periods makes an adjustment of it, an older one changes nothing.
    """
    for key, ref in fresh:
        document = standing.get(ref)
        if document is None or document.state in REDRAWN:
            continue
        if key.period_ref not in document.cuts:
            detail = f"document {ref} is {document.state} without period {key.period_ref}"
            raise Conflict("document_issued", detail)


def _is_drawn(standing: Standing | None) -> bool:
    return standing is None or standing.state in REDRAWN


async def draw(
    connection: Connection,
    issuer: Issuer,
    documents: Sequence[DocumentKey],
    standing: Mapping[UUID, Standing],
) -> list[Assembly]:
    """Draw up the documents from all their inputs so far, and write them as drafts."""
    if not documents:
        return []
    terms = await repository.load_terms(connection, documents)
    cuts = await repository.load_cuts(connection, documents)
    all_cuts = [cut for found in cuts.values() for cut in found]
    lines = await repository.load_cut_lines(connection, all_cuts)
    if redrawn := [key for key in documents if key.document_ref in standing]:
        await repository.drop_content(connection, redrawn)
    running = await repository.load_running(connection, documents, terms)
    waiting = await assign_waiting(connection, documents)
    roots = [root for own in waiting.values() for root in own]
    billed = await _load_billed_ahead(connection, documents, terms)
    corrections = await find_corrections(connection, roots, terms, running)
    assemblies: list[Assembly] = []
    draws: list[tuple[Assembly, Draw]] = []
    for key in sorted(documents, key=lambda key: (key.issue_date, key.document_ref)):
        group, own = terms[key.contract_ref, key.document_group], cuts[key.document_ref]
        assembly = assemble(key, group, own, lines, running.spent)
        for product in assembly.draft.products:
            running.set_spent(product)
        if key.document_ref in billed:
            before = billed[key.document_ref]
            assembly, drawn_now = _rest(assembly, group, own, before, running)
        else:
            assembly, drawn_now = draw_credits(assembly, group, own, running.drawn)
        taken = [
            corrections[root.document_ref]
            for root in waiting[key.document_ref]
            if root.document_ref in corrections
        ]
        draft = carry(assembly.draft, [one.assembly.draft for one in taken])
        assemblies.append(assembly := replace(assembly, draft=draft))
        drawn_now += [draw for one in taken for draw in one.draws]
        draws += [(assembly, draw) for draw in drawn_now]
    parties = await repository.load_parties(connection, assemblies)
    await write_drafts(connection, issuer.tenant_id, issuer.entity_id, assemblies, parties)
    await write_draws(connection, issuer.tenant_id, draws)
    return assemblies


async def _load_billed_ahead(
    connection: Connection, documents: Sequence[DocumentKey], groups: Groups
) -> dict[UUID, Billed]:
    """Return what documents of single events have billed ahead of those of their periods."""
    upon_usage = [
        key
        for key in documents
        if groups[key.contract_ref, key.document_group][0].net_terms == "DUE_UPON_USAGE"
    ]
    return await load_billed(connection, upon_usage) if upon_usage else {}


def _rest(
    whole: Assembly,
    group: Sequence[ProductTerms],
    cuts: Sequence[CutPeriod],
    before: Billed,
    running: Running,
) -> tuple[Assembly, list[Draw]]:
    """Make the document of what events have left to bill, credits drawn for all of it."""
    draws = redraw_credits(whole.draft, group, cuts, running.drawn)
    credits_amount = sum(one.amount for one in draws)
    draft = remainder(whole.draft, before, credits_amount)
    return replace(whole, draft=draft), draws


async def _issue(
    connection: Connection,
    issuer: Issuer,
    assemblies: Sequence[Assembly],
    standing: Mapping[UUID, Standing],
    clock: Clock,
) -> int:
    """Issue the drafts that are complete; return how many."""
    complete = await hold(connection, issuer.tenant_id, assemblies, standing, clock)
    return await issue_ready(connection, issuer, [ready(one) for one in complete], clock)


async def issue_ready(
    connection: Connection,
    issuer: Issuer,
    documents: Sequence[Ready],
    clock: Clock,
    prefix: str = "",
) -> int:
    """Issue drafts of one series, whatever they wait for; return how many.

    Their contracts are locked. prefix: of a series beside the entity's own.
    """
    if not documents:
        return 0
    ordered = sorted(documents, key=issue_order)
    keys = [document.key for document in ordered]
    standings = await repository.load_contract_standings(connection, keys)
    series = prefix + series_of(issuer.number_format, keys[0].issue_date)
    first = await take_numbers(connection, issuer.tenant_id, issuer.entity_id, series, len(ordered))
    issues = number_documents(ordered, first, prefix + issuer.number_format, standings)
    # Read while the series is locked, so that times follow numbers.
    now = clock()
    issued = await repository.issue_documents(connection, issuer.tenant_id, series, issues, now)
    await book_issued(connection, issued, now)
    await set_off_issued(connection, issued, now)
    await drop_waiting(connection, keys)
    return len(issues)
