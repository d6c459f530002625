"""The published schemas: those in the repository are those of the code, and true of records."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.published import FOLDER, published
from rater.arrivals import DeadLetter
from rater.dead_letters import message
from schemas.errors import InvalidUsageEvent
from schemas.published import usage_events_schema
from schemas.topics import TOPIC_SETTINGS
from schemas.usage_event import decode_record, encode_record

GOOD = {
    "v": 1,
    "kind": "USAGE",
    "timestamp": "2026-10-15T12:00:00Z",
    "customer_ref": "00000000-0000-4000-8000-000000000001",
    "usage_product_ref": "00000000-0000-4000-8000-000000000002",
    "quantity": "12.5",
}
REFUSED: list[Mapping[str, Any]] = [
    {"v": 2},
    {"kind": "PURCHASE"},
    {"customer_ref": "nobody"},
    {"usage_product_ref": None},
    {"quantity": None},
    {"quantity": True},
    {"timestamp": 1_700_000_000},
    {"idempotency_key": ""},
    {"idempotency_key": "k" * 256},
    {"additional_report_data": []},
    {"surplus": 1},
]


def is_valid(record: object) -> bool:
    validator = jsonschema.Draft202012Validator(usage_events_schema())
    return bool(validator.is_valid(record))


def test_the_files_are_what_the_types_say() -> None:
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert files == published(), "run `make schemas`"
    assert set(files) == {f"{topic}.schema.json" for topic in TOPIC_SETTINGS}


def test_each_is_a_json_schema() -> None:
    for content in published().values():
        jsonschema.Draft202012Validator.check_schema(json.loads(content))


@pytest.mark.parametrize("change", REFUSED, ids=str)
def test_what_the_schema_refuses_the_rater_refuses_too(change: Mapping[str, Any]) -> None:
    record = {**GOOD, **change}
    assert is_valid(GOOD)
    assert not is_valid(record)
    with pytest.raises(InvalidUsageEvent):
        decode_record(json.dumps(record).encode())


@given(st.sampled_from(sorted(GOOD)))
def test_every_required_field_is_required_by_both(name: str) -> None:
    record = {field: value for field, value in GOOD.items() if field != name}
    assert not is_valid(record)
    with pytest.raises(InvalidUsageEvent):
        decode_record(json.dumps(record).encode())


def test_what_the_gateway_writes_is_valid() -> None:
    record = encode_record(
        tenant_ref=GOOD["customer_ref"],  # type: ignore[arg-type]
        customer_ref=GOOD["customer_ref"],  # type: ignore[arg-type]
        usage_product_ref=GOOD["usage_product_ref"],  # type: ignore[arg-type]
        timestamp="2026-10-15T12:00:00+02:00",
        quantity="-0.25",
        additional_data='{"region":"eu"}',
        idempotency_key="order-4711",
    )
    assert is_valid(json.loads(record))


def test_what_is_told_of_a_dead_letter_is_valid() -> None:
    letter = DeadLetter(7, 0, "INVALID_JSON", "must be JSON", b"k", b"\xff")
    schema = json.loads(published()["usage.events.dead.v1.schema.json"])
    jsonschema.Draft202012Validator(schema).validate(json.loads(message(3, letter)))
