"""Bodies: what is lenient, what is exact, and that one answer names everything that is wrong."""

import json

import pytest

from gateway.manage import values
from gateway.manage.body import Body, Fields, parse_object
from schemas.errors import InvalidInput


def body_of(value: object, unknown_code: str | None = None) -> Body:
    return Body(parse_object(json.dumps(value).encode()), unknown_code=unknown_code)


def problems(body: Body) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        body.finish()
    return {problem.pointer: problem.code for problem in caught.value.problems}


def test_every_wrong_field_is_named_at_once() -> None:
    body = body_of({"name": 7, "tax": "lots", "inner": {"currency": "XXY"}, "list": [{}, 3]})
    fields = body.fields
    fields.required(values.name, "name")
    fields.optional(values.percent(100), "tax")
    fields.required(values.ref, "customer_ref")
    inner = fields.nested("inner")
    assert inner is not None
    inner.optional(values.currency, "currency")
    for item in fields.each("list") or []:
        item.required(values.ref, "ref")
    assert problems(body) == {
        "/name": "type_string",
        "/tax": "number_malformed",
        "/customer_ref": "required",
        "/inner/currency": "currency_unknown",
        "/list/0/ref": "required",
        "/list/1": "type_object",
    }


def test_an_unknown_field_is_a_warning_with_the_nearest_known_name() -> None:
    body = body_of({"nmae": "Northwind", "name": "Northwind", "phone": {"numer": 1}})
    body.fields.required(values.name, "name")
    phone = body.fields.nested("phone")
    assert phone is not None
    phone.optional(values.text, "number")
    assert [(warning.pointer, warning.detail) for warning in body.finish()] == [
        ("/nmae", "is unknown; did you mean 'name'?"),
        ("/phone/numer", "is unknown; did you mean 'number'?"),
    ]


def test_an_unknown_field_is_an_error_where_the_route_refuses_it() -> None:
    body = body_of({"nmae": "Northwind"}, unknown_code="unknown_field")
    body.fields.optional(values.name, "name")
    assert problems(body) == {"/nmae": "unknown_field"}


def test_a_field_is_found_by_its_aliases_and_blamed_by_the_name_it_was_sent_under() -> None:
    body = body_of({"zip-code": "10001", "line_item_id": "x"})
    assert body.fields.optional(values.text, "zip_code", "zip-code") == "10001"
    body.fields.required(values.ref, "line_item_ref", "line_item_id")
    assert problems(body) == {"/line_item_id": "ref_malformed"}


@pytest.mark.parametrize("absent", [None, ""])
def test_null_and_an_empty_text_count_as_left_out(absent: object) -> None:
    body = body_of({"legal_name": absent, "name": absent})
    assert body.fields.optional(values.name, "legal_name") is None
    body.fields.required(values.name, "name")
    assert problems(body) == {"/name": "required"}


def test_u0000_is_refused_even_where_nobody_asks() -> None:
    body = body_of({"name": "a\0", "note": ["b", {"c": "\0"}], "x\0": 1}, unknown_code=None)
    body.fields.optional(values.text, "name")
    assert problems(body) == {
        "/name": "null_character",
        "/note/1/c": "null_character",
        "/x\0": "null_character",
    }


def test_json_text_stands_for_an_object_or_a_list() -> None:
    body = body_of({"phone": '{"phone": "2121234567"}', "products": '[{"a": 1}]', "x": "{oops"})
    phone = body.fields.nested("phone")
    assert phone is not None
    assert phone.required(values.text, "phone") == "2121234567"
    products = body.fields.each("products")
    assert products is not None
    assert products[0].at("a") == "/products/0/a"
    products[0].optional(values.text, "a")
    assert body.fields.nested("x") is None
    assert problems(body) == {"/x": "type_object"}


def test_a_form_is_a_body_too() -> None:
    fields = Body(
        parse_object(b"name=North+wind&phone[country_code]=1&t[]=a&t[]=b"), unknown_code=None
    )
    assert fields.fields.required(values.name, "name") == "North wind"
    phone = fields.fields.nested("phone")
    assert phone is not None
    assert phone.optional(values.text, "country_code") == "1"
    assert fields.fields.items("t") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a": 1, "a": 2}', "json_duplicate_key"),
        (b'{"a": NaN}', "json_malformed"),
        (b'{"a": "\\ud800"}', "json_malformed"),
        (b'{"a": 1', "json_malformed"),
        (b"[1]", "json_malformed"),
        (b"\xff\xfe", "body_malformed"),
        (b'{"a":' * 5_000, "json_too_deep"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "json_malformed"),
    ],
)
def test_what_is_no_object_is_refused_as_a_whole(text: bytes, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_object(text)
    assert caught.value.code == code


def test_an_empty_body_stands_for_an_empty_object() -> None:
    assert parse_object(b"  ") == {}


def test_fractions_keep_every_digit() -> None:
    body = Body(parse_object(b'{"fee": 0.100000000000000055}'), unknown_code=None)
    fee = body.fields.required(lambda value: value, "fee")
    assert fee == "0.100000000000000055"


def test_a_list_has_a_bound() -> None:
    body = body_of({"list": [{}] * 1_001})
    assert body.fields.each("list") is None
    assert problems(body) == {"/list": "type_list"}


def test_a_field_that_has_no_effect_yet_is_refused_unless_it_says_what_holds_anyway() -> None:
    body = body_of({"auto_renew": True, "draft": False})
    body.fields.not_yet("auto_renew", "draft", unless=(False,))
    assert problems(body) == {"/auto_renew": "not_supported_yet"}


def test_a_pointer_escapes_slashes_and_tildes() -> None:
    body = body_of({"a/b~c": 1})
    assert isinstance(body.fields, Fields)
    assert [warning.pointer for warning in body.finish()] == ["/a~1b~0c"]
