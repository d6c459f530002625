"""The bounds of a client: everything that may wait, grow or be repeated has one."""

from typing import Annotated

from msgspec import Meta, Struct

_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=1)]


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may use, and how patient it is. The defaults suit a busy producer.

    >>> Limits(requests_at_once=1).batch_events  # one request at a time keeps the order of events
    1000
    """

    #: Events of one request.
    batch_events: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    #: Bytes of one request, unless a single event is larger.
    batch_bytes: _Count = 1024 * 1024
    #: A request of at least so many bytes is sent as gzip; None: none is.
    gzip_bytes_min: _Count | None = 1024
    #: Requests under way.
    requests_at_once: Annotated[int, Meta(ge=1, le=64)] = 4
    #: Events that are handed in and have no outcome yet.
    queue_events: _Count = 20_000
    #: Bytes of them.
    queue_bytes: _Count = 32 * 1024 * 1024
    #: How long an event may go without an acknowledgement before its outcome is Unknown.
    deadline_seconds: _Positive = 300.0
    #: How long one request may take.
    request_seconds: _Positive = 30.0
    #: How long a connection may take to be made.
    connect_seconds: _Positive = 10.0
    #: The first wait before a further try is between nothing and this; it doubles with each try.
    backoff_seconds: _Positive = 0.25
    #: No wait is longer, but for what the server asks for.
    backoff_seconds_max: _Positive = 20.0
    #: How long `close` waits for what is under way.
    close_seconds: _Positive = 60.0
