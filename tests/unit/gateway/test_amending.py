"""The body of an update: what is taken and what is left alone; nothing strange gets through."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.amending import Change, parse_update
from schemas.amendment import CHANGEABLE, decode_amendment, encode_amendment
from schemas.errors import InvalidInput, NotFound

REF = "14112345-6789-8abc-8def-0123456789ab"
TENANT = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"


def body(**fields: object) -> bytes:
    return json.dumps({"event_ref": REF} | fields).encode()


def change_of(sent: bytes) -> Change:
    ref, change, warnings = parse_update(sent, is_strict=True)
    assert str(ref) == REF
    assert warnings == []
    return change


def test_what_is_sent_stays_as_it_is_written() -> None:
    sent = (
        b'{"event_ref":"%s","quantity":12.500,"timestamp":"2024-02-05t09:00:00z",'
        b'"additional_report_data":{"z":1.10,"a":"\\u00fc"},"note":"read again"}'
    )
    assert change_of(sent % REF.upper().encode()) == Change(
        timestamp="2024-02-05t09:00:00z",
        quantity="12.500",
        additional_data='{"z":1.10,"a":"\\u00fc"}',
        note="read again",
    )


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_is_left_out_null_or_empty_stays(nothing: object) -> None:
    fields = dict.fromkeys((*CHANGEABLE, "note"), nothing)
    assert change_of(body(**(fields | {"quantity": "3"}))) == Change(quantity='"3"')
    with pytest.raises(InvalidInput) as refused:
        parse_update(body(**fields), is_strict=False)
    assert [problem.pointer for problem in refused.value.problems] == [f"/{n}" for n in CHANGEABLE]


def test_an_object_may_come_as_text_and_a_body_as_a_form() -> None:
    assert change_of(body(additional_report_data='{"a": 1}')).additional_data == '{"a": 1}'
    form = f"event_ref={REF}&quantity=30&additional_report_data[note]=x".encode()
    assert change_of(form) == Change(quantity='"30"', additional_data='{"note":"x"}')


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_update(body(timestamp=1, quantity="1e99", note=7, x=1), is_strict=False)
    pointers = {problem.pointer for problem in refused.value.problems}
    assert pointers == {"/timestamp", "/quantity", "/note"}
    for twice in (b'{"quantity":1,"quantity":2}', b'{"event_ref":"a","event_ref":"b"}'):
        with pytest.raises(InvalidInput):
            parse_update(twice, is_strict=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from([*CHANGEABLE, "note", "event_ref", "x"]), JSON)


@given(FIELDS)
def test_what_is_taken_is_what_the_rater_reads(fields: dict[str, Any]) -> None:
    with suppress(InvalidInput, NotFound):
        _, change, _ = parse_update(body(**fields), is_strict=False)
        record = encode_amendment(
            kind="UPDATE",
            tenant_ref=TENANT,
            customer_ref=CUSTOMER,
            event_ref=REF,
            timestamp=change.timestamp,
            quantity=change.quantity,
            additional_data=change.additional_data,
            note=change.note,
            made_by="key",
        )
        read = decode_amendment(record, "UPDATE")
        assert read.replaces_data == (change.additional_data is not None)
        if read.replaces_data:
            sent = fields["additional_report_data"]
            sent = json.loads(sent) if isinstance(sent, str) else sent
            assert msgspec.json.decode(read.additional_data or "null") == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(sent: bytes) -> None:
    with suppress(InvalidInput, NotFound):
        parse_update(sent, is_strict=False)
