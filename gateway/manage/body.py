"""Reads a management body: JSON into fields, fields into values, every wrong one named at once.

A body is lenient in what clients of such APIs send (scalars as text, JSON text for an object,
several names for a field) and strict in what it means: numbers keep their digits, a key that
comes twice or a character U+0000 is refused. Nothing is guessed.

A reader is a function `object -> value` that raises InvalidInput; `Fields` asks for the fields of
one object by name and turns what readers raise into problems with pointers. What is wrong comes
out as some stand-in, so that the rest is read too; `Body.finish` raises before it can be used.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn, TypeVar, cast

import msgspec

from gateway.ingest.forms import form_to_json, is_json
from schemas.additional_data import refuse_duplicate_keys
from schemas.errors import InvalidInput, Problem
from schemas.usage_event import unknown_field

LIST_LENGTH_MAX: Final = 1_000
"""The most entries a list in a body may have."""

PROBLEMS_MAX: Final = 100
"""The most problems one answer lists."""

T = TypeVar("T")
Read = Callable[[object], T]


class JsonNumber(str):
    """A fraction as it was written in JSON, every digit kept."""

    __slots__ = ()


_decode: Final = msgspec.json.Decoder(float_hook=JsonNumber).decode
_ABSENT: Final = (None, "")


def _malformed(detail: str) -> NoReturn:
    raise InvalidInput("json_malformed", detail)


def parse_object(body: bytes) -> dict[str, object]:
    """Decode a body that has to be a JSON object or a form; an empty one stands for `{}`.

    Raises InvalidInput as `parse_json` does, and `body_malformed`.
    """
    if not body.strip():
        return {}
    value = parse_json(body if is_json(body) else form_to_json(body))
    if not isinstance(value, dict):
        _malformed("must be a JSON object")
    return value


def parse_json(body: bytes) -> object:
    """Decode JSON exactly: whole numbers as int, others as JsonNumber.

    Raises InvalidInput: `json_malformed`, `json_too_deep`, `json_duplicate_key`.
    """
    try:
        value = _decode(body)
        refuse_duplicate_keys(body)
    except InvalidInput:
        raise
    except RecursionError:
        raise InvalidInput("json_too_deep", "has too many levels") from None
    except ValueError as error:  # the decoders' errors are ValueErrors
        _malformed(f"must be JSON in UTF-8: {error}"[:200])
    return value


class Body:
    """One request's body, or its query: the outermost object, and what was found reading it."""

    def __init__(self, values: Mapping[str, object], *, unknown_code: str | None) -> None:
        """Start to read a decoded object.

        unknown_code: of the problem that a field is which nobody asks for; None makes it a mere
        warning.
        """
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._unknown_code = unknown_code
        self._objects: list[Fields] = []
        self.fields = self.object(values, "")

    def over(self, values: Mapping[str, object]) -> "Body":
        """Start to read another object in the place of this one, as strictly."""
        return Body(values, unknown_code=self._unknown_code)

    def object(self, values: Mapping[str, object], pointer: str) -> "Fields":
        """Start to read an object of the body."""
        fields = Fields(self, values, pointer)
        self._objects.append(fields)
        return fields

    def add(self, code: str, detail: str, pointer: str) -> None:
        """Note that something is wrong."""
        self.problems.append(Problem(code, detail, pointer))

    def check(self, pointer: str, rule: Callable[[], T]) -> T | None:
        """Apply a rule over several fields; what it raises becomes a problem at the pointer."""
        try:
            return rule()
        except InvalidInput as error:
            for problem in error.problems:
                self.add(problem.code, problem.detail, pointer + problem.pointer)
            return None

    def finish(self) -> list[Problem]:
        """Raise InvalidInput with every problem; return the warnings when there is none.

        Fields that no reader has asked for are unknown. Even there U+0000 is refused: the audit log
        keeps the whole body, and Postgres has no such character.
        """
        found = {problem.pointer for problem in self.problems}
        for pointer in null_pointers(self.fields.values, ""):
            if pointer not in found:
                self.add("null_character", "must not contain U+0000", pointer)
        code = self._unknown_code
        unknown = [p for fields in self._objects for p in fields.unknown(code or "unknown_field")]
        (self.warnings if code is None else self.problems).extend(unknown)
        self.refuse()
        return self.warnings

    def refuse(self) -> None:
        """Raise InvalidInput if anything has been found wrong so far."""
        if self.problems:
            raise InvalidInput.of(self.problems[:PROBLEMS_MAX])


