"""Who rates which partitions: a lease in Postgres, renewed every second.

The database is where every total lives, so what spreads the work hangs on nothing else. A lease
decides who should rate, never who may: two processes that both believe they own a partition meet
at its fence, and one of them is right.
"""

from collections.abc import Mapping, Sequence

import asyncpg

from rater.metrics import STALLED_ENDED
from rater.repository import queries
from runtime.logging import get_logger

log = get_logger()


def share(members: Mapping[str, Sequence[int]], member: str, partitions: Sequence[int]) -> set[int]:
    """Return the partitions that a member takes care of now.

    members: what each living member holds, this one included. Everybody gets an equal share, give
    or take one. Over its share a member gives up its last ones; under it, it takes what is free.
    """
    names = sorted(members)
    base, rest = divmod(len(partitions), len(names))
    quota = base + (names.index(member) < rest)
    taken = {p for name, held in members.items() if name != member for p in held}
    own = sorted(set(members[member]) & set(partitions) - taken)[:quota]
    free = [p for p in partitions if p not in taken and p not in own]
    return {*own, *free[: quota - len(own)]}


class Ownership:
    """This process's place among the raters."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        member: str,
        lease_seconds: float,
        transaction_seconds_max: float,
    ) -> None:
        self._pool = pool
        self._member = member
        self._lease_seconds = lease_seconds
        self._transaction_seconds_max = transaction_seconds_max

    async def renew(self) -> tuple[set[int], set[int]]:
        """Say that this process lives; return its partitions, and those with changes to take."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(queries.lock_members)
            await connection.execute(queries.drop_expired_members)
            rows = await connection.fetch(queries.load_members)
            members = {self._member: [], **{row["member"]: row["partitions"] for row in rows}}
            numbers = await connection.fetch(queries.load_partition_numbers)
            own = share(members, self._member, [row["partition"] for row in numbers])
            lease = (self._member, sorted(own), self._lease_seconds)
            await connection.execute(queries.keep_member, *lease)
            changed = await connection.fetch(queries.reference_versions)
        return own, {row["partition"] for row in changed}

    async def end_stalled(self) -> None:
        """End transactions of raters that have lasted too long.

        A process that is frozen in the midst of a COPY keeps its partition's row locked for as
        long as its connection lives: the server's own limits don't look at a COPY that waits for
        data. Whoever is ended rolls back and looks again, so that nothing but time is lost.
        """
        limit = self._transaction_seconds_max
        for row in await self._pool.fetch(queries.end_stalled_transactions, limit):
            STALLED_ENDED.inc()
            log.warning("stalled_transaction_ended", pid=row["pid"], seconds=row["seconds"])

    async def release(self) -> None:
        """Leave the partitions to the others at once."""
        await self._pool.execute(queries.drop_member, self._member)
