"""A dead letter sent again: the header that names its first place, and where it belongs.

A retried record carries the place in the log that it first had, in a header: an event without a
key is named by its place, so however often it is retried it stays one event.
"""

import re
from typing import Final, NamedTuple

import msgspec

from schemas.errors import InvalidInput
from schemas.event_ref import SHARD_KEY_MASK, canonical_ref, murmur2, partition_of, shard_key

ORIGIN_HEADER: Final = "meterline-origin"

_match_origin: Final = re.compile(rb"(\d{1,4}),(\d{1,18})", re.ASCII).fullmatch


class Origin(NamedTuple):
    """A place in the log of usage events."""

    partition: int
    offset: int


class _Named(msgspec.Struct):
    """What of a record says whose it is, whatever else is wrong with it."""

    customer_ref: str


_decode_named: Final = msgspec.json.Decoder(_Named).decode


def encode_origin(origin: Origin) -> bytes:
    """Write the header's value."""
    return b"%d,%d" % origin


def decode_origin(value: bytes) -> Origin | None:
    """Read what `encode_origin` wrote; None for anything else."""
    match = _match_origin(value)
    return None if match is None else Origin(int(match[1]), int(match[2]))


def home_of(
    key: bytes | None, value: bytes | None, origin: Origin, partitions: int
) -> tuple[bytes | None, int]:
    """Return the key and the partition that a record is retried with.

    They are its customer's where it names one, so that a record of another partitioner comes home;
    else what they were.
    """
    try:
        customer_ref = canonical_ref(_decode_named(value or b"").customer_ref)
    except (InvalidInput, ValueError, RecursionError):  # the decoder's errors are ValueErrors
        if key is None:
            return None, origin.partition
        return key, partition_of(murmur2(key) & SHARD_KEY_MASK, partitions)
    return customer_ref.encode(), partition_of(shard_key(customer_ref), partitions)
