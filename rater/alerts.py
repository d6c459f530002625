"""What tenants want to be told of, as a partition's owner remembers it."""

from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from rater.memory import Line
from runtime.postgres import Queries
from schemas.alerts import AlertKind

queries: Final = Queries.beside(__file__, "alerts.sql")

FIRED_MAX: Final = 100_000
"""Firings that are remembered; of others the table tells."""


class Firing(NamedTuple):
    """What fires once."""

    alert_ref: UUID
    version: int
    period_ref: UUID


class Alert(msgspec.Struct, frozen=True):
    """A threshold. contract_ref: None for every contract of the customer."""

    ref: UUID
    version: int
    customer_id: int
    contract_ref: UUID | None
    pricing_line_id: int | None
    meter_id: int | None
    name: str | None
    kind: AlertKind
    threshold: Fraction

    def may_be_of(self, line: Line) -> bool:
        """Tell whether it may look at a line, alone or as a part of its contract product.

        What a contract sells in a line item's place is not told apart here.
        """
        return self.contract_ref in (None, line.product.contract_ref) and (
            self.meter_id is None or self.meter_id == line.meter_id
        )

    def is_of(self, line_ids: Collection[int | None], meter_id: int | None) -> bool:
        """Tell whether it looks at a line by itself.

        line_ids: of its price version, and of the line item that this is sold in the place of.
        """
        if self.meter_id is not None:
            return self.meter_id == meter_id
        return self.pricing_line_id is not None and self.pricing_line_id in line_ids


class Alerts:
    """The alerts of a partition's customers, and what has fired as far as it is known.

    news: customers whose alerts are to be looked at although nothing moves.
    """

    def __init__(self) -> None:
        self.by_customer: dict[int, dict[UUID, Alert]] = {}
        self.news: set[int] = set()
        self._fired: set[Firing] = set()
        self._version = 0

    async def load(self, pool: asyncpg.Pool, partition: int) -> None:
        """Learn what has changed since the last time."""
        for row in await pool.fetch(queries.load_alerts, partition, self._version):
            self._version = max(self._version, row["partition_version"])
            own = self.by_customer.setdefault(row["customer_id"], {})
            own.pop(row["alert_ref"], None)
            if not row["is_deleted"]:
                own[row["alert_ref"]] = _alert(row)
                self.news.add(row["customer_id"])
            elif not own:
                del self.by_customer[row["customer_id"]]

    def look_at(self, customer_id: int) -> None:
        """Have a customer's alerts looked at, as when they are new."""
        if customer_id in self.by_customer:
            self.news.add(customer_id)

    def waiting(self, customer_id: int, line: Line, period_ref: UUID) -> list[Alert]:
        """Return the alerts that look at a line and are not known to have fired in a period."""
        return [
            alert
            for alert in self.by_customer.get(customer_id, {}).values()
            if alert.may_be_of(line)
            and Firing(alert.ref, alert.version, period_ref) not in self._fired
        ]

    def keep(self, fired: Iterable[Firing]) -> None:
        """Remember what has fired, once that is committed."""
        self._fired.update(fired)
        if len(self._fired) > FIRED_MAX:
            self._fired.clear()


def _alert(row: asyncpg.Record) -> Alert:
    return Alert(
        ref=row["alert_ref"],
        version=row["version"],
        customer_id=row["customer_id"],
        contract_ref=row["contract_ref"],
        pricing_line_id=row["pricing_line_id"],
        meter_id=row["meter_id"],
        name=row["name"],
        kind=row["kind"],
        threshold=Fraction(row["threshold"]),
    )
