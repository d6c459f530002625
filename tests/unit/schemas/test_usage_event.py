"""What is a usage event and what is not, to the last digit; the record and the fingerprint."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput, InvalidUsageEvent
from schemas.money import ONE, Quantity
from schemas.usage_event import (
    EVENT_BYTES_MAX,
    RECORD_BYTES_MAX,
    UsageEvent,
    check_time,
    decode_record,
    encode_record,
    key_json,
    parse_timestamp,
)

TENANT = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"
METER = "00000000-0000-4000-8000-000000000002"
NOON = 1_707_134_400_000_000  # 2024-02-05T12:00:00Z


def record(**fields: object) -> bytes:
    """A good record, with some fields changed; None leaves one out."""
    good: dict[str, object] = {
        "v": 1,
        "kind": "USAGE",
        "tenant_ref": TENANT,
        "timestamp": "2024-02-05T12:00:00Z",
        "customer_ref": CUSTOMER,
        "usage_product_ref": METER,
        "quantity": "10",
    }
    good.update(fields)
    return json.dumps({name: value for name, value in good.items() if value is not None}).encode()


def with_raw(name: str, json_text: str) -> bytes:
    """A good record whose one field is the given JSON text."""
    return record(**{name: "@"}).replace(b'"@"', json_text.encode("utf-8", "surrogatepass"))


def refusal(value: bytes) -> dict[str, str]:
    with pytest.raises(InvalidUsageEvent) as caught:
        decode_record(value)
    return {problem.pointer: problem.code for problem in caught.value.problems}


def test_a_record_is_read_whole() -> None:
    value = record(
        quantity=-2.5,
        customer_ref=CUSTOMER.upper(),
        additional_report_data={"note": "first batch", "region": "eu"},
        idempotency_key="order-1",
    )
    assert decode_record(value) == UsageEvent(
        tenant_ref=TENANT,
        customer_ref=CUSTOMER,
        usage_product_ref=METER,
        occurred_at_micros=NOON,
        quantity=Quantity(-2 * ONE - ONE // 2),
        additional_data='{"note": "first batch", "region": "eu"}',
        idempotency_key="order-1",
    )


def test_a_record_may_leave_out_the_tenant_and_say_null() -> None:
    event = decode_record(
        record(tenant_ref=None).replace(
            b"}", b',"idempotency_key":null,"additional_report_data":null}'
        )
    )
    assert event.tenant_ref is None
    assert event.idempotency_key is None
    assert event.additional_data is None


@given(
    quantity=st.decimals(-(10**19), 10**19, allow_nan=False, allow_infinity=False, places=18),
    data=st.none() | st.dictionaries(
        st.from_regex(r"[a-z\"\\]{1,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
        | st.integers() | st.booleans() | st.none(),
    ),
    key=st.none() | st.from_regex(r"[ -~äß]{1,20}", fullmatch=True),
)  # fmt: skip
def test_what_is_written_is_what_is_read(
    quantity: object, data: dict[str, object] | None, key: str | None
) -> None:
    value = encode_record(
        tenant_ref=TENANT,
        customer_ref=CUSTOMER,
        usage_product_ref=METER,
        timestamp="2024-02-05T12:00:00+00:00",
        quantity=f'"{quantity}"',
        additional_data=None if data is None else json.dumps(data),
        idempotency_key=key,
    )
    event = decode_record(value)
    assert event == decode_record(
        record(quantity=str(quantity), additional_report_data=data, idempotency_key=key)
    )
    assert event.additional_data is None or json.loads(event.additional_data) == data
    assert event.idempotency_key == key
    assert json.loads(value)["customer_ref"] == CUSTOMER


@pytest.mark.parametrize(
    ("text", "scaled"),
    [
        ("10", 10 * ONE),
        ('"10"', 10 * ONE),
        ("0.000000000000000001", 1),
        ("12345678901234567890.123456789", 12345678901234567890123456789 * 10**9),
        ("18446744073709551616", 18446744073709551616 * ONE),
        ("1e2", 100 * ONE),
        ('"1E+2"', 100 * ONE),
        ("-0.0", 0),
        ("-3", -3 * ONE),
        ("99999999999999999999.999999999999999999", 10**38 - 1),
        ('"\\u0031"', ONE),
    ],
)
def test_a_quantity_is_exact(text: str, scaled: int) -> None:
    assert decode_record(with_raw("quantity", text)).quantity == scaled


@pytest.mark.parametrize(
    "text",
    [
        '"NaN"', '"Infinity"', '"-Infinity"', '"sNaN"', '"1_000"', '" 1.5 "', '"\u0661"', '""',
        '"1e999999999"', "1e400", "1e-19", "0.0000000000000000001", "100000000000000000000",
        '"0x10"', '"1,5"', "true", "null", "[]", "{}", '"."', '"1."', '".5"', '"+"', "9" * 5000,
        '"\\u0000"', '"1\\n"',
    ],
)  # fmt: skip
def test_a_strange_quantity_is_refused_by_its_name(text: str) -> None:
    assert set(refusal(with_raw("quantity", text))) == {"/quantity"}


@given(st.floats() | st.text(max_size=30) | st.decimals())
def test_no_quantity_raises_anything_but_a_refusal(value: object) -> None:
    text = json.dumps(str(value) if not isinstance(value, float) else value)
    with suppress(InvalidUsageEvent):
        decode_record(with_raw("quantity", text))


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-6, max_value=1e15))
def test_a_number_never_passes_through_a_float(value: float) -> None:
    text = f"{value:.18f}"
    assert decode_record(with_raw("quantity", text)).quantity == int(text.replace(".", ""))


@pytest.mark.parametrize("bad", [b"NaN", b"Infinity", b"-", b"01", b"1.", b".5", b"+1", b"'1'"])
def test_a_number_that_is_no_json_is_refused(bad: bytes) -> None:
    assert refusal(record(quantity="@").replace(b'"@"', bad)) == {"": "json_malformed"}


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2024-02-05T12:00:00Z", NOON),
        ("2024-02-05t12:00:00z", NOON),
        ("2024-02-05 12:00:00+00:00", NOON),
        ("2024-02-05T17:30:00+05:30", NOON),
        ("2024-02-05T07:00-05", NOON),
        ("2024-W06-1T12:00:00Z", NOON),
        ("2024-02-05T12:00:00.000001Z", NOON + 1),
        ("2024-02-05T12:00:00.123456789Z", NOON + 123_456),
        ("1999-12-31T23:59:59.999999Z", 946_684_799_999_999),
    ],
)
def test_a_time_is_read_as_utc_microseconds(text: str, micros: int) -> None:
    assert parse_timestamp(text) == micros


@given(st.datetimes(timezones=st.timezones()))
def test_every_time_with_an_offset_is_exact(moment: datetime) -> None:
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_timestamp(moment.isoformat()) == expected


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(["seconds", "milliseconds"]))
def test_every_time_of_the_common_form_is_exact(moment: datetime, digits: str) -> None:
    text = moment.isoformat(timespec=digits).replace("+00:00", "Z")
    read = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=parse_timestamp(text))
    assert read == datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2024-02-05T12:00:00", "timestamp_naive"),
        ("2024-02-05T09+02:27Z", "timestamp_malformed"),
        ("2024-02-05T09:02:27.27Z9", "timestamp_malformed"),
        ("2024-02-30T12:00:00.279Z", "timestamp_malformed"),
        ("2024-02-05T12:60:00.279Z", "timestamp_malformed"),
        ("2024-02-05", "timestamp_malformed"),
        ("", "timestamp_malformed"),
        ("now", "timestamp_malformed"),
        ("1707134400", "timestamp_malformed"),
        ("2024-02-30T12:00:00Z", "timestamp_malformed"),
        ("2024-02-05T23:59:60Z", "timestamp_malformed"),
        ("2024-02-05T24:00:00Z", "timestamp_malformed"),
        ("2024-02-05T12:00:00+24:00", "timestamp_malformed"),
        ("20240205T120000Z", "timestamp_malformed"),
        ("2024-02-05x12:00:00Z", "timestamp_malformed"),
        ("\u0662024-02-05T12:00:00Z", "timestamp_malformed"),
        ("2024-02-05T12:00:00Z" + " " * 50, "timestamp_malformed"),
    ],
)
def test_a_time_that_is_no_instant_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_timestamp(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("occurred", "code"),
    [
        (946_684_800_000_000, None),
        (946_684_799_999_999, "timestamp_too_old"),
        (-(10**15), "timestamp_too_old"),
        (NOON, None),
        (NOON + 3_600_000_000, None),
        (NOON + 3_600_000_001, "timestamp_in_future"),
    ],
)
def test_a_time_lies_between_2000_and_an_hour_ahead(occurred: int, code: str | None) -> None:
    if code is None:
        check_time(occurred, NOON)
        return
    with pytest.raises(InvalidUsageEvent) as caught:
        check_time(occurred, NOON)
    assert (caught.value.code, caught.value.pointer) == (code, "/timestamp")


def test_there_may_be_a_later_bound() -> None:
    check_time(NOON, NOON, earliest=NOON)
    with pytest.raises(InvalidUsageEvent, match="earlier usage is not taken any more") as caught:
        check_time(NOON - 1, NOON, earliest=NOON)
    assert (caught.value.code, caught.value.pointer) == ("timestamp_too_old", "/timestamp")


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "key_length"),
        ("k" * 256, "key_length"),
        ("a\tb", "key_not_printable"),
        ("a\0b", "key_not_printable"),
        ("a\u202eb", "key_not_printable"),
        ("e\u0301", "key_not_nfc"),
    ],
)
def test_a_key_that_cannot_be_told_by_sight_is_refused(key: str, code: str) -> None:
    assert refusal(record(idempotency_key=key)) == {"/idempotency_key": code}


def test_a_key_may_be_long_and_in_any_script() -> None:
    key = "\u00e9\u4e2d" * 127 + "x"
    assert decode_record(record(idempotency_key=key)).idempotency_key == key


@pytest.mark.parametrize(
    "text",
    [
        record().decode().replace('"v": 1', '"v": 1, "quantity": 9'),
        record(additional_report_data={"a": 1}).decode().replace('{"a": 1}', '{"a": 1, "a": 2}'),
        record(additional_report_data={"a": 1}).decode().replace('{"a": 1}', '{"a":{"b":1,"b":1}}'),
        record(additional_report_data={"a": 1})
        .decode()
        .replace('{"a": 1}', '{"a": "", "\\u0061": "\\"\\""}'),
        record().decode().replace('"v": 1', '"v": 1, "\\u0076": 1'),
        record().decode().replace('"v": 1', '"v": 1, "tenant_ref": null'),
    ],
)
def test_a_key_that_comes_twice_is_refused(text: str) -> None:
    assert set(refusal(text.encode()).values()) <= {"json_duplicate_key"}


def test_escaped_quotes_are_not_taken_for_a_second_key() -> None:
    data = {'say "hi"': 'a "quoted" word', "back\\slash": "\\"}
    event = decode_record(record(additional_report_data=data, idempotency_key='"'))
    assert json.loads(event.additional_data or "") == data


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", "type_object"),
        ("7", "type_object"),
        ('"text"', "type_object"),
        ('{"a":"\\u0000"}', "null_character"),
        ('{"a":["\\u0000"]}', "null_character"),
        ('{"":1}', "key_length"),
        ('{"%s":1}' % ("k" * 256), "key_length"),
        ('{"e\u0301":1}', "key_not_nfc"),
        ('{"a":1e1000}', "number_too_long"),
        ('{"a":1e-0001000}', "number_too_long"),
        ('{"a":%s}' % ("9" * 101), "number_too_long"),
        ('{"a":0.%s}' % ("9" * 100), "number_too_long"),
        (nested(17), "data_too_deep"),
    ],
)
def test_additional_data_that_would_trip_someone_later_is_refused(text: str, code: str) -> None:
    assert refusal(with_raw("additional_report_data", text)) == {"/additional_report_data": code}


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"z": 1.50, "a": 1e-3,  "m": -0}',
        '{"big":123456789012345678901234567890, "deep":[[[{"x":null}]]]}',
        '{"literal":"\\\\u0000", "emoji":"\U0001f600", "pair":"\\ud83d\\ude00"}',
        nested(16),
    ],
)
def test_additional_data_is_kept_as_it_was_sent(text: str) -> None:
    assert decode_record(with_raw("additional_report_data", text)).additional_data == text


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"not json", b'{"v":1}{', b"\xff\xfe", b"\xef\xbb\xbf" + record(),
        with_raw("additional_report_data", '{"a":"\\ud800"}'),
        with_raw("additional_report_data", '{"a":"\ud800"}'),
        record(idempotency_key="@").replace(b"@", b"\xff"),
        with_raw("idempotency_key", '"\\ud800"'),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(value: bytes) -> None:
    refusal(value)


@pytest.mark.parametrize("value", [b"[]", b"1", b'"x"', b"null"])
def test_what_is_no_object_is_refused(value: bytes) -> None:
    assert refusal(value) == {"": "type_object"}


@pytest.mark.parametrize("brackets", [2_000, 30_000])
def test_endless_nesting_is_refused(brackets: int) -> None:
    value = with_raw("additional_report_data", "[" * brackets + "]" * brackets)
    assert set(refusal(value).values()) <= {"json_too_deep", "value_malformed"}


def test_every_wrong_field_is_named_at_once() -> None:
    value = record(timestamp="yesterday", customer_ref=7, quantity="many", quantiy=1, v=2, kind="X")
    assert refusal(value) == {
        "/v": "version_unknown",
        "/kind": "kind_unknown",
        "/timestamp": "timestamp_malformed",
        "/customer_ref": "type_string",
        "/quantity": "number_malformed",
        "/quantiy": "unknown_field",
    }


def test_missing_fields_are_all_named() -> None:
    assert refusal(b"{}") == dict.fromkeys(
        ["/v", "/kind", "/timestamp", "/customer_ref", "/usage_product_ref", "/quantity"],
        "required",
    )


def test_an_unknown_field_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(InvalidUsageEvent, match="did you mean 'idempotency_key'"):
        decode_record(record(idempotencykey="order-1"))


def test_pointers_are_escaped() -> None:
    assert refusal(record(**{"a/b~c": 1})) == {"/a~1b~0c": "unknown_field"}


def test_a_record_has_a_largest_size() -> None:
    padding = "x" * (RECORD_BYTES_MAX - len(record(additional_report_data={"a": ""})))
    fits = record(additional_report_data={"a": padding})
    assert len(fits) == RECORD_BYTES_MAX > EVENT_BYTES_MAX
    decode_record(fits)
    assert refusal(record(additional_report_data={"a": padding + "x"})) == {"": "event_too_large"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_key_is_written_as_any_json_text(key: str) -> None:
    assert json.loads(key_json(key)) == key
    assert key_json(key).encode() == msgspec.json.encode(key)
