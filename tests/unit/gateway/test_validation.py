"""Whether an event may be taken, and what its ref is made of."""

import pytest

from gateway.ingest.parsing import ParsedEvent, parse_event
from gateway.ingest.validation import AcceptedEvent, accept_event
from gateway.tenant import Customer, Meter, Tenant
from schemas.errors import InvalidUsageEvent
from schemas.event_ref import month_of, shard_key, shard_key_of, tenant_bits
from schemas.usage_event import decode_record

TENANT_REF = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"
METER = "00000000-0000-4000-8000-000000000002"
LOG_ID = "00000000-0000-4000-8000-00000000000f"
NOON = 1_707_134_400_000_000
HOUR = 3_600_000_000


def tenant() -> Tenant:
    customer = Customer(shard_key(CUSTOMER), tenant_bits(TENANT_REF), CUSTOMER.encode(), '"A"')
    return Tenant(1, TENANT_REF, {CUSTOMER: customer}, {METER: Meter('"M"')}, version=1)


def parsed(key: str | None = None, at: str = "2024-02-05T12:00:00Z") -> ParsedEvent:
    event = parse_event(
        f'{{"timestamp":"{at}","customer_ref":"{CUSTOMER}","usage_product_ref":"{METER}",'
        f'"quantity":1.50}}'.encode()
    )
    event.idempotency_key = key
    return event


def accept(event: ParsedEvent, now_micros: int = NOON) -> AcceptedEvent:
    return accept_event(event, tenant(), now_micros=now_micros, ahead_max_micros=HOUR)


def test_the_record_says_what_was_sent_and_whose_it_is() -> None:
    stored = decode_record(accept(parsed("k")).record)
    assert (stored.tenant_ref, stored.customer_ref) == (TENANT_REF, CUSTOMER)
    assert (stored.idempotency_key, stored.occurred_at_micros) == ("k", NOON)


def test_a_ref_names_month_and_customer() -> None:
    for key in (None, "k"):
        ref = int(accept(parsed(key)).ref_at(LOG_ID, 3, 918).replace("-", ""), 16)
        assert month_of(ref) == 24 * 12 + 1
        assert shard_key_of(ref) == shard_key(CUSTOMER)


def test_with_a_key_the_place_does_not_matter_and_without_one_it_does() -> None:
    keyed, unkeyed = accept(parsed("k")), accept(parsed())
    assert keyed.ref_at(LOG_ID, 3, 918) == keyed.ref_at(LOG_ID, 4, 7)
    assert unkeyed.ref_at(LOG_ID, 3, 918) != unkeyed.ref_at(LOG_ID, 3, 919)
    assert unkeyed.ref_at(LOG_ID, 3, 918) == unkeyed.ref_at(LOG_ID, 3, 918)
    assert keyed.ref_at(LOG_ID, 3, 918) != accept(parsed("l")).ref_at(LOG_ID, 3, 918)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    event = parsed(at="2025-02-05T12:00:00Z")
    event.customer_ref = METER
    event.usage_product_ref = CUSTOMER
    with pytest.raises(InvalidUsageEvent) as caught:
        accept(event)
    assert [(problem.pointer, problem.code) for problem in caught.value.problems] == [
        ("/timestamp", "timestamp_in_future"),
        ("/customer_ref", "customer_unknown"),
        ("/usage_product_ref", "usage_product_unknown"),
    ]


def test_the_clock_bounds_the_time() -> None:
    accept(parsed(), NOON - HOUR)
    with pytest.raises(InvalidUsageEvent) as caught:
        accept(parsed(), NOON - HOUR - 1)
    assert caught.value.code == "timestamp_in_future"
