"""Which column is which field: by names, by the map, by what is said of all others."""

import json
from typing import Any

import pytest

from gateway.manage.body import Body
from gateway.uploads.layout import COLUMNS_MAX, Layout, Options, read_layout, read_options
from schemas.errors import InvalidInput

NEEDED = ["timestamp", "customer_ref", "usage_product_ref", "quantity"]


def options(**query: str) -> Options:
    body = Body(query, unknown_code="unknown_field")
    read = read_options(body.fields)
    body.finish()
    return read


def layout(*names: str, **query: str) -> Layout:
    return read_layout(names, options(**query), None)


def event(read: Layout, *cells: str) -> Any:  # noqa: ANN401 - JSON
    made = read.event_of(cells)
    assert isinstance(made, bytes), made
    return json.loads(made)


def problems(*names: str, **query: str) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        layout(*names, **query)
    return {problem.pointer: problem.code for problem in refused.value.problems}


def test_columns_named_like_fields_are_these_whatever_their_case() -> None:
    read = layout("Timestamp ", "CUSTOMER_REF", "usage_product_ref", "quantity")
    assert event(read, "t", "c", "u", "1") == dict(zip(NEEDED, "tcu1", strict=True))


def test_the_map_names_columns_and_leaves_some_out() -> None:
    read = layout(
        "a", "b", "c", "d", "quantity", "e", map="a:timestamp,b:customer_name,"
        "c:usage_product_name,d:quantity,quantity:,e:additional_report_data.e",
    )  # fmt: skip
    assert event(read, "1", "2", "3", "4", "5", "6") == {
        "timestamp": "1",
        "customer_name": "2",
        "usage_product_name": "3",
        "quantity": "4",
        "additional_report_data": {"e": "6"},
    }


def test_a_column_name_with_commas_and_colons_goes_into_a_json_map() -> None:
    name = "Amount, kWh: net"
    assert layout(*NEEDED[:3], name, map=json.dumps({name: "quantity"})).columns[3] == (
        "quantity",
        None,
    )
    assert layout(*NEEDED[:3], "a:b", map="a:b:quantity").columns[3] == ("quantity", None)


def test_other_columns_are_refused_sent_along_or_left_out() -> None:
    assert problems(*NEEDED, "Region", "") == {"/Region": "unknown_field", "/": "unknown_field"}
    data = layout(*NEEDED, "Region", "", other_columns="data")
    assert event(data, *"tcu1", "eu", "x")["additional_report_data"] == {"Region": "eu"}
    ignored = layout(*NEEDED, "Region", "", other_columns="ignore")
    assert "additional_report_data" not in event(ignored, *"tcu1", "eu", "x")


def test_everything_that_is_wrong_with_a_header_is_named_at_once() -> None:
    wrong = problems("timestmap", "quantity", "quantity", map="Kunde:customer_ref")
    assert wrong == {
        "/map": "column_unknown",
        "/timestmap": "unknown_field",
        "/quantity": "json_duplicate_key",
        "/timestamp": "required",
        "/customer_ref": "required",
        "/usage_product_ref": "required",
    }
    assert problems(*NEEDED, *["x"] * COLUMNS_MAX) == {"": "too_many_columns"}


@pytest.mark.parametrize("text", ["a", "a:b,a:c", ":b", "{", '{"a": 1}', "a:b,,"])
def test_a_map_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        options(map=text)
    assert refused.value.pointer == "/map"


def test_a_format_says_itself_what_columns_are() -> None:
    with pytest.raises(InvalidInput) as refused:
        options(format_name="Readings", map="a:b", other_columns="data")
    assert [problem.pointer for problem in refused.value.problems] == ["/map", "/other_columns"]


def test_a_row_of_another_width_is_no_event() -> None:
    wrong = layout(*NEEDED).event_of(["1"])
    assert isinstance(wrong, InvalidInput)
    assert wrong.detail == "has 1 cells where the header has 4"


def test_a_report_that_comes_back_loses_what_was_added_to_it() -> None:
    read = layout(*NEEDED, "additional_report_data.note", "rejected_row", "rejected_because")
    made = event(read, *"tcu1", "'=1", "7", "quantity: too large")
    assert made["additional_report_data"] == {"note": "=1"}
    assert list(read.header) == [*NEEDED, "additional_report_data.note"]
    assert read.own([*"tcu1", "'=1", "7", "why"]) == [*"tcu1", "=1"]


def test_the_same_way_of_reading_has_the_same_fingerprint() -> None:
    assert options(map="a:b,c:d").fingerprint == options(map="c:d,a:b").fingerprint
    assert options(map="a:b").fingerprint != options(map="a:c").fingerprint
