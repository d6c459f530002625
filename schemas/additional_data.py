"""The free part of a usage event: a JSON object of the sender's own, checked and kept as sent.

Its text goes on unchanged, keys in order and numbers with their digits. What would trip someone
later is refused here: duplicate keys, U+0000, endless nesting, numbers of an insane size, and keys
that people can't tell apart.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Raw

from schemas.errors import InvalidInput

NAME_LENGTH_MAX: Final = 255
"""Characters of an idempotency key, and of each key of the additional data."""

_NAME_LENGTHS: Final = frozenset(range(1, NAME_LENGTH_MAX + 1))

DATA_DEPTH_MAX: Final = 16
"""Levels of objects and lists in the additional data; the outermost object is the first."""

_NUMBER_LENGTH_MAX: Final = 100
_EXPONENT_DIGITS_MAX: Final = 3
_INTEGER_BOUND: Final = 10**_NUMBER_LENGTH_MAX


_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def check_name(text: str) -> None:
    """Refuse a key that people could not tell from another one by sight.

    It has 1 to 255 printable characters in Unicode's form NFC. Raises InvalidInput.
    """
    if not text or len(text) > NAME_LENGTH_MAX:
        raise InvalidInput("key_length", f"must have 1 to {NAME_LENGTH_MAX} characters")
    if not text.isprintable():
        raise InvalidInput("key_not_printable", "must have printable characters alone")
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        raise InvalidInput("key_not_nfc", "must be in Unicode normalization form C")


_check_name_once: Final = lru_cache(maxsize=1 << 12)(check_name)
"""`check_name` for keys that come again and again; only good ones are kept."""


KEY_SEPARATOR: Final = "\x1f"
"""May stand once inside an idempotency key: between a CloudEvent's source and its id."""


def check_key(text: str) -> None:
    """Refuse an idempotency key that is no name (`check_name`), nor two with U+001F between.

    Raises InvalidInput.
    """
    if text.isascii() and text.isprintable() and 0 < len(text) <= NAME_LENGTH_MAX:
        return  # most are, and need no other look
    first, separator, second = text.partition(KEY_SEPARATOR)
    if separator and first and second:
        text = f"{first} {second}"
    check_name(text)


def check_keys(keys: Sequence[str]) -> None:
    """Refuse idempotency keys as `check_key` does; plain ones are looked at as one text."""
    text = "".join(keys)
    if not (text.isascii() and text.isprintable() and _NAME_LENGTHS.issuperset(map(len, keys))):
        for key in keys:
            check_key(key)


def read_additional_data(raw: Raw) -> str | None:
    """Check the additional data and return its JSON text as sent; None when it is null.

    Raises InvalidInput unless it is an object with names as keys (`check_name`), not too deep, and
    without U+0000, duplicate keys or numbers of an insane size.
    """
    text = bytes(raw).decode()
    if text == "null":
        return None
    value = decode_data(text)
    if type(value) is not dict:
        raise InvalidInput("type_object", "must be an object")
    if 2 * _count_strings(value, 1) != text.count('"'):
        refuse_duplicate_keys(text)
    return text


def _count_strings(value: dict[str, object] | list[object], depth: int) -> int:
    """Check a decoded object or list to its leaves; return how many strings and keys it has."""
    if depth > DATA_DEPTH_MAX:
        raise InvalidInput("data_too_deep", f"must have at most {DATA_DEPTH_MAX} levels")
    count = 0
    items: Iterable[Any] = value
    if isinstance(value, dict):
        count = len(value)
        for key in value:
            _check_name_once(key)
        items = value.values()
    for item in items:
        kind = type(item)
        if kind is str:
            count += 1
            _check_text(item)
        elif kind is int:
            _check_integer(item)
        elif kind is dict or kind is list:
            count += _count_strings(item, depth + 1)
    return count


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidInput("null_character", "must not contain U+0000")


def _check_integer(value: int) -> None:
    if not -_INTEGER_BOUND < value < _INTEGER_BOUND:
        raise _number_too_long()


def _read_fraction(text: str) -> Raw:
    """Keep a number with a point or an exponent as it is written, if its size is sane."""
    if len(text) > _NUMBER_LENGTH_MAX or ("e" in text.lower() and _has_long_exponent(text)):
        raise _number_too_long()
    return Raw(text.encode())


def _has_long_exponent(text: str) -> bool:
    exponent = text.lower().partition("e")[2].lstrip("+-").lstrip("0")
    return len(exponent) > _EXPONENT_DIGITS_MAX


def _number_too_long() -> InvalidInput:
    detail = f"numbers must have at most {_NUMBER_LENGTH_MAX} characters and a small exponent"
    return InvalidInput("number_too_long", detail)


decode_data: Final = msgspec.json.Decoder(float_hook=_read_fraction).decode


def refuse_duplicate_keys(text: str | bytes) -> None:
    """Raise InvalidInput when an object in readable JSON has a key twice.

    Exact but slow. Who calls it first compares the count of quotes with that of what was decoded:
    a key that comes twice has quotes of its own, so equal counts prove that there is none.
    """
    json.loads(text, object_pairs_hook=_unique_pairs, parse_int=str, parse_float=str)


def _unique_pairs(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidInput("json_duplicate_key", f"the key {key[:64]!r} comes twice")
        seen.add(key)


def canonical_data(text: str) -> bytes:
    """Write additional data with sorted keys and no spaces; fractions keep their digits."""
    value = decode_data(text)
    try:
        return _encode_sorted(value)
    except OverflowError:  # an integer beyond 64 bits
        return json.dumps(value, sort_keys=True, default=_mark_fraction).encode()


def _mark_fraction(raw: Raw) -> str:
    return f"\0{bytes(raw).decode()}"  # no string in the data has a U+0000


def canonical_json(text: str) -> str:
    """Write additional data with sorted keys and no spaces; every number keeps its digits.

    Valid JSON, whatever the size of its integers. The keys' order is that of their code points.
    """
    value = decode_data(text)
    try:
        return _encode_sorted(value).decode()
    except OverflowError:  # an integer beyond 64 bits
        return _write_sorted(value)


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Return each key with its value as people read it: texts bare, all else as canonical JSON."""
    value = decode_data(text)
    return [
        (key, own if isinstance(own, str) else _write_sorted(own)) for key, own in value.items()
    ]


def _write_sorted(value: object) -> str:
    """Write a decoded value by hand, as the encoder would."""
    if isinstance(value, dict):
        members = (f"{_write_sorted(key)}:{_write_sorted(value[key])}" for key in sorted(value))
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_write_sorted, value))}]"
    if type(value) is int:
        return str(value)
    return msgspec.json.encode(value).decode()
