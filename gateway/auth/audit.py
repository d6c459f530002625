"""The audit log: who did what, from where, and what it was before and after.

An entry is written in the transaction of what it tells, as its last statement: from there to the
commit the tenant's other changes wait. The database chains the entries by their hashes.
"""

from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.auth.sql import queries
from runtime.clock import system_clock
from runtime.postgres import Connection

INSTALLATION: Final = 0
"""The tenant of entries about what tenants share."""

PART_BYTES_MAX: Final = 64 * 1024
"""What is larger before or after is told by its digest."""

_encode: Final = msgspec.json.Encoder(enc_hook=str, order="deterministic").encode


class Who(msgspec.Struct, frozen=True):
    """Who asks for a change. actor: `key <ref>` or `admin <ref>`."""

    actor: str
    address: str = ""
    request_id: str = ""


async def record(
    connection: Connection,
    tenant_id: int,
    who: Who,
    action: str,
    subject: object,
    *,
    before: Any = None,  # noqa: ANN401 - whatever JSON can say
    after: Any = None,  # noqa: ANN401
) -> None:
    """Add an entry to the tenant's chain.

    action: what was done, as `noun.verbed`. subject: the ref of what it was done to.
    before, after: what is worth knowing of it, never a secret.
    """
    entry = {
        "at": system_clock(),
        "actor": who.actor,
        "action": action,
        "subject": str(subject),
        "before": _bounded(before),
        "after": _bounded(after),
        "address": who.address,
        "request_id": who.request_id,
    }
    await connection.execute(queries.add_audit_entry, tenant_id, _encode(entry).decode())


def _bounded(part: object) -> msgspec.Raw:
    """Write a part of an entry; a picture inside would fill the log."""
    text = _encode(part)
    if len(text) > PART_BYTES_MAX:
        text = _encode({"sha256": sha256(text).hexdigest(), "bytes": len(text)})
    return msgspec.Raw(text)
