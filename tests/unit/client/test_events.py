"""Events become bytes once, exactly, each with a key."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from meterline_client import EncodedEvent, Limits, encode_event


def test_numbers_and_times_keep_every_digit() -> None:
    event = {
        "timestamp": datetime(2026, 11, 1, 12, 0, 0, 250_001, tzinfo=UTC),
        "quantity": Decimal("12345678901234567890.123456789012345678"),
        "idempotency_key": "k",
    }
    assert json.loads(encode_event(event).body) == {
        "timestamp": "2026-11-01T12:00:00.250001Z",
        "quantity": "12345678901234567890.123456789012345678",
        "idempotency_key": "k",
    }


def test_a_key_is_made_for_an_event_without_one_and_the_callers_event_is_left_alone() -> None:
    event = {"quantity": 1, "idempotency_key": None}
    first, second = encode_event(event), encode_event(event)
    assert first.key != second.key
    assert event["idempotency_key"] is None
    assert encode_event(first) is first, "made once"


@pytest.mark.parametrize(
    "event",
    [{"quantity": 0.1}, {"quantity": object()}, {"idempotency_key": 7}],
    ids=["a float", "an object", "a number as a key"],
)
def test_what_json_can_not_hold_exactly_is_refused(event: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        encode_event(event)


def test_an_encoded_event_says_what_it_is() -> None:
    made = encode_event({"quantity": 3, "idempotency_key": "order-7"})
    assert made == EncodedEvent("order-7", b'{"quantity":3,"idempotency_key":"order-7"}')


def test_limits_have_sane_defaults() -> None:
    assert Limits().batch_events <= Limits().queue_events
