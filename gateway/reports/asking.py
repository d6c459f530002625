"""What a report is asked for: a customer's events between two instants, perhaps of one meter."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from gateway.manage import values
from gateway.manage.body import Fields
from runtime.postgres import Connection, Queries
from schemas.errors import InvalidInput, NotFound
from schemas.event_ref import (
    MONTHS,
    TIMESTAMP_MIN_MICROS,
    month_bounds,
    month_index,
    month_of,
    shard_key,
    with_month,
)

queries: Final = Queries.beside(__file__)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICRO: Final = timedelta(microseconds=1)
_EARLIEST: Final = EPOCH + TIMESTAMP_MIN_MICROS * MICRO
_LATEST: Final = datetime(2300, 1, 1, tzinfo=UTC)


class Asked(Struct, frozen=True):
    """Whose events, of which meter if not of all, and from when until before when."""

    customer_ref: UUID
    usage_product_ref: UUID | None
    start: datetime
    end: datetime

    @property
    def shard_key(self) -> int:
        """The place of the customer's rows."""
        return shard_key(str(self.customer_ref))

    def refs(self) -> tuple[UUID, UUID]:
        """Return the bounds of the refs of events between the two instants, both exclusive."""
        return refs_between(self.start, self.end)


def refs_between(start: datetime, end: datetime) -> tuple[UUID, UUID]:
    """Return the bounds of the refs of events from one instant until another, both exclusive.

    An event's ref holds the month of its timestamp.
    """
    last = max(end - MICRO, start)
    return month_bounds(_month(start))[0], month_bounds(_month(last))[1]


def _month(instant: datetime) -> int:
    return month_index((instant - EPOCH) // MICRO)


def read_asked(fields: Fields) -> Asked:
    """Read the part of a query that every report has."""
    start = fields.optional(_instant, "from") or _EARLIEST
    end = fields.optional(_instant, "to") or _LATEST
    if end < start:
        fields.add("dates_crossed", "must not be before `from`", "to")
    return Asked(
        customer_ref=fields.required(values.ref, "customer_ref"),
        usage_product_ref=fields.optional(values.ref, "usage_product_ref"),
        start=start,
        end=end,
    )


def _instant(value: object) -> datetime:
    """Read a time with an offset, or a day, which stands for its first instant in UTC."""
    when = values.instant(value)
    if not _EARLIEST <= when <= _LATEST:
        raise InvalidInput("date_out_of_range", f"must be from {_EARLIEST} to {_LATEST}")
    return when


def names_of(event_ref: UUID) -> list[UUID]:
    """Return the refs under which an event may be known: the ref, and a month to either side."""
    month = month_of(event_ref.int)
    months = [m for m in (month, month - 1, month + 1) if 0 <= m < MONTHS]
    return [UUID(int=with_month(event_ref.int, m)) for m in months]


class Found(Struct, frozen=True):
    """The rows that a report names: the customer's id, and the meter's if it names one."""

    customer_id: int
    meter_id: int | None


async def find_named(connection: Connection, tenant_id: int, asked: Asked) -> Found:
    """Find what a report names.

    Raises InvalidInput when the tenant has no such thing.
    """
    place = (tenant_id, asked.shard_key, asked.customer_ref)
    customer_id = await connection.fetchval(queries.find_customer, *place)
    if customer_id is None:
        raise InvalidInput("customer_unknown", "names no customer of yours", "/customer_ref")
    if asked.usage_product_ref is None:
        return Found(customer_id, None)
    meter_id = await connection.fetchval(queries.find_meter_id, tenant_id, asked.usage_product_ref)
    if meter_id is None:
        detail = "names no usage product of yours"
        raise InvalidInput("usage_product_unknown", detail, "/usage_product_ref")
    return Found(customer_id, meter_id)


async def check_not_archived(connection: Connection, start: datetime, remedy: str = "ask") -> None:
    """Refuse to read events some of which have left: a part would pass for the whole."""
    first_month = await connection.fetchval(queries.first_month)
    if _month(start) < first_month:
        since = f"{2000 + first_month // 12}-{first_month % 12 + 1:02}-01"
        detail = f"earlier events are in an archive: {remedy} from {since} on"
        raise InvalidInput("month_archived", detail, "/from")


async def unknown_event(connection: Connection, event_ref: UUID) -> NotFound:
    """Return what to say of an event that isn't there."""
    first_month = await connection.fetchval(queries.first_month)
    if month_of(event_ref.int) < first_month:
        return NotFound("event_archived", f"the event {event_ref} is in an archive, if it is one")
    return NotFound("event_unknown", f"there is no event {event_ref}, or it is not rated yet")


def cursor_of(event_ref: UUID) -> str:
    """Write the ref behind which the next page begins."""
    return urlsafe_b64encode(event_ref.bytes).decode().rstrip("=")


def read_cursor(value: object) -> UUID:
    """Read what `cursor_of` wrote. Raises InvalidInput."""
    text = str(value)
    try:
        return UUID(bytes=urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        detail = "must be a next_cursor of an earlier answer"
        raise InvalidInput("cursor_malformed", detail) from None
