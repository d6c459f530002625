"""What docs/formats.md shows is what happens."""

import json
import re
from pathlib import Path

import pytest

from schemas.expression import Expression, Run
from schemas.expression_functions import FUNCTIONS
from schemas.expression_parser import DEPTH_MAX, NODES_MAX, TEXT_LENGTH_MAX
from schemas.expression_values import STEPS_MAX, STRING_LENGTH_MAX
from schemas.formats import LOOK_UPS, TARGETS
from schemas.formats_dates import EPOCHS, ISO, PARTS
from schemas.formats_definition import DATA_KEYS_MAX, DEFINITION_BYTES_MAX, parse_definition
from schemas.formats_source import read_source

GUIDE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
CUSTOMER = "0e6f5a52-5f0e-4a8c-9d0a-7f1f4b7c1a11"


def request_to(path: str) -> str:
    """Return the body of the request that the guide shows first for a path."""
    match = re.search(rf"```json\nPOST {re.escape(path)}\n(.*?)\n(?:\n|```)", GUIDE, re.DOTALL)
    assert match is not None, path
    return match[1]


def test_the_worked_example_becomes_what_the_guide_says() -> None:
    fields = json.loads(request_to("/api/usage/formats"))["fields"]
    sent = json.loads(request_to("/api/usage/formats/<format_ref>/try"))["event"]
    shown = re.search(r'\{"values": (\{.*?\}\})', GUIDE, re.DOTALL)
    assert shown is not None
    form = parse_definition(json.dumps(fields).encode())

    def customer_by(key: str, value: str) -> str:
        assert (key, value) == ("external_id", "K-7")
        return CUSTOMER

    made = form.make(read_source(json.dumps(sent).encode()), {"customer_by": customer_by})
    assert json.loads(made.event()) == json.loads(shown[1])


def test_every_expression_in_the_guide_can_be_read() -> None:
    block = GUIDE.partition("## Expressions\n\n```\n")[2].partition("```")[0]
    lines = block.strip().splitlines()
    assert len(lines) == 3
    for line in lines:
        assert Expression.parse(line, look_ups=LOOK_UPS).paths


@pytest.mark.parametrize(
    "name", [*FUNCTIONS, *LOOK_UPS, "if", "coalesce", *TARGETS, ISO, *EPOCHS, *PARTS]
)
def test_every_word_of_the_language_is_in_the_guide(name: str) -> None:
    assert f"`{name}" in GUIDE


def test_the_guide_tells_the_bounds_as_they_are() -> None:
    for bound in (TEXT_LENGTH_MAX, NODES_MAX, DEPTH_MAX, STRING_LENGTH_MAX, STEPS_MAX):
        assert f"{bound:,}" in GUIDE
    assert f"{DEFINITION_BYTES_MAX // 1024} KiB and {DATA_KEYS_MAX} keys" in GUIDE


@pytest.mark.parametrize(
    ("text", "value"),
    [("1/3*3", 1), ("0.1 + 0.2 == 0.3", True), ("number('10') + 1", 11)],
)
def test_what_the_guide_says_of_numbers_is_true(text: str, value: object) -> None:
    assert text.partition(" ==")[0] in GUIDE
    assert Expression.parse(text).evaluate(Run(lambda _: None)) == value
