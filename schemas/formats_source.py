"""An event as its sender wrote it, in fields of their own: found by path, with every digit."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from schemas.additional_data import refuse_duplicate_keys
from schemas.errors import InvalidInput
from schemas.expression import Path, Value, parse_number
from schemas.usage_event import EVENT_BYTES_MAX, pointer_to

_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode

NOTHING: Final = (b"null", b"")

Fields = Mapping[str, Raw]


class Source:
    """The object that an event came as. What is inside is decoded when it is asked for, once."""

    __slots__ = ("_inside", "fields")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._inside: dict[Path, Fields | list[Raw] | None] = {(): fields}

    def raw(self, path: Path) -> Raw | None:
        """Return the JSON at a path; None when nothing, or null, is there."""
        container = self._container(path[:-1])
        place = path[-1]
        found: Raw | None = None
        if isinstance(container, list):
            if isinstance(place, int) and place < len(container):
                found = container[place]
        elif container is not None:
            found = container.get(str(place))
        return None if found is None or bytes(found) in NOTHING else found

    def _container(self, path: Path) -> Fields | list[Raw] | None:
        if path not in self._inside:
            raw = self.raw(path)
            first = b"" if raw is None else bytes(raw)[:1]
            found: Fields | list[Raw] | None = None
            if raw is not None and first == b"{":
                found = _decode_object(raw)
            elif raw is not None and first == b"[":
                found = _decode_list(raw)
            self._inside[path] = found
        return self._inside[path]

    def value(self, path: Path) -> Value:
        """Return what is at a path, for expressions. Raises InvalidInput for what they lack."""
        raw = self.raw(path)
        return None if raw is None else value_of(raw, path)


def read_source(raw: bytes) -> Source:
    """Read an event. Raises InvalidInput when it is no readable JSON object, or too large."""
    if len(raw) > EVENT_BYTES_MAX:
        raise InvalidInput("event_too_large", f"must be at most {EVENT_BYTES_MAX} bytes")
    try:
        fields = _decode_object(raw)
        if not _is_plain(fields, raw):
            refuse_duplicate_keys(raw)
    except InvalidInput:
        raise
    except msgspec.ValidationError:
        raise InvalidInput("type_object", "must be a JSON object") from None
    except RecursionError:
        raise InvalidInput("json_too_deep", "has too many levels") from None
    except ValueError as error:  # the decoders' errors are ValueErrors
        raise InvalidInput("json_malformed", f"must be JSON in UTF-8: {error}"[:200]) from None
    return Source(fields)


def _is_plain(fields: Fields, raw: bytes) -> bool:
    """Tell whether an event has scalars alone and surely no key twice, by counting its quotes.

    A key that comes twice has quotes that what was decoded doesn't account for.
    """
    quotes = 2 * len(fields)
    for value in fields.values():
        text = bytes(value)
        if text[0] in _OPENING:
            return False
        quotes += text.count(b'"')
    return quotes == raw.count(b'"')


_OPENING: Final = b"{["


def value_of(raw: Raw, path: Path | None) -> Value:
    """Return a JSON scalar as expressions compute with it. Raises InvalidInput for others.

    path: where it stands, None for a constant.
    """
    text = bytes(raw)
    if text[:1] == b'"':
        return _decode_text(text)
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in b"{[":
        detail = f"{_name(path)} is an object or a list: name what is meant inside it"
        raise InvalidInput("expression_type", detail)
    number = parse_number(text.decode())
    if number is None:
        raise InvalidInput("number_too_long", f"the number {_name(path)} has too many digits")
    return number


_WORDS: Final[Mapping[bytes, Value]] = {b"true": True, b"false": False, b"null": None}


def _name(path: Path | None) -> str:
    """Write a path for people."""
    if path is None:
        return "the constant"
    first, *further = map(str, path)
    return "".join([first, *(f"[{part}]" if part.isdecimal() else f".{part}" for part in further)])


def pointer_of(path: Path) -> str:
    """Return the JSON Pointer of a path."""
    return "".join(pointer_to(str(part)) for part in path)
