"""Two copies of a keyed event are the same when their fingerprints are."""

import json

from schemas.fingerprint import fingerprint
from schemas.usage_event import decode_record

TENANT = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"
METER = "00000000-0000-4000-8000-000000000002"


def record(**fields: object) -> bytes:
    """A good record, with some fields changed."""
    good: dict[str, object] = {
        "v": 1,
        "kind": "USAGE",
        "timestamp": "2024-02-05T12:00:00Z",
        "customer_ref": CUSTOMER,
        "usage_product_ref": METER,
        "quantity": "10",
    }
    return json.dumps(good | fields).encode()


def with_data(json_text: str) -> bytes:
    return record(additional_report_data="@").replace(b'"@"', json_text.encode())


def content(**fields: object) -> int:
    return fingerprint(decode_record(record(**fields)))


def test_the_fingerprint_is_over_meter_quantity_and_data_alone() -> None:
    same = content(quantity="1.50", additional_report_data={"a": 1, "b": {"c": 1, "d": 2}})
    assert same == content(
        quantity=1.5,
        additional_report_data={"b": {"d": 2, "c": 1}, "a": 1},
        timestamp="2024-02-06T12:00:00Z",
        idempotency_key="k",
        customer_ref=TENANT,
    )
    assert same != content(quantity="1.51", additional_report_data={"a": 1, "b": {"c": 1, "d": 2}})
    assert same != content(quantity="1.50", additional_report_data={"a": 2, "b": {"c": 1, "d": 2}})
    assert same != content(quantity="1.50")
    assert content() != content(usage_product_ref=TENANT)
    assert content() != content(additional_report_data={})


def test_the_fingerprint_tells_lists_numbers_and_texts_apart() -> None:
    texts = ['{"a":[1,2]}', '{"a":[2,1]}', '{"a":1}', '{"a":"1"}', '{"a":1.0}', '{"a":"1.0"}',
             '{"a":true}', '{"a":%s}' % 2**70, '{"a":"%s"}' % 2**70,
             '{"a":%s,"b":1.5}' % 2**70, '{"a":%s,"b":"1.5"}' % 2**70]  # fmt: skip
    found = {fingerprint(decode_record(with_data(text))) for text in texts}
    assert len(found) == len(texts)


def test_the_fingerprint_stays_the_same_over_releases() -> None:
    assert content(additional_report_data={"b": 1.5, "a": "x"}) == -3_960_940_569_392_106_791
