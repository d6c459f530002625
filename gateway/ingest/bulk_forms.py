"""The forms in which many events come: a JSON array, NDJSON, CSV, CloudEvents.

Each is taken apart lazily into events as JSON, so that one after another is read and others get
their turn on the loop. What is wrong with one event stands in its place; what is wrong with the
whole is raised.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.ingest.cloudevents import read_cloudevent
from gateway.ingest.csv_form import split_csv
from gateway.ingest.parsing import EVENTS_MAX, split_array
from schemas.errors import InvalidInput

CLOUDEVENT: Final = "application/cloudevents+json"
CLOUDEVENTS: Final = "application/cloudevents-batch+json"
CSV: Final = frozenset({"text/csv", "application/csv"})

BULK_MEDIA: Final = (
    "application/json",
    "application/x-ndjson",
    "text/csv",
    CLOUDEVENT,
    CLOUDEVENTS,
)
"""What a body of many events may be."""

_BLANKS: Final = b" \t\r\n"
_lines_with_something: Final = re.compile(rb"[^ \t\r\n][^\n]*").finditer
"""Megabytes of blank lines are passed over in one go."""


class Elements(msgspec.Struct):
    """The events of a body, each as JSON or as what is wrong with it.

    prefix: of the JSON Pointers into an event.
    """

    events: Iterator[bytes | InvalidInput]
    prefix: str = ""


def split(body: bytes, media_type: str, *, has_own_fields: bool = False) -> Elements:
    """Take a body apart. media_type: in lower case, without parameters.

    has_own_fields: a format knows what the fields of the events mean.
    Raises InvalidInput, also while the events are iterated over.
    """
    first = body.lstrip(_BLANKS)[:1]
    if has_own_fields and media_type in (CLOUDEVENT, CLOUDEVENTS):
        detail = "CloudEvents hold the API's own fields: leave the format out"
        raise InvalidInput("media_type_unsupported", detail)
    if first == b"[":
        elements = _elements(body)
        if media_type == CLOUDEVENTS:
            return Elements(map(read_cloudevent, elements), "/data")
        return Elements(elements)
    if first == b"{" and media_type == CLOUDEVENT:
        return Elements(iter((read_cloudevent(body),)), "/data")
    if first == b"{":
        return Elements(_lines(body))
    if media_type in CSV:
        return Elements(split_csv(body, has_own_fields=has_own_fields))
    detail = "must be a JSON array, JSON objects line by line, CSV (text/csv) or CloudEvents"
    raise InvalidInput("media_type_unsupported", detail)


def _elements(body: bytes) -> Iterator[bytes]:
    """Yield the elements of a JSON array, which is taken apart at the first of them."""
    yield from map(bytes, split_array(body))


def _lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines of NDJSON; blank ones don't count."""
    for count, line in enumerate(_lines_with_something(body)):
        if count == EVENTS_MAX:
            raise InvalidInput("too_many_events", f"must have at most {EVENTS_MAX} events")
        yield line[0].rstrip(_BLANKS)
