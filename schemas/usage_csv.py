"""The canonical list of a line's usage: what `events_digest` is the SHA-256 of. Pure.

The bytes follow from the events alone, so whoever has them can compute the digest again, with
`sha256sum` and nothing else. UTF-8, lines that end with LF, and these columns:

    event_ref                 in lower case; the rows are in its order
    timestamp                 UTC with six digits after the point: 2026-10-05T12:30:00.000000Z
    quantity                  in full: no exponent, no trailing zeros, a minus where it is negative;
                              as it was sent, and of an event of another meter that counts toward
                              the line's, what it counts as there: its billable quantity times the
                              factor
    additional_report_data    JSON without spaces, keys in the order of their code points, numbers
                              as they were sent; empty without any

A cell with a comma, a quote or a line's end is in quotes, each quote in it doubled. A line without
usage is the header alone. This format is never changed: issued documents hold its digests.
"""

from datetime import datetime
from functools import lru_cache
from typing import Final

from schemas.additional_data import canonical_json
from schemas.meter_feed import Feed
from schemas.money import QUANTITY_DIGITS, parse_quantity, scaled_to_text

HEADER: Final = b"event_ref,timestamp,quantity,additional_report_data\n"
MEDIA_TYPE: Final = "text/csv"


def usage_row(event_ref: str, occurred_at: datetime, quantity: str, data: str | None) -> str:
    """Write one event, with the end of its line.

    event_ref: canonical. occurred_at: aware, in UTC. quantity: in full, as the list has it.
    data: JSON text as it was sent, None without any.
    """
    # "+00:00" is how Python ends an instant in UTC.
    timestamp = occurred_at.isoformat(timespec="microseconds")[:-6]
    return f"{event_ref},{timestamp}Z,{quantity},{'' if data is None else _data_cell(data)}\n"


def fed_quantity(feed: Feed, quantity: str, data: str | None) -> str:
    """Write what an event of another meter counts as, in full."""
    return scaled_to_text(feed.counted(parse_quantity(quantity), data), QUANTITY_DIGITS)


@lru_cache(maxsize=1 << 14)
def _data_cell(data: str) -> str:
    return _quoted(canonical_json(data))


def _quoted(cell: str) -> str:
    if any(mark in cell for mark in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
