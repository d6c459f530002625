"""Dead letters: records that can't be rated, kept as rows, and told to whoever listens."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from rater.arrivals import DeadLetter
from rater.memory import Memory
from rater.repository import queries
from runtime.postgres import Connection
from schemas.event_ref import SHARD_KEY_MASK, murmur2
from schemas.topics import DEAD_EVENTS

VALUE_BYTES_MAX: Final = 512 * 1024
"""The longest value that its message repeats; the row has it whatever its length."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = (
    *("shard_key", "partition", "record_offset", "tenant_id", "reason", "detail"),
    *("record_key", "value", "appended_at", "origin_partition", "origin_offset"),
)


class DeadMessage(msgspec.Struct, frozen=True):
    """One record of `usage.events.dead.v1`: a record of the log that can't be rated, and why.

    partition, offset: its place in the log. value: its bytes in base64, unless they are too long.
    """

    v: Literal[1]
    reason: str
    detail: str
    partition: int
    offset: int
    value: bytes | None


async def add_dead_letters(
    connection: Connection, partition: int, letters: Sequence[DeadLetter], memory: Memory
) -> None:
    """Write the rows and what is published of them, in the transaction that passes them by."""
    if not letters:
        return
    keys = [0 if d.key is None else murmur2(d.key) & SHARD_KEY_MASK for d in letters]
    await connection.copy_records_to_table(
        "dead_letter",
        columns=_COLUMNS,
        records=[
            (
                *(key, partition, letter.offset, _tenant_id(letter, memory)),
                *(letter.reason, letter.detail, letter.key, letter.value),
                _EPOCH + timedelta(milliseconds=letter.appended_at),
                *(letter.origin or (None, None)),
            )
            for key, letter in zip(keys, letters, strict=True)
        ],
    )
    await connection.executemany(
        queries.add_outbox,
        [
            (key, DEAD_EVENTS, letter.key or b"", message(partition, letter))
            for key, letter in zip(keys, letters, strict=True)
        ],
    )


def _tenant_id(letter: DeadLetter, memory: Memory) -> int | None:
    ref = letter.tenant_ref
    tenant = memory.sole_tenant if ref is None else memory.tenants.get(ref)
    return None if tenant is None else tenant.tenant_id


def message(partition: int, letter: DeadLetter) -> bytes:
    """Return what `usage.events.dead.v1` says of a dead letter.

    value: base64; null where the record has none, or one over VALUE_BYTES_MAX.
    """
    value = letter.value
    fits = value is not None and len(value) <= VALUE_BYTES_MAX
    return msgspec.json.encode(
        DeadMessage(
            v=1,
            reason=letter.reason,
            detail=letter.detail,
            partition=partition,
            offset=letter.offset,
            value=value if fits else None,
        )
    )
