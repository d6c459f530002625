"""What people have done with documents, as it is shown with them."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from runtime.postgres import Connection, Queries

queries: Final = Queries.beside(__file__, "document_requests.sql")

NO_MARKS: Final[dict[str, Any]] = {
    "review": None,
    "voided": None,
    "credited_by": [],
    "credited_lines": [],
    "payments": [],
    "amount_due": None,
    "overpaid": None,
    "hosted_url": None,
}


async def load_marks(
    connection: Connection, tenant_id: int, places: Sequence[int], refs: Sequence[UUID]
) -> dict[UUID, dict[str, Any]]:
    """Return the marks of documents, by their refs; those without any are left out."""
    marks: dict[UUID, dict[str, Any]] = {}
    for row in await connection.fetch(queries.list_marks, tenant_id, places, refs):
        own = marks.setdefault(row["document_ref"], dict(NO_MARKS))
        own[row["mark"]] = msgspec.Raw(row["said"].encode())
    return marks
