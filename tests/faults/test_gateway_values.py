"""Values made to slip through: each is refused by its name, counted by it, and never recorded."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.faults.gateway_sites import gateway_of, tenant_of
from tests.integration.lane.conftest import LaneSite

#: What is wrong: where, the value as it stands in the JSON, and the reason that is counted.
VALUES = {
    "deep nesting": ("additional_report_data", '{"a":' * 17 + "1" + "}" * 17, "data_too_deep"),
    "no end of brackets": ("additional_report_data", "[" * 40_000, "json_too_deep"),
    "a key that comes twice": ("additional_report_data", '{"a":1,"a":2}', "json_duplicate_key"),
    "not a number": ("quantity", '"NaN"', "number_malformed"),
    "infinity": ("quantity", '"-Infinity"', "number_malformed"),
    "too many digits": ("quantity", "1" * 40, "number_too_large"),
    "too large an exponent": ("quantity", "1e400", "number_too_large"),
    "too many decimals": ("quantity", "1e-19", "number_too_precise"),
    "a digit of another script": ("quantity", '"\u0661"', "number_malformed"),
    "U+0000": ("idempotency_key", '"a\\u0000b"', "key_not_printable"),
    "a direction override": ("idempotency_key", '"a\\u202eb"', "key_not_printable"),
    "decomposed letters": ("idempotency_key", '"e\u0301"', "key_not_nfc"),
    "a key that is too long": ("idempotency_key", f'"{"k" * 256}"', "key_length"),
    "no zone": ("timestamp", '"2024-02-05T12:00:00"', "timestamp_naive"),
    "a leap second": ("timestamp", '"2024-06-30T23:59:60Z"', "timestamp_malformed"),
    "the year 1": ("timestamp", '"0001-01-01T00:00:00Z"', "timestamp_too_old"),
    "the year 9999": ("timestamp", '"9999-12-31T23:59:59Z"', "timestamp_in_future"),
}


@pytest_asyncio.fixture
async def lane(stack_env: dict[str, str], tmp_path: Path) -> AsyncIterator[LaneSite]:
    async with (
        gateway_of(stack_env, tmp_path) as service,
        tenant_of(service, stack_env) as made,
    ):
        yield made


async def test_a_value_made_to_slip_through_is_refused_and_counted(lane: LaneSite) -> None:
    site = lane.site
    wrong = {}
    for name, (field, value, reason) in VALUES.items():
        counter = f'gateway_events_rejected_total{{reason="{reason}"}}'
        before = await lane.metric(counter)
        body = json.dumps(site.event(**{field: "@@"})).replace('"@@"', value).encode()
        status, refusal = await site.post("/api/usage/event", body)
        if status not in (400, 422) or await lane.metric(counter) != before + 1:
            wrong[name] = (status, refusal.get("errors", refusal))
    assert wrong == {}
    assert await site.log_size() == 0
