"""The JSON Schema of a body, taken from the very function that reads bodies of its kind.

The function is given fields that write down what it asks for. They are all missing, and a reader
goes on past what is missing, so that it asks for everything it would ever ask for.
"""

from collections.abc import Callable, Mapping
from inspect import getclosurevars
from typing import Any, Final, TypeVar, cast

from gateway.manage import registries, values
from gateway.manage.body import Body, Fields, Read
from gateway.openapi.operations import Reads
from gateway.openapi.words import LINE_ITEM, SCHEMAS, WORDS

T = TypeVar("T")
Schema = dict[str, Any]

DECIMAL: Final[Schema] = {"type": ["number", "string"]}
"""A number with all its digits, as JSON's number or as text."""

_DAY_OR_INSTANT: Final[Schema] = {
    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]
}

_READERS: Final[Mapping[object, Schema]] = {
    values.text: {"type": ["string", "integer"], "maxLength": values.TEXT_LENGTH_MAX},
    values.name: {"type": "string", "minLength": 1, "maxLength": 255},
    values.icon: {"type": "string", "maxLength": values.ICON_LENGTH_MAX},
    values.flag: {"enum": [True, False, "true", "false"]},
    values.ref: {"type": "string", "format": "uuid"},
    values.emails: {"type": "string", "examples": ["ap@northwind.example, cfo@northwind.example"]},
    values.currency: {"type": "string", "pattern": "^[A-Z]{3}$"},
    values.timezone: {"type": "string", "examples": ["Europe/Berlin"]},
    values.locale: {"type": "string", "examples": ["en-US"]},
    values.country: {"type": "string"},
    registries.iban: {"type": "string", "examples": ["GB29 NWBK 6016 1331 9268 19"]},
    registries.swift: {"type": "string", "examples": ["NWBKGB2L"]},
    values.fee: DECIMAL,
    values.number_format: {"type": "string", "examples": ["INV-{year}-{number:03}"]},
    values.plain_date: {"type": "string", "format": "date"},
    values.day_or_instant: _DAY_OR_INSTANT,
    values.instant: _DAY_OR_INSTANT,
}
"""What each reader of a single value takes."""


def _whole(least: int, most: int) -> Schema:
    return {"type": ["integer", "string"], "minimum": least, "maximum": most}


def _choice(known: tuple[str, ...], **_: object) -> Schema:
    return {"type": "string", "enum": list(known)}


def _percent(most: int) -> Schema:
    return {**DECIMAL, "minimum": 0, "maximum": most}


def _net_terms(words: tuple[str, ...], **_: object) -> Schema:
    days = {"type": "integer", "minimum": 1, "maximum": values.NET_DAYS_MAX}
    return {"anyOf": [days, {"type": "string", "examples": list(words)}]}


_FACTORIES: Final[Mapping[str, Callable[..., Schema]]] = {
    "whole": _whole,
    "choice": _choice,
    "percent": _percent,
    "net_terms": _net_terms,
}
"""Readers that are made to measure: their bounds are in what they close over."""


def schema_of_reader(read: Read[Any]) -> Schema:
    """Return what a reader of a single value takes; any text where nothing more is known."""
    known = _READERS.get(read)
    if known is not None:
        return dict(known)
    factory = _FACTORIES.get(read.__qualname__.partition(".")[0])
    if factory is None:
        return {"type": "string"}
    return factory(**getclosurevars(read).nonlocals)


class Recorder(Fields):
    """The fields of an object that holds nothing, and what was asked of them."""

    def __init__(self) -> None:
        super().__init__(Body({}, unknown_code=None), {"": None}, "")
        self.properties: dict[str, Schema | Recorder | list[Recorder]] = {}
        self.needed: list[str] = []

    def optional(self, read: Read[T], *names: str) -> T | None:
        """Write a field down; it is missing."""
        self.properties.setdefault(names[0], schema_of_reader(read))
        return None

    def required(self, read: Read[T], *names: str) -> T:
        """Write a field down that must be there; a stand-in for it."""
        self.needed.append(names[0])
        return cast("T", self.optional(read, *names))

    def has(self, *names: str) -> bool:
        """Write a field down that may have several forms."""
        self.properties.setdefault(names[0], {})
        return False

    def nested(self, *names: str) -> Fields:
        """Write an object down, and go on inside it."""
        inner = Recorder()
        self.properties[names[0]] = inner
        return inner

    def each(self, name: str) -> list[Fields]:
        """Write a list of objects down, and go on inside one of them."""
        inner = Recorder()
        self.properties[name] = [inner]
        return [inner]

    def items(self, name: str) -> list[Any] | None:
        """Write a list down."""
        self.properties[name] = {"type": "array"}
        return None

    def schema(self) -> Schema:
        """Return the JSON Schema of the object."""
        known = {name: described(name, _schema(part)) for name, part in self.properties.items()}
        shape: Schema = {"type": "object", "properties": known}
        return shape | ({"required": self.needed} if self.needed else {})


def _schema(part: "Schema | Recorder | list[Recorder]") -> Schema:
    if isinstance(part, Recorder):
        return part.schema()
    if isinstance(part, list):
        is_priced = "item" in part[0].properties  # prices are read by the models' own reader
        return {"type": "array", "items": LINE_ITEM if is_priced else part[0].schema()}
    return part


def described(name: str, schema: Schema) -> Schema:
    """Add what a field means, and its schema where its reader does not tell."""
    schema = schema | SCHEMAS.get(name, {})
    words = WORDS.get(name)
    return schema | {"description": words} if words else schema


def schema_of(reads: Reads) -> Schema:
    """Return the JSON Schema of the bodies, or of the queries, that a function reads."""
    recorder = Recorder()
    reads(recorder)
    return recorder.schema()
