"""The definition of a format: JSON that says rule by rule where an event's fields come from.

{"timestamp": {"path": "Datum", "date_format": "dd.MM.yyyy HH:mm", "timezone": "Europe/Berlin"},
 "customer_ref": {"expression": "customer_by('external_id', Kunde)"},
 "usage_product_name": {"constant": "Electricity"},
 "quantity": {"path": "Wh", "factor": "0.001"},
 "additional_report_data": {"keys": {"region": {"path": "site.region"}}, "rest": true}}
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Final, TypeVar
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from msgspec import Raw

from schemas.additional_data import check_name, refuse_duplicate_keys
from schemas.errors import InvalidInput, Problem
from schemas.expression import Expression, parse_number, parse_path
from schemas.formats import DATA, LOOK_UPS, TARGETS, Format, Rule
from schemas.formats_dates import ISO, DateFormat
from schemas.formats_source import NOTHING
from schemas.usage_event import pointer_to, unknown_field

DEFINITION_BYTES_MAX: Final = 32 * 1024
DATA_KEYS_MAX: Final = 100

DEFAULT_DEFINITION: Final[Mapping[str, Mapping[str, str]]] = {
    name: {"path": name} for name in TARGETS
}
"""What the format of every tenant amounts to: the fields of an event, as they are."""

_KINDS: Final = ("path", "constant", "expression")
_NEEDED: Final = (
    ("timestamp",),
    ("customer_ref", "customer_name"),
    ("usage_product_ref", "usage_product_name"),
    ("quantity",),
)

_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode

T = TypeVar("T")
_Object = Mapping[str, Raw]


@lru_cache(maxsize=1)
def default_format() -> Format:
    """Return the rules that take the fields of an event as they are."""
    return parse_definition(msgspec.json.encode(DEFAULT_DEFINITION))


def parse_definition(definition: bytes) -> Format:
    """Read a format's definition.

    Raises InvalidInput that lists everything wrong, with pointers into the definition.
    """
    if len(definition) > DEFINITION_BYTES_MAX:
        detail = f"must have at most {DEFINITION_BYTES_MAX} bytes"
        raise InvalidInput("format_too_large", detail)
    reader = _Reader()
    fields = reader.object(Raw(definition), "", TARGETS)
    if fields is None:
        raise InvalidInput.of(reader.problems)
    rules = {
        name: reader.rule(raw, pointer_to(name), name)
        for name, raw in fields.items()
        if name in TARGETS and name != DATA
    }
    data, has_rest = reader.data(fields.get(DATA), rules)
    reader.need(fields)
    if reader.problems:
        raise InvalidInput.of(reader.problems)
    return Format({name: rule for name, rule in rules.items() if rule}, data, has_rest)


class _Reader:
    """Reads the parts of a definition; what is wrong is noted, and the rest read on."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, code: str, detail: str, pointer: str) -> None:
        self.problems.append(Problem(code, detail, pointer))

    def check(self, pointer: str, read: Callable[[], T]) -> T | None:
        """Read something; what it raises becomes a problem at the pointer."""
        try:
            return read()
        except InvalidInput as error:
            for problem in error.problems:
                self.add(problem.code, problem.detail, pointer + problem.pointer)
        except (ValueError, RecursionError):
            self.add("type_object", "must be an object", pointer)
        return None

    def object(self, raw: Raw, pointer: str, known: tuple[str, ...]) -> _Object | None:
        """Read an object whose fields are known, each once; None when it is none.

        A field that is null counts as left out.
        """

        def read() -> _Object:
            fields = _decode_object(raw)
            refuse_duplicate_keys(bytes(raw))
            return fields

        fields = self.check(pointer, read)
        if fields is None:
            return None
        for name in fields:
            if known and name not in known:
                self.add("unknown_field", unknown_field(name, known), pointer + pointer_to(name))
        return {name: value for name, value in fields.items() if bytes(value) not in NOTHING}

    def need(self, fields: _Object) -> None:
        """Refuse a definition that can't give an event."""
        for names in _NEEDED:
            if not any(name in fields for name in names):
                detail = f"is missing: say where {' or '.join(names)} comes from"
                self.add("required", detail, pointer_to(names[0]))

    def rule(self, raw: Raw, pointer: str, target: str) -> Rule | None:
        """Read one rule, None when it is wrong."""
        known = (*_KINDS, *_CONVERSIONS.get(target, ()))
        fields = self.object(raw, pointer, known)
        if fields is None:
            return None
        if sum(kind in fields for kind in _KINDS) != 1:
            self.add("rule_malformed", f"needs exactly one of {', '.join(_KINDS)}", pointer)
            return None
        before = len(self.problems)
        rule = Rule(
            path=self._text(fields, pointer, "path", parse_path),
            constant=fields.get("constant"),
            expression=self._text(fields, pointer, "expression", _expression),
            date=self._date(fields, pointer) if target == "timestamp" else None,
            factor=self.check(pointer + "/factor", lambda: _factor(fields.get("factor"))),
        )
        return rule if len(self.problems) == before else None

    def _text(self, fields: _Object, pointer: str, name: str, read: Callable[[str], T]) -> T | None:
        raw = fields.get(name)
        if raw is None:
            return None
        return self.check(pointer + pointer_to(name), lambda: read(_text(raw)))

    def _date(self, fields: _Object, pointer: str) -> DateFormat | None:
        zone = self._text(fields, pointer, "timezone", _zone)
        name = self._text(fields, pointer, "date_format", str)
        if name is None and zone is None:
            return None
        return self.check(pointer, lambda: DateFormat.parse(name or ISO, zone))

    def data(
        self, raw: Raw | None, rules: dict[str, Rule | None]
    ) -> tuple[Mapping[str, Rule], bool]:
        """Read the rule of the whole of the additional data into `rules`, or those of its keys."""
        pointer = pointer_to(DATA)
        if raw is None:
            return {}, False
        fields = self.object(raw, pointer, (*_KINDS, "keys", "rest"))
        if fields is None:
            return {}, False
        if "keys" not in fields and "rest" not in fields:
            rules[DATA] = self.rule(raw, pointer, DATA)
            return {}, False
        if any(kind in fields for kind in _KINDS):
            detail = f"needs keys or rest, or exactly one of {', '.join(_KINDS)}"
            self.add("rule_malformed", detail, pointer)
        has_rest = self.check(pointer + "/rest", lambda: _flag(fields.get("rest")))
        keys = self.object(fields.get("keys", Raw(b"{}")), pointer + "/keys", ()) or {}
        if len(keys) > DATA_KEYS_MAX:
            self.add("format_too_large", f"at most {DATA_KEYS_MAX} keys", pointer + "/keys")
            return {}, False
        found = {key: self._key(key, keys[key], pointer + "/keys") for key in keys}
        return {key: rule for key, rule in found.items() if rule}, bool(has_rest)

    def _key(self, key: str, raw: Raw, pointer: str) -> Rule | None:
        pointer += pointer_to(key)
        self.check(pointer, lambda: check_name(key))
        return self.rule(raw, pointer, "quantity")  # as free as a quantity: a factor may apply


_CONVERSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp": ("date_format", "timezone"),
    "quantity": ("factor",),
}
"""What may be done with the value of a field."""


def _text(raw: Raw) -> str:
    try:
        return _decode_text(raw)
    except msgspec.ValidationError:
        raise InvalidInput("type_string", "must be a text") from None


def _expression(text: str) -> Expression:
    return Expression.parse(text, look_ups=LOOK_UPS)


def _factor(raw: Raw | None) -> Fraction | None:
    """Read a factor, a number or a number as text. Raises InvalidInput."""
    if raw is None:
        return None
    text = bytes(raw)
    number = parse_number(_text(raw) if text[:1] == b'"' else text.decode())
    if not number:
        raise InvalidInput("number_malformed", "must be a decimal number other than zero")
    return number


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """Return the names that are the same on every machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _zone(name: str) -> ZoneInfo:
    if name not in _zones():
        raise InvalidInput("timezone_unknown", "is no time zone such as Europe/Berlin")
    return ZoneInfo(name)


def _flag(raw: Raw | None) -> bool:
    if raw is not None and bytes(raw) not in (b"true", b"false"):
        raise InvalidInput("flag_malformed", "must be true or false")
    return raw is not None and bytes(raw) == b"true"
