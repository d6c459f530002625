"""The Python client: hands usage events in so that each is billed exactly once.

    from meterline_client import Client

    with Client("http://127.0.0.1:8080", "my-key", "my-password") as client:
        report = client.send_many(events)
    assert report.is_good, report.failures

`Client` is for threads, `AsyncClient` for asyncio; they do the same.
"""

from meterline_client.aio import AsyncClient
from meterline_client.blocking import Client
from meterline_client.delivery import Delivery
from meterline_client.errors import (
    ClientClosed,
    ClientError,
    EventError,
    LoginFailed,
    QueueFull,
    RequestRefused,
    Unavailable,
)
from meterline_client.events import EncodedEvent, Event, encode_event
from meterline_client.limits import Limits
from meterline_client.names import Names
from meterline_client.outcomes import (
    Accepted,
    Counts,
    Outcome,
    Receipt,
    Rejected,
    Report,
    Unknown,
)
from meterline_client.stream import Item

__all__ = [
    "Accepted",
    "AsyncClient",
    "Client",
    "ClientClosed",
    "ClientError",
    "Counts",
    "Delivery",
    "EncodedEvent",
    "Event",
    "EventError",
    "Item",
    "Limits",
    "LoginFailed",
    "Names",
    "Outcome",
    "QueueFull",
    "Receipt",
    "Rejected",
    "Report",
    "RequestRefused",
    "Unavailable",
    "Unknown",
    "encode_event",
]
