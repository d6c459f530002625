"""Rows of events and totals in the binary form of COPY. Pure.

Packing a row by hand costs a quarter of what the driver's codecs cost, and these are the rows that
every event makes. The layout is PostgreSQL's documented wire format.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from rater.fold import Accepted
from rater.memory import Charge, Customer, NewTotal
from schemas.money import AMOUNT_DIGITS, QUANTITY_DIGITS
from schemas.price import price_total
from schemas.usage_event import QUANTITIES_MAX

USAGE_EVENT_COLUMNS: Final = (
    "event_ref",
    "occurred_at",
    "fingerprint",
    "rated_at",
    "shard_key",
    "tenant_id",
    "customer_id",
    "meter_id",
    "quantity",
    "additional_data",
)

CHARGE_COLUMNS: Final = (
    "shard_key",
    "charge_ref",
    "quantity",
    "event_count",
    "amount",
    "tenant_id",
    "period_ref",
    "contract_line_ref",
    "pricing_line_id",
    "cell",
)

PIECE_ROWS: Final = 1_000
"""Rows given to the driver at once, so that the loop stays alive in between."""

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_POWERS: Final = tuple(10**exponent for exponent in range(AMOUNT_DIGITS + 1))
_TRAILER: Final = b"\xff\xff"
_EMPTY: Final = bytes(4)
_LENGTH: Final = Struct(">i")

#: The count of fields, then each field behind its length.
_EVENT: Final = Struct(">h i16s iq iq iq 24s ii")
_CUSTOMER: Final = Struct(">ii ii ii")

_TOTAL: Final = Struct(">h ii i16s")
_COUNT: Final = Struct(">iq")
_CHARGE: Final = Struct(">ii i16s i16s ii")

#: Microseconds from 1970 to 2000, from which PostgreSQL counts.
_POSTGRES_EPOCH: Final = 946_684_800_000_000

_BASE: Final = 10_000
_BASE_DIGITS: Final = 4
_NEGATIVE: Final = 0x4000
_TRAILING_ZEROS: Final = tuple(
    _BASE_DIGITS - len(f"{group:04}".rstrip("0")) for group in range(_BASE)
)
#: By the count of digits: the field's length, that count, the weight of the first digit, the sign,
#: the decimal places shown, and the digits to base 10,000.
_NUMERIC: Final = tuple(Struct(f">iHhHH{count}H").pack for count in range(64))
_PACK_1, _PACK_2, _PACK_3, _PACK_4 = _NUMERIC[1:5]

#: What common numbers are counted in, by scale; 1 in these units, and what they are less than.
_COMMON_UNITS: Final = {
    scale: _POWERS[scale - 2 * _BASE_DIGITS] for scale in (QUANTITY_DIGITS, AMOUNT_DIGITS)
}
_COMMON_MIN: Final = _BASE**2
_COMMON_MAX: Final = _BASE**4


def pack_events(accepted: Iterable[Accepted]) -> Iterator[bytes]:
    """Return a COPY stream of the events, in the order of USAGE_EVENT_COLUMNS, piece by piece.

    Rows are grouped by customer, as their index is: Postgres takes them in two thirds of the time
    that it needs for the order of the log, and finds a customer's month side by side later on.
    They are packed in the order of the log, which is that of the events in memory.
    """
    by_place: dict[int, list[bytes]] = {}
    for place, row in _pack_rows(accepted):
        rows = by_place.get(place)
        if rows is None:
            by_place[place] = [row]
        else:
            rows.append(row)
    yield _HEADER
    grouped = [row for place in sorted(by_place) for row in by_place[place]]
    for start in range(0, len(grouped), PIECE_ROWS):
        yield b"".join(grouped[start : start + PIECE_ROWS])
    yield _TRAILER


def _pack_rows(rows: Iterable[Accepted]) -> Iterator[tuple[int, bytes]]:
    """Return the rows of events as they stand in a COPY stream, each with its customer's place."""
    fixed, length, packed = _EVENT.pack, _LENGTH.pack, PACKED_QUANTITIES
    columns = len(USAGE_EVENT_COLUMNS)
    for row in rows:
        arrival = row.arrival
        event = arrival.event
        head = fixed(
            columns,
            16,
            arrival.ref.to_bytes(16, "big"),
            8,
            event.occurred_at_micros - _POSTGRES_EPOCH,
            8,
            arrival.fingerprint,
            8,
            arrival.offset,
            row.customer.packed or _pack_customer(row.customer),
            4,
            row.meter_id,
        )
        if event.additional_data is None:
            yield arrival.shard_key, head + packed[event.quantity] + _EMPTY
        else:
            data = event.additional_data.encode()
            text = length(len(data)) + data
            yield arrival.shard_key, head + packed[event.quantity] + text


