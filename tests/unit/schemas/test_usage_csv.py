"""The canonical list of usage: its bytes are a promise, so they are spelt out here."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.additional_data import canonical_json
from schemas.usage_csv import HEADER, usage_row

REF = "13e00000-0000-8000-8000-000000000001"
NOON = datetime(2026, 10, 5, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("quantity", "data", "cells"),
    [
        ("1", None, "1,"),
        ("-0.000000000000000001", "{}", "-0.000000000000000001,{}"),
        ("7", '{ "b" : 1.50, "a": [true, null] }', '7,"{""a"":[true,null],""b"":1.50}"'),
        ("7", '{"x":"a,b\\nc\\u00e9"}', '7,"{""x"":""a,b\\ncé""}"'),
        ("7", '{"n":1e-7,"m":-0.0}', '7,"{""m"":-0.0,""n"":1e-7}"'),
        ("7", '{"n":123456789012345678901234567890,"m":2.50}',
         '7,"{""m"":2.50,""n"":123456789012345678901234567890}"'),
    ],
)  # fmt: skip
def test_a_row_is_these_bytes(quantity: str, data: str | None, cells: str) -> None:
    assert usage_row(REF, NOON, quantity, data) == f"{REF},2026-10-05T12:30:00.000000Z,{cells}\n"


def test_microseconds_are_always_six_digits() -> None:
    instant = datetime(2026, 10, 5, 0, 0, 0, 120_000, tzinfo=UTC)
    assert ",2026-10-05T00:00:00.120000Z," in usage_row(REF, instant, "1", None)
    assert HEADER == b"event_ref,timestamp,quantity,additional_report_data\n"


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**80), 10**80)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)
objects = st.dictionaries(st.text("aé\U0001f600Z,\"'", min_size=1), st.recursive(leaves, st.lists))


@given(objects)
def test_canonical_data_says_the_same_whatever_the_order_of_keys(value: dict[str, Any]) -> None:
    shuffled = dict(reversed(value.items()))
    written = canonical_json(json.dumps(value))
    assert written == canonical_json(json.dumps(shuffled, ensure_ascii=False, indent=2))
    assert json.loads(written) == value
    assert list(json.loads(written)) == sorted(value)
    [row] = csv.reader(io.StringIO(usage_row(REF, NOON, "1", json.dumps(value)), newline=""))
    assert row == [REF, "2026-10-05T12:30:00.000000Z", "1", written]
