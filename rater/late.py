"""Late usage: notes which closed periods have moved, so that they are cut once more.

However much comes late for a period, it has one row until the next cut, and that one waits for a
while from the first of it: so many late events make one more cut.
"""

from collections.abc import Iterable

from rater.memory import NewTotal
from rater.owner import Owner
from rater.repository import queries
from runtime.postgres import Connection


async def mark_late(connection: Connection, owner: Owner, moved: Iterable[NewTotal]) -> None:
    """Note the closed periods among those whose charges this transaction moves."""
    products = {
        total.charge.period.ref: total.charge.line.product
        for total in moved
        if total.charge.period.last_cut_number
    }
    if not products:
        return
    partition, now = owner.state.partition, owner.clock()
    await connection.executemany(
        queries.add_late,
        [
            (p.shard_key, ref, p.tenant.tenant_id, partition, now, p.waits_for_call)
            for ref, p in sorted(products.items())
        ],
    )
