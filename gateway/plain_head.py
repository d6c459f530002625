"""Recognises the plain requests for the ingest routes by their heads, and nothing else.

A head is plain when it can be read in one way only: each line `name: value` in visible ASCII, one
Host, one Content-Length, no coding, no upgrade, nothing to wait for. What isn't plain may be right
all the same, and is aiohttp's to judge: this reader is never more lenient than that one.

A client repeats its head with every request, so a head that was read is remembered.
"""

import re
from typing import Final

import msgspec

from gateway.ingest.events import Options
from gateway.ingest.parsing import EVENT_BODY_BYTES_MAX, EVENTS_BODY_BYTES_MAX

HEAD_BYTES_MAX: Final = 8_190
"""A longer head is not plain."""

REMEMBERED_MAX: Final = 4_096
REMEMBERED_BYTES_MAX: Final = 2_048

EVENT_PATH: Final = "/api/usage/event"
PREFIX: Final = b"POST /api/usage/event"
"""How every plain head begins."""

_VERSION: Final = b"V0"

_match: Final = re.compile(
    rb"POST /api/usage/event(s?)/? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]{1,64}:[\t\x20-\x7e]*\r\n){1,100})\r\n"
).fullmatch
_is_length: Final = re.compile(rb"[0-9]{1,8}").fullmatch
_is_request_id: Final = re.compile(rb"[!-~]{1,128}").fullmatch

_TELLING: Final = frozenset(
    {
        b"connection", b"content-encoding", b"content-range", b"cookie", b"expect",
        b"http2-settings", b"keep-alive", b"origin", b"prefer", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""Headers that change what a request means, or may: with them it is not plain."""

_is_plain_type: Final = re.compile(
    rb"(application/(json|octet-stream|x-www-form-urlencoded)|text/plain)(; ?charset=utf-8)?",
    re.IGNORECASE,
).fullmatch
"""What clients call JSON; that the body is JSON is seen by its first byte."""

_KEEP_ALIVE: Final = (b"connection", b"keep-alive")

_READ: Final = frozenset(
    {
        b"host", b"content-length", b"authorization", b"version", b"idempotency-key",
        b"x-request-id", b"content-type",
    }
)  # fmt: skip
"""Headers whose value is used; sent twice, they have no one meaning."""


ParsedHeaders = tuple[tuple[bytes, bytes], ...]
"""Names and values, in the order in which they came."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """A plain head. length: of the body, in bytes. request_id: the client's own, if sane."""

    is_bulk: bool
    length: int
    authorization: str
    request_id: str | None
    options: Options


class Heads:
    """Reads heads, and remembers them."""

    def __init__(self) -> None:
        self._remembered: dict[bytes | ParsedHeaders, Head] = {}

    def read(self, head: bytes) -> Head | None:
        """Read a head with the empty line at its end; None when it is not plain."""
        found = self._remembered.get(head)
        return self._learn(head, head) if found is None else found

    def read_parsed(self, headers: ParsedHeaders) -> Head | None:
        """Read the headers of a request for one event, as a parser has them."""
        found = self._remembered.get(headers)
        if found is not None:
            return found
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._learn(headers, b"%b HTTP/1.1\r\n%b\r\n" % (PREFIX, lines))

    def _learn(self, key: bytes | ParsedHeaders, head: bytes) -> Head | None:
        found = read_head(head)
        if found is not None and len(head) <= REMEMBERED_BYTES_MAX:
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[key] = found
        return found


def read_head(head: bytes) -> Head | None:
    """Read a head with the empty line at its end; None when it is not plain."""
    matched = _match(head) if len(head) <= HEAD_BYTES_MAX else None
    if matched is None:
        return None
    fields = _fields(matched[2])
    if fields is None or fields.get(b"version") != _VERSION or b"host" not in fields:
        return None
    is_bulk = bool(matched[1])
    length = fields.get(b"content-length", b"")
    authorization = fields.get(b"authorization", b"")
    if not _is_length(length) or not authorization.startswith(b"Bearer "):
        return None
    if int(length) > (EVENTS_BODY_BYTES_MAX if is_bulk else EVENT_BODY_BYTES_MAX):
        return None
    key = fields.get(b"idempotency-key")
    request_id = fields.get(b"x-request-id", b"")
    media_type = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return Head(
        is_bulk=is_bulk,
        length=int(length),
        authorization=authorization.decode("ascii"),
        request_id=request_id.decode("ascii")
        if request_id and _is_request_id(request_id)
        else None,
        options=Options(
            key=None if key is None else key.decode("ascii"), media_type=media_type.decode("ascii")
        ),
    )


def _fields(lines: bytes) -> dict[bytes, bytes] | None:
    """Return the headers by lower-case name; None when one of them makes a request not plain."""
    fields: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        if name in fields and name in _READ:
            return None
        if name in _TELLING and (name, value.lower()) != _KEEP_ALIVE:
            return None
        if name == b"content-type" and not _is_plain_type(value):
            return None
        fields[name] = value
    return fields
