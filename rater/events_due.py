"""Events that are due upon usage: noted in the transaction that rates them, and told of.

A row says which event, and as which of its versions it counts from then on. Customers without such
a contract cost one look at each event.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from rater.amend import Amended, Version
from rater.fold import Accepted, Folded
from runtime.postgres import Connection
from schemas.topics import BILLING_PERIODS

_COLUMNS = ("shard_key", "tenant_id", "contract_ref", "event_ref", "place", "rated_below")
_AS_IT_CAME = -1


class Due(NamedTuple):
    """A change of one event under one contract. record_key: of the customer's records in Kafka."""

    shard_key: int
    tenant_id: int
    contract_ref: UUID
    event_ref: UUID
    place: int
    record_key: bytes


def due_of_poll(folded: Folded, amended: Amended) -> list[Due]:
    """Return what a poll has rated for contracts that bill each event, in the order of rating.

    An amendment that has waited for its event comes behind it.
    """
    billed = [row for row in folded.accepted if row.customer.bills_events]
    if not billed and not amended.versions:
        return []
    steps = [(row.arrival.offset, 0, due) for row in billed for due in _of_event(row)]
    offsets = {row.arrival.ref: row.arrival.offset for row in billed}
    for version in amended.versions:
        offset = max(version.arrival.offset, offsets.get(version.event.ref, 0))
        steps += [(offset, 1, due) for due in _of_version(version)]
    return [due for _, _, due in sorted(steps, key=lambda step: step[:2])]


def _of_event(row: Accepted) -> Iterator[Due]:
    customer, arrival = row.customer, row.arrival
    at = arrival.event.occurred_at_micros
    contracts = {
        line.product.contract_ref
        for fed in customer.fed_by(row.meter_id)
        for line in (*fed.plain, *fed.others)
        if line.product.bills_events and line.product.period_at(at) is not None
    }
    for contract_ref in sorted(contracts):
        yield Due(
            *(arrival.shard_key, customer.tenant.tenant_id, contract_ref, UUID(int=arrival.ref)),
            *(_AS_IT_CAME, customer.customer_ref.encode()),
        )


def _of_version(version: Version) -> Iterator[Due]:
    event, arrival = version.event, version.arrival
    products = [charge.line.product for charge in version.charges]
    for contract_ref in sorted({one.contract_ref for one in products if one.bills_events}):
        yield Due(
            *(event.shard_key, event.tenant_id, contract_ref, UUID(int=event.ref)),
            *(arrival.offset, arrival.key),
        )


async def note_due(connection: Connection, due: Sequence[Due], rated_below: int) -> None:
    """Note changes, and tell of the contracts that they are for."""
    if not due:
        return
    await connection.copy_records_to_table(
        "event_due", records=[(*one[:-1], rated_below) for one in due], columns=_COLUMNS
    )
    contracts = {one.contract_ref: (one.shard_key, one.record_key) for one in due}
    await connection.copy_records_to_table(
        "rater_outbox",
        columns=("shard_key", "topic", "record_key", "value"),
        records=[
            (shard_key, BILLING_PERIODS, record_key, message(ref))
            for ref, (shard_key, record_key) in contracts.items()
        ],
    )


def message(contract_ref: UUID) -> bytes:
    """Return what `billing.periods.v1` says of a contract with events that are due: its key."""
    return msgspec.json.encode({"v": 1, "trigger": "EVENT_DUE", "contract_ref": str(contract_ref)})