class Fields:
    """One object of a body. null and an empty text count as left out."""

    def __init__(self, body: Body, values: Mapping[str, object], pointer: str) -> None:
        self.body = body
        self.pointer = pointer
        self.values = values
        self._asked: dict[str, None] = {}

    def at(self, name: str) -> str:
        """Return the JSON Pointer of a field."""
        return f"{self.pointer}/{name.replace('~', '~0').replace('/', '~1')}"

    def add(self, code: str, detail: str, name: str) -> None:
        """Note that a field is wrong."""
        self.body.add(code, detail, self.at(name))

    def warn(self, code: str, detail: str, name: str) -> None:
        """Note that a field is odd; it is taken all the same."""
        self.body.warnings.append(Problem(code, detail, self.at(name)))

    def check(self, name: str, rule: Callable[[], T]) -> T | None:
        """Apply a rule to a field that has been read; what it raises becomes its problem."""
        return self.body.check(self.at(name), rule)

    def _find(self, names: tuple[str, ...]) -> tuple[str, object]:
        """Return the first of several names of one field that is there, and its value."""
        self._asked.update(dict.fromkeys(names))
        for name in names:
            if self.values.get(name) not in _ABSENT:
                return name, self.values[name]
        return names[0], None

    def _find_json(self, names: tuple[str, ...]) -> tuple[str, object]:
        """Find a field that may hold JSON as text; a wrong text is noted and left out."""
        name, value = self._find(names)
        if not isinstance(value, str):
            return name, value
        text = value
        return name, self.check(name, lambda: _json_text(text))

    def has(self, *names: str) -> bool:
        """Tell whether a field is there."""
        return self._find(names)[1] is not None

    def optional(self, read: Read[T], *names: str) -> T | None:
        """Read a field that may be left out. names: its own, then its aliases."""
        name, value = self._find(names)
        if value is None:
            return None
        return self.body.check(self.at(name), lambda: read(value))

    def required(self, read: Read[T], *names: str) -> T:
        """Read a field that must be there; a stand-in when it is not, which `finish` keeps in."""
        name, value = self._find(names)
        if value is None:
            self.add("required", "is missing", name)
        return cast("T", self.optional(read, *names))

    def nested(self, *names: str) -> "Fields | None":
        """Read an object inside, or JSON text of one; None when it is left out or wrong."""
        name, value = self._find_json(names)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.add("type_object", "must be an object", name)
            return None
        return self.body.object(value, self.at(name))

    def each(self, name: str) -> "list[Fields] | None":
        """Read a list of objects; None when it is left out or wrong."""
        items = self.items(name)
        if items is None:
            return None
        wrong = [index for index, item in enumerate(items) if not isinstance(item, dict)]
        for index in wrong:
            self.body.add("type_object", "must be an object", f"{self.at(name)}/{index}")
        objects = [(index, item) for index, item in enumerate(items) if isinstance(item, dict)]
        return [self.body.object(item, f"{self.at(name)}/{index}") for index, item in objects]

    def items(self, name: str) -> list[Any] | None:
        """Read a list, or JSON text of one; None when it is left out or wrong."""
        _, value = self._find_json((name,))
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > LIST_LENGTH_MAX:
            self.add("type_list", f"must be a list of at most {LIST_LENGTH_MAX}", name)
            return None
        return value

    def not_yet(self, *names: str, unless: tuple[object, ...] = ()) -> None:
        """Refuse fields of the API that have no effect yet, unless they say what holds anyway."""
        for name in names:
            _, value = self._find((name,))
            if value is not None and value not in unless:
                self.add("not_supported_yet", "is not supported yet; leave it out", name)

    def ignore(self, *names: str) -> None:
        """Take no notice of fields that answers show and requests needn't repeat."""
        self._asked.update(dict.fromkeys(names))

    def unknown(self, code: str) -> list[Problem]:
        """Return a problem for each field that nobody has asked for, with the nearest known."""
        known = list(self._asked)
        return [
            Problem(code, unknown_field(name, known), self.at(name))
            for name in self.values
            if name not in self._asked
        ]


def null_pointers(value: object, pointer: str) -> Iterator[str]:
    """Yield the JSON Pointers of the texts in a decoded value, keys too, that hold U+0000."""
    if isinstance(value, str):
        if "\0" in value:
            yield pointer
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            at = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            yield from [at] if "\0" in key else null_pointers(inner, at)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from null_pointers(inner, f"{pointer}/{index}")


def _json_text(text: str) -> object:
    """Decode JSON that stands as text inside JSON."""
    try:
        return parse_json(text.encode())
    except InvalidInput:
        raise InvalidInput("type_object", "must be an object or a list") from None
