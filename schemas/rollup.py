"""How usage is summed up for reports: by slots of time, and where a reader finds its part. Pure."""

from typing import Final

SLOT_SECONDS: Final = 900
SLOT_MICROS: Final = SLOT_SECONDS * 1_000_000
"""A slot is a quarter of an hour: midnights of all zones are at full ones. Slots are counted from
1970, and sums are of one slot or of HOUR_SLOTS."""
HOUR_SLOTS: Final = 4
DAY_SLOTS: Final = 96

WHOLE: Final = -1
"""The place of entries that are not spread."""
_FEW, _MANY = 200, 2_000
_COARSE: Final = 64
"""The first of the 8 coarse places; below are the 64 fine ones."""


def place_of(shard_key: int, entries: int) -> int:
    """Return the place of a customer's entries in a tail, among so many of all customers.

    The more there are, the finer they are spread, so that a reader reads few of others.
    """
    if entries < _FEW:
        return WHOLE
    return shard_key >> 25 if entries >= _MANY else _COARSE + (shard_key >> 28)


def places_of(shard_key: int) -> list[int]:
    """Return all places at which entries of a customer may be."""
    return [WHOLE, shard_key >> 25, _COARSE + (shard_key >> 28)]
