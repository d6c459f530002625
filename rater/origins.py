"""Retried dead letters: the place in the log that a record says it first had, believed or not.

A header is easily written, so what it says counts only where a dead letter with the same bytes is
stored under that place. All else is judged by where it lies.
"""

import asyncpg
import msgspec

from rater.arrivals import Log, Poll
from rater.repository import queries
from schemas.event_ref import place_digest, with_digest
from schemas.retrying import Origin


async def check_origins(pool: asyncpg.Pool, poll: Poll, log: Log) -> None:
    """Take back what records say of their first place unless a dead letter bears it out.

    Dead letters are never changed, so what is found here holds in the transaction that follows.
    """
    claimed = {a.origin for a in poll.retried + poll.amendments if a.origin} | {
        d.origin for d in poll.dead if d.origin
    }
    if not claimed:
        return
    places = sorted(claimed)
    rows = await pool.fetch(
        queries.find_dead_letters, [p.partition for p in places], [p.offset for p in places]
    )
    values = {Origin(row["partition"], row["record_offset"]): row["value"] for row in rows}
    for arrival in poll.retried:
        origin = arrival.origin
        if origin is not None and values.get(origin) != arrival.value:
            arrival.origin = None
            if arrival.event.idempotency_key is None:
                digest = place_digest(log.log_id, log.partition, arrival.offset)
                arrival.ref = with_digest(arrival.ref, digest)
    for amendment in poll.amendments:
        if amendment.origin is not None and values.get(amendment.origin) != amendment.value:
            amendment.origin = None
    poll.dead = [
        msgspec.structs.replace(letter, origin=None)
        if letter.origin is not None
        and (letter.origin not in values or values[letter.origin] != letter.value)
        else letter
        for letter in poll.dead
    ]
