"""Form bodies as JSON: `phone[countryCode]=1`, `tokens[]=BTC`, JSON text in a field."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from schemas.errors import InvalidInput

FIELDS_MAX: Final = 1_000
PARTS_MAX: Final = 8
"""Levels of brackets in a field's name."""

_split_name: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)").fullmatch


def is_json(body: bytes) -> bool:
    """Tell whether a body is JSON, by its first byte that is not blank."""
    return body.lstrip(b" \t\r\n")[:1] in (b"{", b"[")


def form_to_json(body: bytes) -> bytes:
    """Rewrite an `application/x-www-form-urlencoded` body as a JSON object of texts.

    Raises InvalidInput `body_malformed`, `json_duplicate_key`.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=FIELDS_MAX,
            errors="strict",
        )
    except ValueError:
        detail = "must be a JSON object or application/x-www-form-urlencoded"
        raise InvalidInput("body_malformed", detail) from None
    form: dict[str, Any] = {}
    for name, value in pairs:
        _put(form, _parts(name), value)
    return msgspec.json.encode(form)


def _parts(name: str) -> list[str]:
    """Split a field's name: `a[b][]` is ["a", "b", ""]."""
    match = _split_name(name)
    if match is None:
        raise InvalidInput("body_malformed", f"the field name {name[:64]!r} can't be read")
    first, rest = match.groups()
    parts = [first, *rest[1:-1].split("][")] if rest else [first]
    if len(parts) > PARTS_MAX:
        raise InvalidInput("body_malformed", f"the field name {name[:64]!r} has too many levels")
    return parts


def _put(form: dict[str, Any], parts: list[str], value: str) -> None:
    """Put a value at its place; `[]` at the end adds to a list."""
    *way, last = parts
    is_list = last == "" and bool(way)
    if is_list:
        *way, last = way
    for part in way:
        form = form.setdefault(part, {})
        if not isinstance(form, dict):
            raise _twice(part)
    if is_list:
        values = form.setdefault(last, [])
        if not isinstance(values, list):
            raise _twice(last)
        values.append(value)
    elif last in form:
        raise _twice(last)
    else:
        form[last] = value


def _twice(name: str) -> InvalidInput:
    return InvalidInput("json_duplicate_key", f"the field {name[:64]!r} comes twice")
