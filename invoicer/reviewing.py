"""Documents that are held until a person approves them.

Whether those of periods are is chosen by their contract, else their entity (`review`), else their
tenant (`review_documents`). One that is held has no number, and goes on following its inputs: usage
that comes late draws it anew, which is counted. What corrects an issued document, and documents of
single events, are never held: what is drawn up behind them takes them for billed.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from invoicer.assembly import Assembly
from invoicer.repository import Standing, document_columns, queries
from runtime.clock import Clock
from runtime.postgres import Connection
from schemas.document import DocumentKind, DocumentState
from schemas.lifecycle import Cause, check_transition


async def hold(
    connection: Connection,
    tenant_id: int,
    assemblies: Sequence[Assembly],
    standing: Mapping[UUID, Standing],
    clock: Clock,
) -> list[Assembly]:
    """Hold the complete drafts that a person has to see first; return those to be issued now."""
    states = [_state(one, standing) for one in assemblies]
    under_review = DocumentState.UNDER_REVIEW
    held = [one for one, state in zip(assemblies, states, strict=True) if state is under_review]
    complete = [
        one
        for one, state in zip(assemblies, states, strict=True)
        if one.is_complete and state is not under_review
    ]
    if held:
        keys = document_columns([one.key for one in held])
        await connection.execute(queries.note_redrawn, *keys, clock())
    periods = [one for one in complete if one.kind is DocumentKind.PERIOD]
    keys = document_columns([one.key for one in periods])
    rows = await connection.fetch(queries.find_reviewed, *keys) if periods else []
    reviewed = {row["document_ref"] for row in rows}
    if reviewed:
        waiting = [one for one in periods if one.key.document_ref in reviewed]
        for one in waiting:
            check_transition(_state(one, standing), DocumentState.UNDER_REVIEW, Cause.INVOICER)
        keys = document_columns([one.key for one in waiting])
        await connection.execute(queries.hold_documents, *keys)
        await connection.execute(queries.note_held, tenant_id, *keys, clock())
        complete = [one for one in complete if one.key.document_ref not in reviewed]
    for one in complete:
        check_transition(_state(one, standing), DocumentState.ISSUED, Cause.INVOICER)
    return complete


def _state(assembly: Assembly, standing: Mapping[UUID, Standing]) -> DocumentState:
    known = standing.get(assembly.key.document_ref)
    return DocumentState.DRAFT if known is None else known.state
