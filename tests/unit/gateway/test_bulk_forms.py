"""An event means the same in every form, and what is wrong is said where it is."""

import csv
import io
import json
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.bulk_forms import CLOUDEVENT, CLOUDEVENTS, split
from gateway.ingest.parsing import EVENTS_MAX, ParsedEvent, parse_event
from schemas.errors import InvalidInput

CUSTOMER = "00000000-0000-4000-8000-000000000001"
METER = "00000000-0000-4000-8000-000000000002"
GOOD = {
    "timestamp": "2024-02-05T12:00:00Z",
    "customer_ref": CUSTOMER,
    "usage_product_ref": METER,
    "quantity": "10.50",
}
NDJSON, CSV = "application/x-ndjson", "text/csv"


def parsed(body: bytes, media_type: str = "") -> list[ParsedEvent | list[tuple[str, str]]]:
    """The events of a body, each as it is read or as what is wrong with it."""
    elements = split(body, media_type)
    found: list[ParsedEvent | list[tuple[str, str]]] = []
    for element in elements.events:
        try:
            if isinstance(element, InvalidInput):
                raise element
            found.append(parse_event(element))
        except InvalidInput as error:
            found.append([(problem.pointer, problem.code) for problem in error.problems])
    return found


def refusal(body: bytes, media_type: str = "") -> str:
    with pytest.raises(InvalidInput) as caught:
        parsed(body, media_type)
    return caught.value.code


def csv_of(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def cloudevent(**fields: object) -> dict[str, object]:
    data = {name: value for name, value in GOOD.items() if name != "timestamp"}
    good: dict[str, object] = {
        "specversion": "1.0",
        "id": "7",
        "source": "/gateways/eu",
        "type": "call",
        "time": "2024-02-05T12:00:00Z",
        "data": data,
    }
    return {name: value for name, value in (good | fields).items() if value is not None}


OTHERS: tuple[Literal["C"]] = ("C",)
names = st.text(st.characters(codec="utf-8", exclude_categories=OTHERS), min_size=1, max_size=8)
cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
keys = st.text("ab\",;' \u00e9", min_size=1, max_size=9)


@given(st.lists(st.tuples(cells, keys), min_size=1, max_size=5))
def test_an_event_is_the_same_in_every_form(made: list[tuple[str, str]]) -> None:
    events = [
        {**GOOD, "idempotency_key": key, "additional_report_data": {"note": note}}
        for note, key in made
    ]
    array = parsed(json.dumps(events).encode())
    lines = "\r\n\n".join(json.dumps(event) for event in events).encode()
    rows = [
        {**GOOD, "idempotency_key": key, "additional_report_data.note": note} for note, key in made
    ]
    assert parsed(lines, NDJSON) == array
    separate = parsed(csv_of(rows), CSV)
    for event, other in zip(array, separate, strict=True):
        assert isinstance(event, ParsedEvent)
        assert isinstance(other, ParsedEvent)
        assert json.loads(event.additional_data or "") == json.loads(other.additional_data or "")
        event.additional_data = other.additional_data
    assert separate == array


def test_a_csv_may_hold_json_and_leave_cells_empty() -> None:
    rows = [
        {**GOOD, "additional_report_data": '{"a": 1.50}', "idempotency_key": ""},
        {**GOOD, "additional_report_data": "", "idempotency_key": "k"},
        {**GOOD, "additional_report_data": "text", "idempotency_key": "k"},
        {**GOOD, "quantity": "", "additional_report_data": "", "idempotency_key": "k"},
    ]
    first, second, *bad = parsed(b"\xef\xbb\xbf" + csv_of(rows), CSV)
    assert isinstance(first, ParsedEvent)
    assert isinstance(second, ParsedEvent)
    assert (first.additional_data, first.idempotency_key) == ('{"a": 1.50}', None)
    assert (second.additional_data, second.idempotency_key) == (None, "k")
    assert bad == [[("/additional_report_data", "type_object")], [("/quantity", "required")]]


def test_a_row_with_other_cells_than_the_header_sinks_no_other() -> None:
    head, row, _ = csv_of([GOOD]).split(b"\r\n")
    found = parsed(b"\n".join([head, row, row + b",x", b"x", b"", row]), CSV)
    assert [isinstance(event, ParsedEvent) for event in found] == [True, False, False, True]
    assert found[1:3] == [[("", "row_malformed")]] * 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "media_type_unsupported"),
        (b"\xff,a\n", "body_malformed"),
        (b"timestamp,nobody\n", "unknown_field"),
        (b"timestamp,timestamp\n", "json_duplicate_key"),
        (b"validations,validations.currency\n", "json_duplicate_key"),
        (b'timestamp\n"2024', "body_malformed"),
        (b'timestamp\n"a"b\n', "body_malformed"),
        (b"timestamp\n" + b"x" * 140_000, "body_malformed"),
        (b"quantity\n" + b"1\n" * (EVENTS_MAX + 1), "too_many_events"),
    ],
)
def test_a_csv_that_is_wrong_as_a_whole_is_refused(body: bytes, code: str) -> None:
    assert refusal(body, CSV if body else "") == code


