"""Fires alerts: looks at periods that have moved, and tells of thresholds that were reached.

It is done in the transaction that moves the charges, once they are written. A row for each alert,
its version and a period makes it once, whatever is read again or falls and rises again. A version
of a contract that is being back-filled is not looked at until it prices, and then as a whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from rater.alerts import Alert, Firing, queries
from rater.memory import NewTotal
from rater.owner import Owner
from rater.repository import queries as steps
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.alerts import (
    OF_A_LINE,
    AlertMessage,
    commitment_percent,
    credit_left,
    included_percent,
    is_reached,
    shown_value,
)
from schemas.money import currency_digits, decimal_to_scaled
from schemas.price import from_json
from schemas.standing import Standing, running_period, stand, sum_draws
from schemas.topics import BILLING_ALERTS

CUSTOMERS_MAX: Final = 100
"""Customers whose alerts are looked at in one step that nothing has moved."""

Row = asyncpg.Record
Watched = dict[tuple[int, UUID], set[Alert]]
"""By the shard key and the ref of a period: the alerts that may fire in it."""


class Reached(msgspec.Struct, frozen=True):
    """A threshold that a figure of a period has reached. line: None for a whole product."""

    alert: Alert
    period: Row
    line: Row | None
    value: str


async def fire(connection: Connection, owner: Owner, moved: Iterable[NewTotal]) -> list[Firing]:
    """Fire what charges have reached that a transaction moved; for `Alerts.keep` after commit."""
    if not owner.alerts.by_customer:
        return []
    watched: Watched = {}
    for total in moved:
        charge = total.charge
        product = charge.line.product
        waiting = owner.alerts.waiting(product.customer_id, charge.line, charge.period.ref)
        if waiting:
            watched.setdefault((product.shard_key, charge.period.ref), set()).update(waiting)
    return await _look(connection, owner, watched)


async def step(owner: Owner) -> None:
    """Look at the running periods of customers whose alerts are new, though nothing moves."""
    alerts = owner.alerts
    customers = sorted(alerts.news)[:CUSTOMERS_MAX]
    if not customers:
        return
    async with owner.step() as connection:
        watched: Watched = {}
        for row in await connection.fetch(
            queries.running_periods, owner.state.partition, customers, owner.clock()
        ):
            own = alerts.by_customer.get(row["customer_id"], {}).values()
            found = {alert for alert in own if alert.contract_ref in (None, row["contract_ref"])}
            if found:
                watched[row["shard_key"], row["period_ref"]] = found
        fired = await _look(connection, owner, watched)
        await connection.execute(steps.step_partition, owner.state.partition, 0)
    owner.state.steps += 1
    alerts.news.difference_update(customers)
    alerts.keep(fired)


async def _look(connection: Connection, owner: Owner, watched: Watched) -> list[Firing]:
    """Look at periods, and fire what has been reached and has not fired yet."""
    if not watched:
        return []
    places = ([key for key, _ in watched], [ref for _, ref in watched])
    periods = {row["period_ref"]: row for row in await connection.fetch(queries.periods, *places)}
    lines: dict[UUID, list[Row]] = {}
    for row in await connection.fetch(queries.watched_lines, *places):
        lines.setdefault(row["period_ref"], []).append(row)
    reached: list[Reached] = []
    for (_, ref), alerts in watched.items():
        if (period := periods.get(ref)) is None:  # everything has left it
            continue
        for alert in sorted(alerts, key=lambda alert: alert.ref):
            if alert.kind in OF_A_LINE:
                reached += _reached_lines(alert, period, lines.get(ref, ()))
        whole = [alert for alert in alerts if alert.kind not in OF_A_LINE]
        if whole:
            reached += _reached_product(whole, period, await _stand(connection, period))
    return [await _tell(connection, owner, one) for one in reached]


def _reached_lines(alert: Alert, period: Row, lines: Sequence[Row]) -> list[Reached]:
    """Return the first line that has reached a threshold, if one has."""
    for line in lines:
        if not alert.is_of((line["pricing_line_id"], line["base_line_id"]), line["meter_id"]):
            continue
        value: Fraction | None = Fraction(line["quantity"])
        if alert.kind == "AMOUNT":
            value = Fraction(line["amount"])
        elif alert.kind == "INCLUDED_PERCENT":
            included = from_json(line["price"]).included_quantity
            value = included_percent(Fraction(line["quantity"]), included)
        if value is not None and is_reached(alert.kind, value, alert.threshold):
            return [Reached(alert, period, line, shown_value(value))]
    return []


def _reached_product(alerts: Iterable[Alert], period: Row, standing: Standing) -> list[Reached]:
    """Return the thresholds that a contract product has reached as a whole."""
    digits = currency_digits(period["currency"])
    reached = []
    for alert in sorted(alerts, key=lambda alert: alert.ref):
        if alert.kind == "CREDIT_LEFT":
            value = credit_left(standing, digits)
        else:
            value = commitment_percent(standing.commitments)
        if value is not None and is_reached(alert.kind, value, alert.threshold):
            reached.append(Reached(alert, period, None, shown_value(value)))
    return reached


async def _stand(connection: Connection, terms: Row) -> Standing:
    """Work out how a contract product stands in a period."""
    lineage = await connection.fetch(
        queries.lineage, terms["shard_key"], terms["contract_product_ref"]
    )
    place = (terms["shard_key"], [row["contract_product_ref"] for row in lineage])
    digits = currency_digits(terms["currency"])
    totals: dict[tuple[UUID, datetime], list[Row]] = {}
    for row in await connection.fetch(queries.unbilled_charges, *place, terms["start_at"]):
        totals.setdefault((row["contract_line_ref"], row["start_at"]), []).append(row)
    period = running_period(terms, terms["start_at"])
    assert period is not None, "the contract is in force in its own period"
    billed = await connection.fetch(queries.billed_periods, *place)
    draws = await connection.fetch(queries.credit_draws, *place)
    return stand(
        terms,
        period,
        await connection.fetch(queries.standing_lines, *place),
        totals,
        {row["start_at"]: decimal_to_scaled(row["total"], digits) for row in billed},
        sum_draws(draws, digits),
        lineage,
    )


async def _tell(connection: Connection, owner: Owner, one: Reached) -> Firing:
    """Note that an alert has fired, and leave word for the outbox, unless it has fired before."""
    alert, period, line = one.alert, one.period, one.line
    now = owner.clock()
    is_new = await connection.fetchval(
        queries.add_firing,
        *(period["shard_key"], alert.ref, alert.version, period["period_ref"]),
        *(period["tenant_id"], period["contract_ref"], period["contract_product_ref"]),
        *(None if line is None else line["contract_line_ref"], period["start_date"]),
        *(period["end_date"], Decimal(one.value), Decimal(shown_value(alert.threshold)), now),
    )
    if is_new:
        key = str(period["customer_ref"]).encode()
        value = msgspec.json.encode(message(one, now))
        await connection.execute(steps.add_outbox, period["shard_key"], BILLING_ALERTS, key, value)
        crashpoint("rater.after_firing")
    return Firing(alert.ref, alert.version, period["period_ref"])


def message(one: Reached, now: datetime) -> AlertMessage:
    """Return what `billing.alerts.v1` says of it."""
    alert, period = one.alert, one.period
    line: Mapping[str, object] | Row = one.line or {}
    return AlertMessage(
        alert_ref=str(alert.ref),
        version=alert.version,
        name=alert.name,
        kind=alert.kind,
        threshold=shown_value(alert.threshold),
        value=one.value,
        tenant_ref=str(period["tenant_ref"]),
        customer_ref=str(period["customer_ref"]),
        contract_ref=str(period["contract_ref"]),
        contract_product_ref=str(period["contract_product_ref"]),
        line_item_ref=_text(line.get("line_item_ref")),
        usage_product_ref=_text(line.get("usage_product_ref")),
        currency=period["currency"],
        period_ref=str(period["period_ref"]),
        period_start=period["start_date"].isoformat(),
        period_end=period["end_date"].isoformat(),
        fired_at=now.isoformat(),
    )


def _text(ref: object) -> str | None:
    return None if ref is None else str(ref)
