"""One transaction: inputs in, documents drawn up, and those that are complete issued.

The order of the steps is the order of the locks: contracts first, the series' row last and short.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from invoicer import repository
from invoicer.adjusting import adjust, find_dependents
from invoicer.ahead_rows import find_sequential, find_settling, in_waves
from invoicer.assembly import Assembly, DocumentKey
from invoicer.drawing import draw
from invoicer.inputs import AHEAD, InputKey
from invoicer.ledger import book_issued
from invoicer.numbering import Ready, issue_order, number_documents, ready, take_numbers
from invoicer.repository import Issuer, Routed, Standing
from invoicer.reviewing import hold
from invoicer.settling import set_off_issued
from invoicer.waiting import add_waiting, drop_stranded, drop_waiting, split_waiting
from runtime.clock import Clock
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.document import DocumentState
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
        # What would be billed ahead on an issued document is left to the one that settles it.
        cut = {ref for key, ref in fresh if key.trigger not in AHEAD}
        changed = [key for key in touched if key not in drawn and key.document_ref in cut]
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


async def draw_again(
    connection: Connection, issuer: Issuer, documents: Sequence[DocumentKey], clock: Clock
) -> Outcome:
    """Draw up drafts of one issuer by what holds now, and issue those that are complete."""
    async with connection.transaction():
        await repository.lock_contracts(connection, documents)
        standing = await repository.load_standing(connection, documents)
        drafts = [
            key
            for key in documents
            if (known := standing.get(key.document_ref)) and known.state is DocumentState.DRAFT
        ]
        batch = Batch(connection, issuer, clock)
        await batch.run(drafts, [], standing)
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
        own, waiting = await split_waiting(connection, issuer, changed, drawn)
        known = set(drawn)
        more = [
            k for k in await add_waiting(connection, issuer.tenant_id, waiting) if k not in known
        ]
        if more:
            standing = {**standing, **await repository.load_standing(connection, more)}
        assemblies = await self._draw_in_turn([*drawn, *more], standing)
        adjustments = await adjust(connection, issuer, own, self._clock)
        await self.issue(adjustments, {})
        # What was corrected may be looked back at, by documents that nothing looks back at.
        dependents = await find_dependents(connection, [*assemblies, *adjustments])
        own, waiting = await split_waiting(connection, issuer, dependents)
        await add_waiting(connection, issuer.tenant_id, waiting)
        await self.issue(await adjust(connection, issuer, own, self._clock), {})

    async def _draw_in_turn(
        self, documents: Sequence[DocumentKey], standing: Mapping[UUID, Standing]
    ) -> list[Assembly]:
        """Draw up documents and issue them: one after the other where a contract bills ahead.

        What waited for what these bill ahead comes with them.
        """
        if not documents:
            return []
        connection = self._connection
        sequential = await find_sequential(connection, documents)
        found: list[Assembly] = []
        done: set[DocumentKey] = set()
        waves = in_waves(documents, sequential)
        while waves:
            wave = [key for key in waves.pop(0) if key not in done]
            if not wave:
                continue
            done.update(wave)
            assemblies = await draw(connection, self._issuer, wave, standing)
            await self.issue(assemblies, standing)
            found += assemblies
            ahead = [a.key for a in assemblies if a.ahead is not None and a.is_complete]
            planned = {key for other in waves for key in other}
            for key in await find_settling(connection, ahead) if ahead else ():
                if key not in done and key not in planned:
                    standing = {**standing, **await repository.load_standing(connection, [key])}
                    waves.append([key])
        return found

    async def issue(
        self, assemblies: Sequence[Assembly], standing: Mapping[UUID, Standing]
    ) -> None:
        """Issue what is complete, series by series: these are by year at the most."""
        now = self._clock()
        assemblies = [one if _has_come(one, now) else _put_off(one) for one in assemblies]
        self.drafted += len(assemblies)
        for _series, own in groupby(sorted(assemblies, key=_in_series), key=_in_series):
            arguments = (list(own), standing, self._clock)
            self.issued += await _issue(self._connection, self._issuer, *arguments)


def _has_come(assembly: Assembly, now: datetime) -> bool:
    return assembly.not_before is None or assembly.not_before <= now


def _put_off(assembly: Assembly) -> Assembly:
    """Keep a document as a draft before its day; a scan comes back to it."""
    return replace(assembly, is_complete=False)


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
        if key.trigger in AHEAD:
            continue
        document = standing.get(ref)
        if document is None or document.state in REDRAWN:
            continue
        if key.period_ref not in document.cuts:
            detail = f"document {ref} is {document.state} without period {key.period_ref}"
            raise Conflict("document_issued", detail)


def _is_drawn(standing: Standing | None) -> bool:
    return standing is None or standing.state in REDRAWN


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