def test_ndjson_is_bounded_and_a_bad_line_sinks_no_other() -> None:
    good = json.dumps(GOOD).encode()
    found = parsed(b"\n".join([good, b"{", b" ", b"7", good + good, good]), NDJSON)
    assert [isinstance(event, ParsedEvent) for event in found] == [True, False, False, False, True]
    assert refusal(b"{}\n" * (EVENTS_MAX + 1)) == "too_many_events"
    assert refusal(b"hello", NDJSON) == "media_type_unsupported"


def test_a_cloudevent_brings_key_and_time_with_its_attributes() -> None:
    for body, media_type in [
        (json.dumps(cloudevent(traceparent="00-1")).encode(), CLOUDEVENT),
        (json.dumps([cloudevent(datacontenttype="application/json")]).encode(), CLOUDEVENTS),
    ]:
        (event,) = parsed(body, media_type)
        assert isinstance(event, ParsedEvent)
        assert event.idempotency_key == "/gateways/eu\x1f7"
        assert (event.timestamp, event.quantity_json) == (GOOD["timestamp"], '"10.50"')
    (event,) = parsed(
        json.dumps(cloudevent(data=GOOD | {"timestamp": "2024-02-06T00:00:00Z"})).encode(),
        CLOUDEVENT,
    )
    assert isinstance(event, ParsedEvent)
    assert event.timestamp == "2024-02-06T00:00:00Z", "data counts before time"
    nameless = {"usage_product_ref": METER, "quantity": 1}
    (event,) = parsed(json.dumps(cloudevent(data=nameless, subject=CUSTOMER)).encode(), CLOUDEVENT)
    assert isinstance(event, ParsedEvent)
    assert event.customer_ref == CUSTOMER


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"specversion": "0.3"}, ("/specversion", "cloudevent_version")),
        ({"id": ""}, ("/id", "cloudevent_malformed")),
        ({"source": "a\x1fb"}, ("/source", "cloudevent_malformed")),
        ({"id": None}, ("", "cloudevent_malformed")),
        ({"id": "7" * 300}, ("/idempotency_key", "key_length")),
        ({"datacontenttype": "text/xml"}, ("/datacontenttype", "media_type_unsupported")),
        ({"data": "text"}, ("/data", "type_object")),
        ({"data": None}, ("/data", "type_object")),
        ({"data": {"idempotency_key": "k"}}, ("/data/idempotency_key", "unknown_field")),
        ({"data": GOOD | {"x": 1}}, ("/x", "unknown_field")),
        ({"subject": "someone", "data": {"quantity": 1}}, ("/customer_ref", "ref_malformed")),
    ],
)
def test_a_cloudevent_that_is_none_is_refused(
    fields: dict[str, object], found: tuple[str, str]
) -> None:
    batch = json.dumps([cloudevent(**fields), cloudevent()]).encode()
    bad, good = parsed(batch, CLOUDEVENTS)
    assert isinstance(bad, list)
    assert found in bad
    assert isinstance(good, ParsedEvent)


def test_duplicate_keys_anywhere_in_a_cloudevent_are_refused() -> None:
    body = json.dumps(cloudevent()).replace('"quantity"', '"quantity": 1, "quantity"').encode()
    assert parsed(body, CLOUDEVENT) == [[("", "json_duplicate_key")]]


@given(
    st.binary(max_size=200) | st.text('{}[]",:\n0a').map(str.encode),
    st.sampled_from(["", NDJSON, CSV, CLOUDEVENT, CLOUDEVENTS]),
)
def test_whatever_comes_is_read_or_refused(body: bytes, media_type: str) -> None:
    with suppress(InvalidInput):
        for event in parsed(body, media_type):
            assert isinstance(event, ParsedEvent) or event
