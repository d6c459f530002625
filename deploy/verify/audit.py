"""The audit log: no entry was changed, taken out or put in between."""

from hashlib import sha256
from typing import Final

from deploy.verify.check import Check, Finding, Scope
from runtime.postgres import Queries

queries = Queries.beside(__file__, "audit.sql")

_START: Final = (0, bytes(32))


async def check_chains(scope: Scope, finding: Finding) -> None:
    """Hash every tenant's entries again, and compare where they end with what is said of it."""
    ends: dict[int, tuple[int, bytes]] = {}
    async for row in scope.rows(queries.entries, scope.tenant_id):
        finding.counted += 1
        last, before = ends.get(row["tenant_id"], _START)
        number, entry = row["number"], row["entry"].encode()
        expected = sha256(before + number.to_bytes(8, "big") + entry).digest()
        name = f"entry {number} of tenant {row['tenant_id']}"
        if number != last + 1:
            finding.broken(f"{name} follows entry {last}")
        elif row["hash"] != expected:
            finding.broken(f"{name} is not what it was when it was written")
        ends[row["tenant_id"]] = (number, row["hash"])
    said = {
        row["tenant_id"]: (row["number"], row["hash"])
        for row in await scope.connection.fetch(queries.heads, scope.tenant_id)
    }
    for tenant_id in sorted(ends.keys() | said.keys()):
        is_end, is_said = ends.get(tenant_id, _START), said.get(tenant_id, _START)
        if is_end != is_said:
            finding.broken(
                f"the entries of tenant {tenant_id} end with {is_end[0]}, not {is_said[0]}"
            )


CHECKS: Final = (
    Check(
        name="audit",
        sentence="the audit log is whole: each entry is chained to the one before it",
        unit="entries",
        run=check_chains,
    ),
)
