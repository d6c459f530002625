"""What a document is made from: the inputs that messages name. Pure.

A message carries keys alone, so one that comes twice, late or out of order says nothing wrong.
"""

from typing import Annotated, Literal, NamedTuple
from uuid import UUID

import msgspec

from schemas.errors import InvalidInput
from schemas.event_ref import shard_key_of

Trigger = Literal["PERIOD_CUT"]


class InputKey(NamedTuple):
    """One input, as `document_input` is keyed; inputs sort as their rows do."""

    shard_key: int
    contract_product_ref: UUID
    period_ref: UUID
    trigger: Trigger
    cut_number: int


class PeriodMessage(msgspec.Struct, frozen=True):
    """One record of `billing.periods.v1`: a period is ready to be invoiced; keys alone."""

    v: Literal[1]
    trigger: Trigger
    contract_product_ref: UUID
    period_ref: UUID
    cut_number: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


_decoder = msgspec.json.Decoder(PeriodMessage)


def decode_message(value: bytes | None) -> InputKey:
    """Read one record of `billing.periods.v1`.

    Fields that are not known yet are passed over. Raises InvalidInput `message_malformed`.
    """
    try:
        message = _decoder.decode(value or b"")
    except msgspec.DecodeError as error:  # ValidationError is one
        raise InvalidInput("message_malformed", f"is not a period's message: {error}") from error
    return input_key(message.contract_product_ref, message.period_ref, message.cut_number)


def input_key(contract_product_ref: UUID, period_ref: UUID, cut_number: int) -> InputKey:
    """Return the input that a cut of a contract product's period is."""
    shard_key = shard_key_of(contract_product_ref.int)
    return InputKey(shard_key, contract_product_ref, period_ref, "PERIOD_CUT", cut_number)