def _pack_customer(customer: Customer) -> bytes:
    """Return the fields that are the same in all rows of a customer, and keep them."""
    ids = (customer.shard_key, customer.tenant.tenant_id, customer.customer_id)
    customer.packed = _CUSTOMER.pack(4, ids[0], 4, ids[1], 4, ids[2])
    return customer.packed


def pack_totals(totals: Iterable[NewTotal]) -> bytes:
    """Return a whole COPY stream of totals and their prices, in the order of CHARGE_COLUMNS."""
    columns = len(CHARGE_COLUMNS)
    head, count = _TOTAL.pack, _COUNT.pack
    parts = [_HEADER]
    add = parts.append
    for total in totals:
        charge = total.charge
        add(
            head(columns, 4, charge.line.product.shard_key, 16, charge.ref.bytes)
            + pack_numeric(total.quantity, QUANTITY_DIGITS)
            + count(8, total.event_count)
            + pack_numeric(amount_of(total), AMOUNT_DIGITS)
            + _pack_charge(charge)
        )
    add(_TRAILER)
    return b"".join(parts)


def amount_of(total: NewTotal) -> int:
    """Price a total; the sum of single events' fees is its own price."""
    if total.fees is not None:
        return total.fees.amount
    return price_total(total.charge.price, total.quantity, total.event_count)


def _pack_charge(charge: Charge) -> bytes:
    """Return the fields that a charge never changes."""
    line = charge.line
    refs = (charge.period.ref.bytes, line.ref.bytes)
    ids = (line.product.tenant.tenant_id, line.pricing_line_id)
    cell = charge.cell.encode()
    fixed = _CHARGE.pack(4, ids[0], 16, refs[0], 16, refs[1], 4, ids[1])
    return fixed + _LENGTH.pack(len(cell)) + cell


def pack_quantity(quantity: int) -> bytes:
    """Return a quantity as a `numeric` field with its length."""
    return pack_numeric(quantity, QUANTITY_DIGITS)


class _PackedQuantities(dict[int, bytes]):
    """`pack_quantity` of what was packed already: quantities come again and again."""

    def __missing__(self, quantity: int) -> bytes:
        packed = pack_quantity(quantity)
        if len(self) >= QUANTITIES_MAX:
            self.clear()
        self[quantity] = packed
        return packed


PACKED_QUANTITIES: Final = _PackedQuantities()
"""For quantities of single events."""


def pack_numeric(value: int, scale: int) -> bytes:
    """Return value / 10**scale as a `numeric` field with its length; no digit more than it needs.

    value: below 10**200. Most lie between 1 and 10**8, with up to 8 digits behind the point.
    """
    units, rest = divmod(value, _COMMON_UNITS[scale])
    if rest or not _COMMON_MIN <= units < _COMMON_MAX:
        return _pack_any(value, scale)
    whole, fraction = divmod(units, _COMMON_MIN)
    third, fourth = divmod(fraction, _BASE)
    if whole >= _BASE:
        return _pack_long(whole, third, fourth)
    if fourth:
        return _PACK_3(14, 3, 0, 0, 8 - _TRAILING_ZEROS[fourth], whole, third, fourth)
    if third:
        return _PACK_2(12, 2, 0, 0, 4 - _TRAILING_ZEROS[third], whole, third)
    return _PACK_1(10, 1, 0, 0, 0, whole)


def _pack_long(whole: int, third: int, fourth: int) -> bytes:
    """Pack a common number of at least 10,000; third, fourth: its groups behind the point."""
    first, second = divmod(whole, _BASE)
    if fourth:
        places = 8 - _TRAILING_ZEROS[fourth]
        return _PACK_4(16, 4, 1, 0, places, first, second, third, fourth)
    if third:
        return _PACK_3(14, 3, 1, 0, 4 - _TRAILING_ZEROS[third], first, second, third)
    if second:
        return _PACK_2(12, 2, 1, 0, 0, first, second)
    return _PACK_1(10, 1, 1, 0, 0, first)


def _pack_any(value: int, scale: int) -> bytes:
    """Pack as `pack_numeric` does what is as long or as fine as can be."""
    whole, fraction = divmod(abs(value), _POWERS[scale])
    digits: list[int] = []
    while whole:
        whole, digit = divmod(whole, _BASE)
        digits.append(digit)
    digits.reverse()
    weight = len(digits) - 1
    places = 0
    while fraction:
        scale -= _BASE_DIGITS
        if scale >= 0:
            digit, fraction = divmod(fraction, _POWERS[scale])
        else:
            digit, fraction = fraction * _POWERS[-scale], 0
        if digit or digits:
            digits.append(digit)
        else:  # a zero in front is told by the weight
            weight -= 1
        places += _BASE_DIGITS
    if places:
        places -= _TRAILING_ZEROS[digits[-1]]
    else:
        while digits and not digits[-1]:
            digits.pop()
    count = len(digits)
    sign = _NEGATIVE if value < 0 else 0
    return _NUMERIC[count](8 + 2 * count, count, weight if count else 0, sign, places, *digits)
