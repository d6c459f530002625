"""Requests become events: strictly, and leniently where the route's clients need it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.parsing import (
    EVENTS_MAX,
    ParsedEvent,
    parse_event,
    parse_single,
    split_array,
)
from schemas.errors import InvalidInput, InvalidUsageEvent
from schemas.money import ONE
from schemas.usage_event import EVENT_BYTES_MAX, decode_record, encode_record

CUSTOMER = "00000000-0000-4000-8000-000000000001"
METER = "00000000-0000-4000-8000-000000000002"
TENANT = "0b0e0000-0000-4000-8000-000000000001"


def body(**fields: object) -> bytes:
    """A good event, with some fields changed."""
    good: dict[str, object] = {
        "timestamp": "2024-02-05T12:00:00Z",
        "customer_ref": CUSTOMER,
        "usage_product_ref": METER,
        "quantity": 10,
    }
    return json.dumps(good | fields).encode()


def lenient(data: bytes) -> tuple[ParsedEvent, list[str]]:
    event, warnings = parse_single(data, is_strict=False)
    return event, [warning.pointer for warning in warnings]


def codes(data: bytes) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        parse_single(data, is_strict=False)
    return {problem.pointer: problem.code for problem in caught.value.problems}


def test_an_event_is_read_with_its_texts_as_sent() -> None:
    data = body(
        quantity="1.50",
        customer_ref=CUSTOMER.upper(),
        additional_report_data={"b": 1.0, "a": "x"},
        validations={"currency": "USD"},
        customer_name="Northwind",
        usage_product_name=None,
        idempotency_key="k",
    )
    assert parse_event(data) == ParsedEvent(
        timestamp="2024-02-05T12:00:00Z",
        occurred_at_micros=1_707_134_400_000_000,
        customer_ref=CUSTOMER,
        usage_product_ref=METER,
        quantity_json='"1.50"',
        quantity=ONE + ONE // 2,  # type: ignore[arg-type]
        additional_data='{"b": 1.0, "a": "x"}',
        validations='{"currency": "USD"}',
        idempotency_key="k",
        customer_name="Northwind",
    )


names = st.sampled_from(["customer_name", "usage_product_name", "idempotency_key"])
data_values = st.dictionaries(st.text("abc", min_size=1), st.text('x"\\') | st.integers())


@given(st.dictionaries(names, st.text('ab"\\', min_size=1)), st.none() | data_values)
def test_what_the_gateway_takes_the_rater_takes(texts: dict[str, str], data: object) -> None:
    event = parse_event(body(additional_report_data=data, **texts))
    record = decode_record(
        encode_record(
            tenant_ref=TENANT,
            customer_ref=event.customer_ref,
            usage_product_ref=event.usage_product_ref,
            timestamp=event.timestamp,
            quantity=event.quantity_json,
            additional_data=event.additional_data,
            idempotency_key=event.idempotency_key,
        )
    )
    assert record.occurred_at_micros == event.occurred_at_micros
    assert record.quantity == event.quantity
    assert record.additional_data == event.additional_data
    assert record.idempotency_key == event.idempotency_key == texts.get("idempotency_key")


@pytest.mark.parametrize(
    "twice",
    [
        '"quantity": 10, "quantity": 11',
        '"quantity": 10, "validations": {"currency": "USD", "currency": "EUR"}',
        '"quantity": 10, "validations": null, "validations": null',
        '"quantity": 10, "customer_name": "a", "customer_name": "a"',
    ],
)
def test_a_key_that_comes_twice_is_refused(twice: str) -> None:
    data = body().replace(b'"quantity": 10', twice.encode())
    assert "json_duplicate_key" in codes(data).values()


def test_unknown_fields_are_warned_of_on_the_lenient_route() -> None:
    event, warnings = lenient(body(quantiy=1, tenant_ref="x"))
    assert event.quantity == 10 * ONE
    assert warnings == ["/quantiy", "/tenant_ref"]


def test_unknown_fields_are_refused_when_that_is_asked_for() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_single(body(quantiy=1), is_strict=True)
    assert caught.value.code == "unknown_field_strict"


def test_an_object_may_come_as_json_text() -> None:
    event, _ = lenient(
        body(additional_report_data='{"b": 1.50}', validations='{"currency": "USD"}')
    )
    assert event.additional_data == '{"b": 1.50}'
    assert event.validations == '{"currency": "USD"}'


@pytest.mark.parametrize("text", ["no json", "[1]", "7", '{"a":1,"a":2}', '{"\\u0000": 1}', "{"])
def test_a_text_that_is_no_good_object_is_refused(text: str) -> None:
    assert codes(body(additional_report_data=text))


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_ref_is_a_missing_one(empty: object) -> None:
    assert codes(body(customer_ref=empty)) == {"/customer_ref": "required"}


def test_a_form_is_an_event_too() -> None:
    form = (
        f"timestamp=2024-02-05T12:00:00%2B01:00&customer_ref={CUSTOMER}&usage_product_ref={METER}"
    )
    event, warnings = lenient(f"{form}&quantity=1e2&additional_report_data[a]=b".encode())
    assert (event.quantity, event.additional_data, warnings) == (100 * ONE, '{"a":"b"}', [])


def test_the_largest_event_is_64_kib() -> None:
    room = EVENT_BYTES_MAX - len(body(additional_report_data={"a": ""}))
    parse_event(body(additional_report_data={"a": "x" * room}))
    with pytest.raises(InvalidUsageEvent) as caught:
        parse_event(body(additional_report_data={"a": "x" * (room + 1)}))
    assert caught.value.code == "event_too_large"


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))  # fmt: skip
def test_no_body_raises_anything_but_a_refusal(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_single(data, is_strict=False)


def test_an_array_is_split_into_its_elements() -> None:
    assert [bytes(element) for element in split_array(b' [1, {"a":  2},[]] ')] == [
        b"1",
        b'{"a":  2}',
        b"[]",
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" * 50_000, "json_too_deep"),
        (b"[1", "json_malformed"),
        (b"{}", "json_malformed"),
        (b"[1]x", "json_malformed"),
        (b"[" + b"1," * EVENTS_MAX + b"1]", "too_many_events"),
    ],
)
def test_what_is_no_array_of_a_sane_length_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        split_array(data)
    assert caught.value.code == code
