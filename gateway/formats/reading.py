"""Reads formats and the events that come in them out of decoded bodies, every digit kept."""

from typing import Final

import msgspec
from msgspec import Raw, Struct

from gateway.manage import values
from gateway.manage.body import Fields, JsonNumber
from schemas.errors import InvalidInput
from schemas.formats_definition import parse_definition
from schemas.formats_source import read_source

_encode: Final = msgspec.json.encode


class NewFormat(Struct, frozen=True):
    """A format as it is asked for. definition: JSON that `parse_definition` takes."""

    name: str
    definition: bytes


def json_of(value: object) -> bytes:
    """Write a decoded value of a body as the JSON it was; numbers keep their digits."""
    return _encode(_with_digits(value))


def _with_digits(value: object) -> object:
    if isinstance(value, JsonNumber):
        return Raw(str(value).encode())
    if isinstance(value, dict):
        return {key: _with_digits(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_digits(part) for part in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return Raw(str(value).encode())  # the encoder writes at most 64 bits
    return value


def object_json(value: object) -> bytes:
    """Read an object, or JSON text of one. Raises InvalidInput when it is something else."""
    text = value.encode() if isinstance(value, str) else json_of(value)
    if not text.lstrip().startswith(b"{"):
        raise InvalidInput("type_object", "must be an object")
    return text


def definition(value: object) -> bytes:
    """Read a format's definition. Raises InvalidInput with everything that is wrong."""
    text = object_json(value)
    parse_definition(text)
    return text


def sample(value: object) -> bytes:
    """Read an event in a tenant's own fields. Raises InvalidInput when it has none."""
    text = object_json(value)
    if not read_source(text).fields:
        raise InvalidInput("required", "has no fields: there is nothing to make an event of")
    return text


def read_format(fields: Fields) -> NewFormat:
    """Read the body of `POST /api/usage/formats`."""
    return NewFormat(
        name=fields.required(values.name, "name"),
        definition=fields.required(definition, "fields"),
    )


def read_format_change(fields: Fields) -> NewFormat:
    """Read the body of `PUT /api/usage/formats/<format_ref>`: GET's answer is one."""
    fields.ignore("format_ref", "is_default", "created_at", "updated_at")
    return read_format(fields)


def read_sample(fields: Fields) -> bytes:
    """Read the body of `POST /api/usage/formats/<format_ref>/try`."""
    return fields.required(sample, "event")
