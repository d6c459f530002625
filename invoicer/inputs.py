"""What a document is made from: the inputs that messages name. Pure.

A message carries keys alone, so one that comes twice, late or out of order says nothing wrong.
"""

from typing import Annotated, Literal, NamedTuple
from uuid import UUID

import msgspec

from schemas.errors import InvalidInput
from schemas.event_ref import shard_key_of

Trigger = Literal["PERIOD_CUT", "EVENT_DUE"]


class InputKey(NamedTuple):
    """One input, as `document_input` is keyed; inputs sort as their rows do."""

    shard_key: int
    contract_product_ref: UUID
    period_ref: UUID
    trigger: Trigger
    cut_number: int


class DueContract(NamedTuple):
    """A contract with events that are to be billed by documents of their own."""

    shard_key: int
    contract_ref: UUID


class PeriodMessage(msgspec.Struct, frozen=True, tag_field="trigger", tag="PERIOD_CUT"):
    """A period is ready to be invoiced; keys alone."""

    v: Literal[1]
    contract_product_ref: UUID
    period_ref: UUID
    cut_number: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class EventsMessage(msgspec.Struct, frozen=True, tag_field="trigger", tag="EVENT_DUE"):
    """A contract has rated events that are due upon usage; its key alone."""

    v: Literal[1]
    contract_ref: UUID


BillingMessage = PeriodMessage | EventsMessage

_decoder = msgspec.json.Decoder(BillingMessage)


def decode_message(value: bytes | None) -> InputKey | DueContract:
    """Read one record of `billing.periods.v1`.

    Fields that are not known yet are passed over. Raises InvalidInput `message_malformed`.
    """
    try:
        message = _decoder.decode(value or b"")
    except msgspec.DecodeError as error:  # ValidationError is one
        raise InvalidInput("message_malformed", f"is not a period's message: {error}") from error
    if isinstance(message, EventsMessage):
        return DueContract(shard_key_of(message.contract_ref.int), message.contract_ref)
    return input_key(message.contract_product_ref, message.period_ref, message.cut_number)


def input_key(contract_product_ref: UUID, period_ref: UUID, cut_number: int) -> InputKey:
    """Return the input that a cut of a contract product's period is."""
    shard_key = shard_key_of(contract_product_ref.int)
    return InputKey(shard_key, contract_product_ref, period_ref, "PERIOD_CUT", cut_number)
