"""Aggregations: how the uses of a meter add up in a period, whatever the order they come in. Pure.

A total is a numerator and, for means, what it is divided by: nothing is rounded before a line of a
document is, but that each running mean is taken to a quantity's 18 digits.

    SUM, COUNT       what the uses add up to; how many there are
    MAX, LAST        the greatest quantity; that of the greatest (time, ref)
    AVERAGE          the sum by the count
    RUNNING_AVERAGE  the mean of the means after each use, in the order of (time, ref)
    TIME_WEIGHTED    each quantity holds until the next use, the last one of earlier periods until
                     the first; nothing holds before the very first
    UNIQUE           how many different values a key of additional data has

SUM, COUNT, AVERAGE and UNIQUE are moved by what a use adds, in any order. Of the others a `Total`
keeps how far it has got: uses that follow are added to it, for any other change it is folded again.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, Self, get_args

import msgspec

from schemas.money import Quantity, round_ratio

Aggregation = Literal[
    "SUM",
    "COUNT",
    "MAX",
    "LAST",
    "AVERAGE",
    "RUNNING_AVERAGE",
    "TIME_WEIGHTED",
    "UNIQUE",
]

AGGREGATIONS: Final[tuple[Aggregation, ...]] = get_args(Aggregation)

PLAIN: Final = frozenset({"SUM", "COUNT"})
"""A total is nothing but what its uses add; prices of single events and of cells are of these."""

ORDERED: Final = frozenset({"MAX", "LAST", "RUNNING_AVERAGE", "TIME_WEIGHTED"})
"""What one use adds depends on the others."""


class Use(NamedTuple):
    """One use as it counts, in the order that aggregations go by: at is in microseconds."""

    at: int
    ref: int
    quantity: Quantity


class Span(NamedTuple):
    """A period [start, end), in microseconds since 1970."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Its microseconds."""
        return self.end - self.start


_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def unique_value(data: str | None, key: str) -> str | None:
    """Return the value that UNIQUE tells events apart by; None where there is none.

    data: additional data, checked. A text, a number as it is written, true or false: what SQL's
    `->>` gives. null, lists and objects are no values.
    """
    raw = b"" if data is None else bytes(_decode_fields(data).get(key, b""))
    if raw.startswith(b'"'):
        return _decode_text(raw)
    return None if raw.startswith(_NO_VALUES) or not raw else raw.decode()


_NO_VALUES: Final = (b"{", b"[", b"null")


def value_digest(value: str) -> bytes:
    """Return 16 bytes that stand for a value."""
    return blake2b(value.encode(), digest_size=16, person=b"unique_value").digest()


class Last(NamedTuple):
    """The last use that a total holds. value: its quantity; the sum so far of a RUNNING_AVERAGE."""

    at: int
    ref: int
    value: int

    def __str__(self) -> str:
        """Write it as it is stored."""
        return f"{self.at} {self.ref:032x} {self.value}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote."""
        at, ref, value = text.split(" ")
        return cls(int(at), int(ref, 16), int(value))


class Total(msgspec.Struct, frozen=True):
    """What uses come to: a quantity still to be divided by `divisor`. last: None without a use.

    The last of a TIME_WEIGHTED total without a use is what is carried in, if anything is.
    """

    quantity: Quantity = Quantity(0)
    event_count: int = 0
    last: Last | None = None


def divisor(aggregation: str, event_count: int, length: int) -> int:
    """Return what a total is divided by. length: of the period, in microseconds."""
    if aggregation in ("AVERAGE", "RUNNING_AVERAGE"):
        return max(event_count, 1)
    return length if aggregation == "TIME_WEIGHTED" else 1


def nothing(aggregation: str, span: Span, carried: Last | None = None) -> Total:
    """Return the total of no uses. carried: the last use of the periods before, if there is one."""
    if aggregation != "TIME_WEIGHTED" or carried is None:
        return Total()
    return Total(Quantity(carried.value * span.length), 0, carried)


def extend(aggregation: str, span: Span, total: Total, uses: Iterable[Use]) -> Total | None:
    """Add uses, in any order, to a total; None when one of them belongs before its last use."""
    if aggregation == "MAX":
        return _max(total, uses)
    after = _AFTER[aggregation]
    for use in sorted(uses):
        if total.last is not None and use[:2] <= total.last[:2]:
            return None
        total = after(span, total, use)
    return total


def fold(aggregation: str, span: Span, uses: Iterable[Use], carried: Last | None = None) -> Total:
    """Return the total of a period's uses, each of them given once, in any order."""
    total = extend(aggregation, span, nothing(aggregation, span, carried), uses)
    assert total is not None, "what is carried in is of an earlier period"
    return total


def _max(total: Total, uses: Iterable[Use]) -> Total:
    greatest, count = total.quantity, total.event_count
    for use in uses:
        greatest = use.quantity if not count else max(greatest, use.quantity)
        count += 1
    return Total(greatest, count)


def _last(_span: Span, total: Total, use: Use) -> Total:
    return Total(use.quantity, total.event_count + 1, Last(*use))


def _running(_span: Span, total: Total, use: Use) -> Total:
    """Add the mean of all uses so far."""
    count = total.event_count + 1
    so_far = use.quantity + (0 if total.last is None else total.last.value)
    means = total.quantity + round_ratio(so_far, count)
    return Total(Quantity(means), count, Last(use.at, use.ref, so_far))


def _weighted(span: Span, total: Total, use: Use) -> Total:
    """Let the use's quantity hold from its instant to the end, where the one before held so far."""
    held = 0 if total.last is None else total.last.value
    quantity = total.quantity + (use.quantity - held) * (span.end - use.at)
    return Total(Quantity(quantity), total.event_count + 1, Last(*use))


_AFTER: Final = {"LAST": _last, "RUNNING_AVERAGE": _running, "TIME_WEIGHTED": _weighted}
