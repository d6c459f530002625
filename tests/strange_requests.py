"""Strange requests to the routes that take events, from a seed: every form, coding and fault.

A request that was not broken on purpose carries what its events mean, so that a test can compare
what is stored with what was said.
"""

import gzip
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import cramjam

Event = dict[str, object]

SINGLE, MANY = "/api/usage/event", "/api/usage/events"

_QUANTITIES: Final[Sequence[object]] = (
    *(0, -1, 1.5, 10**20 - 1, 10**20, 10**40, "1e2", "1E-18", "1e-19", "-0", "-0.0", "1.50"),
    *("12345678901234567890.123456789012345678", "NaN", "Infinity", "-Infinity", "1e400"),
    *("", " 1", "1 ", "0x1", "1_0", "\u0661", "+1", ".5", "1.", "01", None, True, [], {}, [1]),
)
_TIMES: Final[Sequence[object]] = (
    *("2024-02-05T12:00:00Z", "2024-02-05t12:00:00z", "2024-02-05 12:00:00+02:00"),
    *("2024-02-05T12:00:00.123456789Z", "2024-02-29T00:00:00-23:59", "2000-01-01T00:00:00Z"),
    *("1999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2023-02-29T00:00Z"),
    *("2024-02-05T12:00:00", "2024-06-30T23:59:60Z", "2024-W05-1", "", "now", 1707134400, None),
)
_TEXTS: Final[Sequence[object]] = (
    *("k", "", "a" * 255, "a" * 256, "a\x1fb", "a\x1fb\x1fc", "\x1f", "a\0b", "e\u0301", "\u00e9"),
    *("\u202eabc", "\ufeff", "\U0001f600", 'a"b', "a\\b", "a,b", "a\nb", "=1+1", None, 7, []),
)
_DATA: Final[Sequence[object]] = (
    *({}, {"a": 1}, {"a": 1.5e300}, {"a": 10**120}, {"": 1}, {"a\0": 1}, {"a": "\0"}, [], "text"),
    *('{"a": 1}', '{"a": 1, "a": 2}', {"a": {"b": [None, True, {"c": "\u00e9"}]}}, None, 7),
    json.loads('{"a":' * 20 + "1" + "}" * 20),
)
_CODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": lambda body: bytes(cramjam.zstd.compress(body)),
    "br": bytes,
}


@dataclass(frozen=True)
class StrangeRequest:
    """A request. meant: the events of a body that was not broken, None for one that was."""

    path: str
    body: bytes
    headers: dict[str, str]
    meant: list[Event] | None


def strange_request(chance: random.Random, good: Event) -> StrangeRequest:
    """Make one request from a good event."""
    events = [_strange_event(chance, good) for _ in range(chance.choice((1, 1, 1, 2, 5)))]
    write = chance.choice(_FORMS)
    path, media_type, body, meant = write(events)
    coding = chance.choice(("identity", "identity", "gzip", "zstd", "br"))
    headers = {"Content-Type": media_type}
    is_whole = True
    if chance.random() < 0.3:
        body, is_whole = _broken(chance, body), False
    body = _CODINGS[coding](body)
    if coding != "identity":
        headers["Content-Encoding"] = coding
        if chance.random() < 0.1:
            body, is_whole = _broken(chance, body), False
    if chance.random() < 0.1:
        headers["Content-Type"], is_whole = chance.choice(("", "text/plain", "a/b;c")), False
    return StrangeRequest(path, body, headers, meant if is_whole else None)


def _strange_event(chance: random.Random, good: Event) -> Event:
    event = dict(good)
    pools = {
        "quantity": _QUANTITIES,
        "timestamp": _TIMES,
        "idempotency_key": _TEXTS,
        "additional_report_data": _DATA,
        "customer_name": _TEXTS,
        "customer_ref": (good["customer_ref"], str(good["customer_ref"]).upper(), "", None, 7),
    }
    for name in chance.sample(list(pools), chance.choice((0, 1, 1, 2, 3))):
        event[name] = chance.choice(pools[name])
    if chance.random() < 0.1:
        event.pop(chance.choice(list(event)))
    return event


def _broken(chance: random.Random, body: bytes) -> bytes:
    """Cut, repeat, insert or change some bytes."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(body) + 1)
        to = min(len(body), at + chance.choice((1, 1, 2, 8, 64)))
        patch = chance.choice(
            (b"", body[at:to] * 2, chance.randbytes(1), b'"', b"{", b"\xff", b",")
        )
        body = body[:at] + patch + body[to:]
    return body


Written = tuple[str, str, bytes, list[Event]]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _json(events: list[Event]) -> Written:
    return SINGLE, "application/json", json.dumps(events[0]).encode(), events[:1]


def _form(events: list[Event]) -> Written:
    fields = {name: _text(value) for name, value in events[0].items() if value is not None}
    return SINGLE, "application/x-www-form-urlencoded", urlencode(fields).encode(), [dict(fields)]


def _array(events: list[Event]) -> Written:
    return MANY, "application/json", json.dumps(events).encode(), events


def _lines(events: list[Event]) -> Written:
    lines = "\n".join(json.dumps(event) for event in events)
    return MANY, "application/x-ndjson", lines.encode(), events


def _csv(events: list[Event]) -> Written:
    names = sorted({name for event in events for name in event})
    rows = [names, *([_cell(event.get(name)) for name in names] for event in events)]
    body = "\r\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)
    meant: list[Event] = [
        {name: _text(value) for name, value in event.items() if _cell(value)} for event in events
    ]
    return MANY, "text/csv", body.encode(), meant


def _cell(value: object) -> str:
    return "" if value is None else _text(value).replace('"', '""')


def _cloudevents(events: list[Event]) -> Written:
    wrapped = []
    meant = []
    for number, event in enumerate(events):
        data = {name: value for name, value in event.items() if name != "idempotency_key"}
        ids = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}
        wrapped.append(ids | {"data": data})
        meant.append(data | {"idempotency_key": f"/s\x1f{number}"})
    body = json.dumps(wrapped).encode()
    return MANY, "application/cloudevents-batch+json", body, meant


_FORMS: Final = (_json, _form, _array, _lines, _csv, _cloudevents)
