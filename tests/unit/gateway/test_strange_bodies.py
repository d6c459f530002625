"""Whatever a body holds, reading it ends in an event that the rater takes, or in a refusal."""

import random

import pytest

from gateway.ingest.bulk_forms import split
from gateway.ingest.compression import decompress
from gateway.ingest.parsing import EVENTS_BODY_BYTES_MAX, ParsedEvent, parse_event, parse_single
from schemas.errors import InvalidInput
from schemas.usage_event import decode_record, encode_record
from tests.strange_requests import SINGLE, StrangeRequest, strange_request

TENANT_REF = "0b0e0000-0000-4000-8000-000000000001"
GOOD: dict[str, object] = {
    "timestamp": "2024-02-05T12:00:00Z",
    "customer_ref": "00000000-0000-4000-8000-000000000001",
    "usage_product_ref": "00000000-0000-4000-8000-000000000002",
    "quantity": 10,
}


async def events_of(request: StrangeRequest) -> list[ParsedEvent]:
    """Read a request as the routes do; only the events that are taken."""
    coding = request.headers.get("Content-Encoding", "identity")
    body = await decompress(request.body, coding, EVENTS_BODY_BYTES_MAX)
    if request.path == SINGLE:
        return [parse_single(body, is_strict=False)[0]]
    found = []
    media_type = request.headers["Content-Type"].partition(";")[0]
    for element in split(body, media_type).events:
        try:
            if not isinstance(element, InvalidInput):
                found.append(parse_event(element))
        except InvalidInput:
            continue
    return found


def check(event: ParsedEvent) -> None:
    """Compare an event with what the rater reads of its record."""
    stored = decode_record(
        encode_record(
            tenant_ref=TENANT_REF,
            customer_ref=event.customer_ref,
            usage_product_ref=event.usage_product_ref,
            timestamp=event.timestamp,
            quantity=event.quantity_json,
            additional_data=event.additional_data,
            idempotency_key=event.idempotency_key,
        )
    )
    assert (stored.quantity, stored.occurred_at_micros, stored.idempotency_key) == (
        event.quantity,
        event.occurred_at_micros,
        event.idempotency_key,
    )
    assert stored.additional_data == event.additional_data


async def run(count: int) -> None:
    taken = refused = 0
    for seed in range(count):
        request = strange_request(random.Random(seed), GOOD)
        try:
            events = await events_of(request)
        except InvalidInput:
            refused += 1
            continue
        for event in events:
            if event.customer_ref and event.usage_product_ref:
                check(event)
                taken += 1
    assert min(taken, refused) > count / 10, (taken, refused)


async def test_two_thousand_strange_bodies_are_read_or_refused() -> None:
    await run(2_000)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_a_hundred_thousand_strange_bodies_are_read_or_refused() -> None:
    await run(100_000)
