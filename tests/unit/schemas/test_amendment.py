"""What is an amendment of an event and what is not; its record, and the published schema of it."""

import json
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.amendment import (
    MADE_BY_LENGTH_MAX,
    NOTE_LENGTH_MAX,
    Amendment,
    AmendmentKind,
    decode_amendment,
    encode_amendment,
    kind_of,
)
from schemas.errors import InvalidUsageEvent
from schemas.money import ONE, Quantity
from schemas.published import usage_events_schema
from schemas.usage_event import RECORD_BYTES_MAX

TENANT = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"
EVENT = "12112345-6789-8abc-8def-0123456789ab"
NOON = 1_707_134_400_000_000  # 2024-02-05T12:00:00Z

is_valid = jsonschema.Draft202012Validator(usage_events_schema()).is_valid


def fields_of(kind: str, **changes: object) -> dict[str, Any]:
    """A good amendment; a changed field that is `...` is left out."""
    good: dict[str, object] = {"v": 1, "kind": kind, "customer_ref": CUSTOMER, "event_ref": EVENT}
    if kind == "UPDATE":
        good["quantity"] = "10"
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def read(fields: dict[str, Any]) -> Amendment:
    value = json.dumps(fields).encode()
    kind = kind_of(value)
    assert kind is not None
    return decode_amendment(value, kind)


def refusal(value: bytes, kind: AmendmentKind) -> dict[str, str]:
    with pytest.raises(InvalidUsageEvent) as caught:
        decode_amendment(value, kind)
    return {problem.pointer: problem.code for problem in caught.value.problems}


