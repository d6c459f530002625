"""What a request is answered with, without a word of the HTTP library that writes it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

JSON: Final = "application/json"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Answer(msgspec.Struct, frozen=True):
    """A status, a body and the headers that go with it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = NO_HEADERS


def json_answer(status: int, value: object) -> Answer:
    """Answer with a value as JSON."""
    return Answer(status, msgspec.json.encode(value))
