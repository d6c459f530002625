"""Form bodies become the JSON that they stand for."""

import json

import pytest

from gateway.ingest.forms import form_to_json, is_json
from schemas.errors import InvalidInput


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (b"a=1&b=two+words", {"a": "1", "b": "two words"}),
        (b"a=", {"a": ""}),
        (b"phone[countryCode]=1&phone[phone]=555", {"phone": {"countryCode": "1", "phone": "555"}}),
        (b"tokens[]=BTC&tokens[]=ETH", {"tokens": ["BTC", "ETH"]}),
        (b"a[b][c]=1&a[b][d][]=2", {"a": {"b": {"c": "1", "d": ["2"]}}}),
        (b"name=%C3%A9&x=%26", {"name": "\u00e9", "x": "&"}),
    ],
)
def test_names_with_brackets_are_nested(form: bytes, value: object) -> None:
    assert json.loads(form_to_json(form)) == value


@pytest.mark.parametrize(
    "form",
    [b"a=1&a=2", b"a=1&a[b]=2", b"a[b]=1&a=2", b"a[]=1&a=2", b"a[b]=1&a[]=2", b"a[=1", b"a]b=1",
     b"[a]=1", b"a[b]c=1", b"a", b"\xff=1", b"%ff=1", b"a" + b"[b]" * 9 + b"=1",
     b"&".join(b"a%d=1" % n for n in range(1_001))],
)  # fmt: skip
def test_a_form_that_says_two_things_or_none_is_refused(form: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        form_to_json(form)
    assert caught.value.code in ("body_malformed", "json_duplicate_key")


@pytest.mark.parametrize("body", [b"{", b" \r\n\t[1]", b'{"a":1}'])
def test_json_is_told_by_its_first_byte(body: bytes) -> None:
    assert is_json(body)


@pytest.mark.parametrize("body", [b"", b"  ", b"a=1", b'"x"', b"7"])
def test_everything_else_is_a_form(body: bytes) -> None:
    assert not is_json(body)