def test_an_update_is_read_whole() -> None:
    fields = fields_of(
        "UPDATE",
        tenant_ref=TENANT.upper(),
        customer_ref=CUSTOMER.upper(),
        event_ref=EVENT.upper(),
        timestamp="2024-02-05T13:00:00+01:00",
        quantity=-2.5,
        additional_report_data={"b": 1, "a": 2},
        note="read twice\nsorry",
        by="billing@example.com",
    )
    assert read(fields) == Amendment(
        kind="UPDATE",
        tenant_ref=TENANT,
        customer_ref=CUSTOMER,
        event_ref=UUID(EVENT).int,
        occurred_at_micros=NOON,
        quantity=Quantity(-2 * ONE - ONE // 2),
        replaces_data=True,
        additional_data='{"b": 1, "a": 2}',
        note="read twice\nsorry",
        made_by="billing@example.com",
    )


def test_what_an_update_leaves_out_stays() -> None:
    assert read(fields_of("UPDATE")) == Amendment(
        kind="UPDATE",
        tenant_ref=None,
        customer_ref=CUSTOMER,
        event_ref=UUID(EVENT).int,
        quantity=Quantity(10 * ONE),
    )


def test_data_that_is_null_is_emptied_and_not_left_as_it_was() -> None:
    amendment = read(fields_of("UPDATE", quantity=..., additional_report_data=None))
    assert amendment.replaces_data
    assert amendment.additional_data is None


def test_a_delete_names_an_event_and_may_say_why() -> None:
    assert read(fields_of("DELETE", note="never happened", by=None, tenant_ref=None)) == Amendment(
        kind="DELETE",
        tenant_ref=None,
        customer_ref=CUSTOMER,
        event_ref=UUID(EVENT).int,
        note="never happened",
    )


@given(
    timestamp=st.none() | st.just("2024-02-05T12:00:00Z"),
    quantity=st.none() | st.integers().map(lambda n: f'"{n % 10**20}"') | st.just("-0.10"),
    data=st.none() | st.sampled_from(["null", '{"z": 1.50, "a": "\\""}', "{}"]),
    note=st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
def test_what_is_written_is_what_is_read(
    timestamp: str | None, quantity: str | None, data: str | None, note: str | None
) -> None:
    if timestamp is quantity is data:
        timestamp = "2024-02-05T12:00:00Z"
    value = encode_amendment(
        kind="UPDATE",
        tenant_ref=TENANT,
        customer_ref=CUSTOMER,
        event_ref=EVENT,
        timestamp=timestamp,
        quantity=quantity,
        additional_data=data,
        note=note,
        made_by="key-1",
    )
    assert is_valid(json.loads(value))
    assert kind_of(value) == "UPDATE"
    amendment = decode_amendment(value, "UPDATE")
    assert amendment.occurred_at_micros == (None if timestamp is None else NOON)
    assert (amendment.quantity is None) == (quantity is None)
    assert amendment.replaces_data == (data is not None)
    assert amendment.additional_data == (None if data == "null" else data)
    assert (amendment.note, amendment.made_by) == (note, "key-1")


def test_a_delete_that_is_written_is_read() -> None:
    value = encode_amendment(
        kind="DELETE", tenant_ref=TENANT, customer_ref=CUSTOMER, event_ref=EVENT, note="twice"
    )
    assert is_valid(json.loads(value))
    assert decode_amendment(value, "DELETE").note == "twice"


BAD: list[tuple[str, dict[str, object], str, str]] = [
    ("UPDATE", {"quantity": ...}, "", "nothing_to_change"),
    ("UPDATE", {"quantity": None}, "/quantity", "number_malformed"),
    ("UPDATE", {"quantity": "NaN"}, "/quantity", "number_malformed"),
    ("UPDATE", {"timestamp": "2024-02-05T12:00:00"}, "/timestamp", "timestamp_naive"),
    ("UPDATE", {"timestamp": None}, "/timestamp", "type_string"),
    ("UPDATE", {"additional_report_data": []}, "/additional_report_data", "type_object"),
    ("UPDATE", {"additional_report_data": {"a": "\0"}}, "/additional_report_data",
     "null_character"),
    ("UPDATE", {"event_ref": ...}, "/event_ref", "required"),
    ("UPDATE", {"event_ref": "nothing"}, "/event_ref", "ref_malformed"),
    ("UPDATE", {"customer_ref": 7}, "/customer_ref", "type_string"),
    ("UPDATE", {"usage_product_ref": CUSTOMER}, "/usage_product_ref", "unknown_field"),
    ("UPDATE", {"v": 2}, "/v", "version_unknown"),
    ("DELETE", {"quantity": 1}, "/quantity", "unknown_field"),
    ("DELETE", {"note": "n" * (NOTE_LENGTH_MAX + 1)}, "/note", "text_too_long"),
    ("DELETE", {"note": "a\0b"}, "/note", "null_character"),
    ("DELETE", {"by": "b" * (MADE_BY_LENGTH_MAX + 1)}, "/by", "text_too_long"),
    ("DELETE", {"by": 7}, "/by", "type_string"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "pointer", "code"), BAD)
def test_a_bad_amendment_is_refused_by_the_field_that_is_wrong(
    kind: AmendmentKind, changes: dict[str, object], pointer: str, code: str
) -> None:
    assert is_valid(fields_of(kind))
    fields = fields_of(kind, **changes)
    assert refusal(json.dumps(fields).encode(), kind) == {pointer: code}
    # What a type can't say, JSON Schema can't either: a NUL, and the grammar of numbers and times.
    assert not is_valid(fields) or code in {"null_character", "number_malformed", "timestamp_naive"}


def test_every_wrong_field_is_named_at_once() -> None:
    value = json.dumps(fields_of("UPDATE", timestamp="soon", quantity="many", notes=1)).encode()
    assert refusal(value, "UPDATE") == {
        "/timestamp": "timestamp_malformed",
        "/quantity": "number_malformed",
        "/notes": "unknown_field",
    }


@pytest.mark.parametrize(
    "twin", ['"quantity": 1', '"\\u0071uantity": 1', '"note": null, "note": 1']
)
def test_a_key_that_comes_twice_is_refused(twin: str) -> None:
    value = json.dumps(fields_of("UPDATE")).replace('"v": 1', f'"v": 1, {twin}').encode()
    assert set(refusal(value, "UPDATE").values()) == {"json_duplicate_key"}


def test_a_record_has_a_largest_size() -> None:
    value = json.dumps(fields_of("UPDATE", additional_report_data={"a": "x" * RECORD_BYTES_MAX}))
    assert refusal(value.encode(), "UPDATE") == {"": "event_too_large"}


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"null", b'{"kind": 7}', b'{"kind": "USAGE"}', b"[" * 50_000, b"\xff"]
)
def test_what_does_not_say_that_it_is_an_amendment_is_none(value: bytes) -> None:
    assert kind_of(value) is None
