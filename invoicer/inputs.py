"""What a document is made from: the inputs that messages name. Pure.

A message carries keys alone, so one that comes twice, late or out of order says nothing wrong.
"""

from typing import Annotated, Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from schemas.errors import InvalidInput
from schemas.event_ref import shard_key_of

Trigger = Literal["PERIOD_OPENED", "ISSUE_DUE", "PERIOD_CUT", "EVENT_DUE"]

AHEAD: Final = ("PERIOD_OPENED", "ISSUE_DUE")
"""What is billed ahead of a period's end: its cut 0, without usage or with what was used so far."""


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


class OpenedMessage(msgspec.Struct, frozen=True, tag_field="trigger", tag="PERIOD_OPENED"):
    """The fixed fees of a period are due ahead of it; keys alone."""

    v: Literal[1]
    contract_product_ref: UUID
    period_ref: UUID
    cut_number: Literal[0]


class DueMessage(msgspec.Struct, frozen=True, tag_field="trigger", tag="ISSUE_DUE"):
    """What a period has come to so far is due; keys alone."""

    v: Literal[1]
    contract_product_ref: UUID
    period_ref: UUID
    cut_number: Literal[0]


class EventsMessage(msgspec.Struct, frozen=True, tag_field="trigger", tag="EVENT_DUE"):
    """A contract has rated events that are due upon usage; its key alone."""

    v: Literal[1]
    contract_ref: UUID


BillingMessage = PeriodMessage | OpenedMessage | DueMessage | EventsMessage

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
    trigger: Trigger = "PERIOD_CUT"
    if not isinstance(message, PeriodMessage):
        trigger = "PERIOD_OPENED" if isinstance(message, OpenedMessage) else "ISSUE_DUE"
    place = (message.contract_product_ref, message.period_ref, message.cut_number)
    return input_key(*place, trigger)


def input_key(
    contract_product_ref: UUID,
    period_ref: UUID,
    cut_number: int,
    trigger: Trigger = "PERIOD_CUT",
) -> InputKey:
    """Return the input that a cut of a contract product's period is."""
    shard_key = shard_key_of(contract_product_ref.int)
    return InputKey(shard_key, contract_product_ref, period_ref, trigger, cut_number)
