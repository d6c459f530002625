"""The events behind the lines of a document: how they are found, and how people read them. Pure.

Gateway and invoicer read them by the same statements, `sql/line_usage.sql`, a page at a time:
`page_arguments` says what of, `counting` which rows count, `next_after` where the next page begins.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from schemas.errors import Conflict, NotFound
from schemas.event_ref import TIMESTAMP_MIN_MICROS, month_bounds, month_index
from schemas.meter_feed import Feed
from schemas.people_csv import BYTE_ORDER_MARK, people_row, text_cell
from schemas.usage_csv import fed_quantity

STATEMENTS: Final = Path(__file__).parent / "sql" / "line_usage.sql"
EVENTS_A_PAGE: Final = 5_000
REF_MIN: Final = UUID(int=0)
"""Before the ref of any event."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT: Final = timedelta(microseconds=1)
PEOPLE_HEADER: Final = (
    BYTE_ORDER_MARK
    + people_row(
        ("Product", "Item", "Time", "Time zone", "Quantity", "Event", "Additional data")
    ).encode()
)


class Row(Protocol):
    """A row of one of the statements, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any:  # noqa: ANN401 - columns are of all types
        ...


AnyRow = TypeVar("AnyRow", bound=Row)


def choose_all(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Return the lines that events feed, as the document has them.

    rows: of `find_line_usage`. Raises NotFound, or Conflict where events have left for an archive.
    """
    if not rows:
        raise NotFound("document_unknown", "there is no such document, or it has no lines")
    for line in rows:
        check_kept(line)
    fed = [line for line in rows if line["events_digest"] is not None]
    return sorted(fed, key=lambda line: (line["product_position"], line["position"]))


def check_kept(line: Row) -> None:
    """Refuse a line whose events have left for an archive. Raises Conflict."""
    if line["events_digest"] is not None and line["is_archived"]:
        raise Conflict("usage_archived", "events of that period have left for an archive")


def page_arguments(
    tenant_id: int, line: Row, after: UUID, length: int = EVENTS_A_PAGE
) -> tuple[object, ...]:
    """Return the arguments of `usage_of_line`: so many events that a line may hold, behind one.

    line: with the columns of `find_line_usage` that its events are found by.
    """
    first = month_index(max(_micros(line["start_at"]), TIMESTAMP_MIN_MICROS))
    last = month_index(max(_micros(line["end_at"] - _MOMENT), TIMESTAMP_MIN_MICROS))
    return (
        tenant_id,
        line["shard_key"],
        line["customer_id"],
        line["meters"],
        after,
        UUID(int=max(month_bounds(first)[0].int - 1, 0)),
        month_bounds(last)[1],
        line["start_at"],
        line["end_at"],
        line["cut_offset"],
        length,
    )


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // _MOMENT


def counting(page: Sequence[AnyRow]) -> list[AnyRow]:
    """Return the rows of a page that count in its line."""
    return [row for row in page if row["counts"]]


def next_after(page: Sequence[Row], length: int = EVENTS_A_PAGE) -> UUID | None:
    """Return the event behind which the next page begins, None when there is none."""
    if len(page) < length:
        return None
    after: UUID = page[-1]["event_ref"]
    return after


class FedMeter(Struct, frozen=True):
    """Another meter whose events count in a line, and how."""

    usage_product_ref: str
    feed: Feed


Feeds = Mapping[int, FedMeter]


def read_feeds(rows: Iterable[Row]) -> Feeds:
    """Read the rows of `list_feeds`: the other meters whose events count in lines of one."""
    return {
        row["meter_id"]: FedMeter(row["ref_text"], Feed.of(row["factor"], row["formula"]))
        for row in rows
    }


def counted_quantity(row: Row, feeds: Feeds) -> str:
    """Return the quantity that an event counts as in a line, in full."""
    quantity: str = row["quantity"]
    fed = feeds.get(row["meter_id"])
    return quantity if fed is None else fed_quantity(fed.feed, quantity, row["additional_data"])


def local_time(line: Row, row: Row) -> datetime:
    """Return when an event was, as a clock at the issuer's shows it, with its offset."""
    local: datetime = row["occurred_at"].astimezone(ZoneInfo(line["timezone"]))
    return local


def people_text(line: Row, row: Row, feeds: Feeds) -> str:
    """Write one event of a line for a spreadsheet."""
    local = local_time(line, row)
    offset = local.isoformat()[-6:]
    return people_row(
        (
            text_cell(line["product_name"]),
            text_cell(line["item"]),
            local.replace(tzinfo=None).isoformat(" ", "microseconds"),
            f"UTC{offset}",
            counted_quantity(row, feeds),
            row["ref_text"],
            text_cell(row["additional_data"] or ""),
        )
    )
