"""What a message of closed periods may say."""

from uuid import UUID

import pytest

from invoicer.inputs import InputKey, decode_message
from schemas.errors import InvalidInput
from schemas.event_ref import derived_ref

PRODUCT = derived_ref("contract_product", 300, 4_711, 3, "a")
PERIOD = UUID(int=7)


def message(**fields: object) -> bytes:
    said: dict[str, object] = {
        "v": 1,
        "trigger": "PERIOD_CUT",
        "contract_product_ref": str(PRODUCT),
        "period_ref": str(PERIOD),
        "cut_number": 2,
    }
    said |= fields
    return repr(said).replace("'", '"').encode()


def test_a_message_names_one_input() -> None:
    assert decode_message(message()) == InputKey(4_711, PRODUCT, PERIOD, "PERIOD_CUT", 2)


def test_fields_of_later_versions_are_passed_over() -> None:
    assert decode_message(message(watermark="x")) == decode_message(message())


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"\xff",
        message(v=2),
        message(trigger="SOMETHING"),
        message(period_ref="7"),
        message(cut_number="2"),
        message(cut_number=0),
        message(cut_number=2**31),
    ],
)
def test_what_names_nothing_is_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidInput, match="message_malformed"):
        decode_message(value)
