"""From what a caller hands in to bytes that never change, with a key that is made once."""

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

KEY: Final = "idempotency_key"
QUANTITY: Final = "quantity"

Event = Mapping[str, Any]
"""An event's fields as the API names them; dates aware, quantities int, Decimal or text."""

_encode: Final = msgspec.json.Encoder().encode


class EncodedEvent(Struct, frozen=True):
    """An event as it will be sent, each time the same bytes.

    key: the idempotency key that its JSON names.
    """

    key: str
    body: bytes


def check_exact(fields: Event) -> None:
    """Raise TypeError for a binary float as a quantity."""
    if isinstance(fields.get(QUANTITY), float):
        raise TypeError("quantity: a float is not exact; pass an int, a Decimal or a text")


def encode_event(event: Event | EncodedEvent) -> EncodedEvent:
    """Write an event as JSON; one without a key of its own gets a random one, here and only here.

    Whether the event is good is the server's to say. Raises TypeError for what JSON can't hold
    exactly: a binary float as a quantity, a date without a zone, an object of an unknown type.

    >>> encode_event({"quantity": 3, "idempotency_key": "order-7"})
    EncodedEvent(key='order-7', body=b'{"quantity":3,"idempotency_key":"order-7"}')
    """
    if isinstance(event, EncodedEvent):
        return event
    check_exact(event)
    key = event.get(KEY)
    if key is None:
        key = os.urandom(16).hex()
        event = {**event, KEY: key}
    elif not isinstance(key, str):
        raise TypeError(f"idempotency_key: must be a text, not {type(key).__name__}")
    return EncodedEvent(key, _encode(event))
