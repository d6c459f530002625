"""Records as they lie in logs since the first version: each is read as it was read then.

A log is kept for ever, and the books are proved from its first record on. So a line of the file is
never changed; what a new version writes is added behind.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from invoicer.inputs import decode_message
from schemas.amendment import decode_amendment, kind_of
from schemas.event_ref import (
    key_digest,
    keyed_event_ref,
    month_index,
    partition_of,
    place_digest,
    ref_text,
    shard_key,
    tenant_bits,
)
from schemas.usage_event import UsageEvent, decode_record

LINES = Path(__file__).with_name("recorded_logs.jsonl").read_text().splitlines()
LOG_ID, PARTITION, OFFSET = "4be10000-0000-4000-8000-00000000a001", 3, 4711


def read(line: dict[str, Any]) -> dict[str, Any]:
    """Read a record as the services do: what it says, and where it belongs."""
    value = line["value"].encode()
    if line["topic"] == "billing.periods.v1":
        return {"message": msgspec.to_builtins(decode_message(value)._asdict())}
    kind = kind_of(value)
    if kind is not None:
        amendment = msgspec.to_builtins(decode_amendment(value, kind))
        return {"amendment": amendment | {"event_ref": ref_text(amendment["event_ref"])}}
    event = decode_record(value)
    place = shard_key(event.customer_ref)
    return {
        "event": msgspec.to_builtins(event),
        "event_ref": event_ref(event, place),
        "partition_of_8": partition_of(place, 8),
    }


def event_ref(event: UsageEvent, place: int) -> str:
    assert event.tenant_ref is not None
    names = (event.tenant_ref, event.customer_ref)
    key = event.idempotency_key
    digest = place_digest(LOG_ID, PARTITION, OFFSET) if key is None else key_digest(*names, key)
    month = month_index(event.occurred_at_micros)
    return ref_text(keyed_event_ref(month, place, tenant_bits(event.tenant_ref), digest))


@pytest.mark.parametrize("text", LINES, ids=range(1, len(LINES) + 1))
def test_a_record_of_old_says_what_it_said(text: str) -> None:
    line = json.loads(text)
    assert read(line) == line["reads_as"]


def test_every_kind_of_record_is_among_them() -> None:
    kinds = {key for text in LINES for key in json.loads(text)["reads_as"]}
    assert {"event", "amendment", "message"} <= kinds
