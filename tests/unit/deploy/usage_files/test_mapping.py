"""From a row to an event: the same row is the same event, digit for digit."""

import json
from collections.abc import Sequence

import pytest

from deploy.usage_files.errors import GaveUp
from deploy.usage_files.mapping import EventMaker, read_map
from deploy.usage_files.source import CsvRow, JsonRow, Row
from meterline_client import EncodedEvent, Names, Rejected

REF = "0b1e1c35-1111-4222-8333-444455556666"
NAMES = Names(
    customers={"acme": "ref-acme", "twin": None}, meters={"calls": "ref-calls", "gb": "ref-gb"}
)


def maker(
    maps: Sequence[str] = (), header: Sequence[str] = (), *, extra: bool = False
) -> EventMaker:
    columns = read_map(maps, header, extra=extra)
    return EventMaker(columns, header, names=lambda: NAMES, key_prefix=lambda: "digest")


def made(maker: EventMaker, row: Row) -> dict[str, object]:
    event = maker.make(row)
    assert isinstance(event, EncodedEvent), event
    content: dict[str, object] = json.loads(event.body)
    assert content["idempotency_key"] == event.key
    return content


def refused(maker: EventMaker, row: Row) -> str:
    rejected = maker.make(row)
    assert isinstance(rejected, Rejected), rejected
    return rejected.errors[0].code


HEADER = ["ts", "account", "sku", "n", "id", "region", ""]
MAPS = ["timestamp=ts, customer=account,meter=sku", "quantity=n,key=id,data.region=region"]


def test_columns_become_fields_and_names_become_refs() -> None:
    row = CsvRow(1, ["T", " ACME", "gb", "1.50", "k-1", "eu", "x"])
    assert made(maker(MAPS, HEADER), row) == {
        "timestamp": "T",
        "customer_ref": "ref-acme",
        "usage_product_ref": "ref-gb",
        "quantity": "1.50",
        "idempotency_key": "k-1",
        "additional_report_data": {"region": "eu"},
    }


def test_a_ref_in_place_of_a_name_is_left_as_it_is() -> None:
    row = CsvRow(1, ["T", REF, REF, "1", "k", "eu", "x"])
    event = made(maker(MAPS, HEADER), row)
    assert (event["customer_ref"], event["usage_product_ref"]) == (REF, REF)


def test_columns_named_like_fields_need_no_mapping_and_others_come_along_if_wanted() -> None:
    header = ["Timestamp", "customer_name", "usage_product_ref", "quantity", "note"]
    row = CsvRow(7, ["T", "acme", REF, "1", "hello"])
    event = made(maker((), header), row)
    assert (event["customer_ref"], event["timestamp"]) == ("ref-acme", "T")
    assert "additional_report_data" not in event
    assert made(maker((), header, extra=True), row)["additional_report_data"] == {"note": "hello"}


def test_a_row_without_a_key_gets_one_of_the_file_and_its_number() -> None:
    row = CsvRow(7, ["T", "acme", "gb", "1", "", "eu", "x"])
    assert made(maker(MAPS, HEADER), row)["idempotency_key"] == "digest/7"
    assert made(maker(), JsonRow(8, b'{"customer_ref": "c"}'))["idempotency_key"] == "digest/8"
    assert made(maker(), JsonRow(9, b'{"idempotency_key": null}'))["idempotency_key"] == "digest/9"
    assert made(maker(), JsonRow(10, b"{}"))["idempotency_key"] == "digest/10"


def test_json_keeps_every_digit_of_what_is_added_to() -> None:
    body = b'{"quantity": 1.10000000000000000000000000001, "customer_name": "acme" }'
    event = maker().make(JsonRow(1, body))
    assert isinstance(event, EncodedEvent)
    assert event.body.startswith(body[:-2])
    assert json.loads(event.body)["customer_ref"] == "ref-acme"
    event = maker(["quantity=n", "customer=who"]).make(
        JsonRow(1, b'{"n": 1.10000000000000000000000000001, "who": "acme", "data": [1.0]}')
    )
    assert isinstance(event, EncodedEvent)
    assert b'"quantity":1.10000000000000000000000000001' in event.body
    assert b'"data":[1.0]' in event.body
    assert json.loads(event.body)["customer_ref"] == "ref-acme"


def test_a_good_json_event_is_sent_byte_for_byte() -> None:
    body = b'{ "idempotency_key": "k",  "customer_ref":"c", "quantity": 1e2, "quantity": 3 }'
    assert maker().make(JsonRow(1, body)) == EncodedEvent("k", body)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (CsvRow(1, ["T"]), "columns"),
        (CsvRow(1, ["T", "nobody", "gb", "1", "k", "eu", "x"]), "customer_unknown"),
        (CsvRow(1, ["T", "twin", "gb", "1", "k", "eu", "x"]), "customer_unknown"),
        (CsvRow(1, ["T", "acme", "tb", "1", "k", "eu", "x"]), "usage_product_unknown"),
        (CsvRow(1, ["T", "acme", "gb", "\udcff", "k", "eu", "x"]), "encoding"),
        (JsonRow(1, b"[1]"), "json_malformed"),
        (JsonRow(1, b'{"a": 1'), "json_malformed"),
        (JsonRow(1, b'{"a": "\xff"}'), "json_malformed"),
        (JsonRow(1, b"[" * 9_999), "json_malformed"),
        (JsonRow(1, b'{"customer_name": "nobody"}'), "customer_unknown"),
        (JsonRow(1, b'{"customer":"acme","quantity":1,"quantity":2}'), "json_duplicate_key"),
    ],
)
def test_a_row_that_is_no_event_is_rejected_alone(row: Row, code: str) -> None:
    is_csv = isinstance(row, CsvRow)
    assert refused(maker(MAPS, HEADER) if is_csv else maker(), row) == code


def test_objects_in_cells_are_json() -> None:
    header = ["additional_report_data", "key"]
    event = made(maker((), header), CsvRow(1, ['{"a": 1.0}', "k"]))
    assert event["additional_report_data"] == {"a": 1.0}
    assert refused(maker((), header), CsvRow(1, ["a=1", "k"])) == "json_malformed"


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("timestamp", "not field=column"),
        ("timestamp=", "not field=column"),
        ("customer=acount", "no column 'acount'; did you mean 'account'"),
        ("timestmp=ts", "no field 'timestmp'; did you mean 'timestamp'"),
    ],
)
def test_a_mapping_that_says_nothing_is_refused_with_the_nearest_that_does(
    pair: str, said: str
) -> None:
    with pytest.raises(GaveUp, match=said):
        read_map([pair], HEADER)


def test_additional_data_is_mapped_for_csv_alone() -> None:
    with pytest.raises(GaveUp, match=r"data\.NAME is for CSV"):
        read_map(["data.region=region"])
