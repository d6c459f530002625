"""What proves credits that people have made."""

from uuid import UUID

from runtime.postgres import Connection, Queries
from schemas.credit_proof import prove_credit
from schemas.proof_figures import Answer

queries = Queries.beside(__file__, "credit_proof.sql")


async def find_credit_proof(
    connection: Connection, tenant_id: int, place: int, document_ref: UUID
) -> Answer | None:
    """Prove a credit that people have made; None for any other document. place: its shard."""
    key = (tenant_id, place, document_ref)
    own = await connection.fetchrow(queries.find_credit, *key)
    if own is None:
        return None
    of = await connection.fetchrow(queries.find_credited, *key)
    before = await connection.fetchrow(queries.sum_taken_before, *key)
    assert of is not None, "it is there as long as what is taken off it"
    assert before is not None, "an aggregate has a row"
    lines = await connection.fetch(queries.list_lines_credited, *key)
    taken = await connection.fetch(queries.list_line_credits, *key)
    return prove_credit(own, of, before, lines, taken)
