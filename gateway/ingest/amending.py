"""Reads what an event shall be changed to: the body of an update, as leniently as events' own."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Raw

from gateway.ingest.forms import form_to_json, is_json
from gateway.ingest.parsing import object_of_text
from schemas.additional_data import refuse_duplicate_keys
from schemas.amendment import CHANGEABLE, UPDATE_READERS
from schemas.errors import InvalidInput, NotFound, Problem
from schemas.event_ref import canonical_ref
from schemas.usage_event import UNREADABLE, explain, pointer_to, read_text, unknown_field


class UpdateFields(msgspec.Struct):
    """The fields of an update. Those that are left out, null or empty stay as they are."""

    event_ref: str
    timestamp: str | None = None
    quantity: Raw | None = None
    additional_report_data: Raw | None = None
    note: str | None = None


class Change(msgspec.Struct, frozen=True):
    """What shall be different about an event. None stays.

    timestamp: as sent. quantity: as sent, JSON. additional_data: a JSON object, as sent.
    note: what is said about it.
    """

    timestamp: str | None = None
    quantity: str | None = None
    additional_data: str | None = None
    note: str | None = None

    @property
    def has_something(self) -> bool:
        """Tell whether anything changes; a note alone changes nothing."""
        return not (self.timestamp is self.quantity is self.additional_data is None)


_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_EMPTY: Final = frozenset({b"null", b'""'})


def parse_update(body: bytes, *, is_strict: bool) -> tuple[UUID, Change, list[Problem]]:
    """Read the body of an update, JSON or a form: the event's ref, the change, and warnings.

    is_strict: unknown fields are refused and not just warned of.
    Raises InvalidInput, which lists every wrong field; NotFound for a ref that is none.
    """
    fields = _fields_of(body if is_json(body) else form_to_json(body))
    warnings = [
        Problem("unknown_field", unknown_field(name, UPDATE_READERS), pointer_to(name))
        for name in fields
        if name not in UPDATE_READERS
    ]
    if is_strict and warnings:
        raise InvalidInput("unknown_field_strict", warnings[0].detail, warnings[0].pointer)
    known = {
        name: raw
        for name, raw in fields.items()
        if name in UPDATE_READERS and bytes(raw) not in _EMPTY
    }
    if "additional_report_data" in known:
        known["additional_report_data"] = object_of_text(known["additional_report_data"])
    event_ref = _event_ref(known)
    _check(known)
    if not any(name in known for name in CHANGEABLE):
        raise nothing_to_change()
    return event_ref, _change(known), warnings


def _fields_of(body: bytes) -> dict[str, Raw]:
    try:
        fields = _decode_object(body)
        refuse_duplicate_keys(body)
    except UNREADABLE as error:
        raise explain(body, UPDATE_READERS, ("event_ref",)) from error
    return fields


def _event_ref(known: Mapping[str, Raw]) -> UUID:
    """Return the ref of the event. Raises InvalidInput without one, NotFound for nonsense."""
    if "event_ref" not in known:
        raise InvalidInput("required", "is missing", "/event_ref")
    try:
        return UUID(canonical_ref(read_text(known["event_ref"])))
    except InvalidInput:
        raise NotFound("event_unknown", "there is no event with such an event_ref") from None


def _check(known: Mapping[str, Raw]) -> None:
    """Raise InvalidInput with everything that is wrong in single fields."""
    problems = []
    for name, raw in known.items():
        try:
            UPDATE_READERS[name](raw)
        except InvalidInput as error:
            problems.append(Problem(error.code, error.detail, pointer_to(name)))
        except (ValueError, RecursionError):
            problems.append(Problem("value_malformed", "can't be read", pointer_to(name)))
    if problems:
        raise InvalidInput.of(problems)


def nothing_to_change() -> InvalidInput:
    """Return the error of an update that would change nothing."""
    detail = "is missing: send at least one of the fields that are to change"
    return InvalidInput.of(
        [Problem("nothing_to_change", detail, pointer_to(name)) for name in CHANGEABLE]
    )


def _change(known: Mapping[str, Raw]) -> Change:
    texts = {name: bytes(raw).decode() for name, raw in known.items()}
    timestamp, note = (
        read_text(known[name]) if name in known else None for name in ("timestamp", "note")
    )
    return Change(timestamp, texts.get("quantity"), texts.get("additional_report_data"), note)
