"""`meterline admin webhooks`: endpoints, what failed on its way to them, and sending it again."""

import sys
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from cyclopts import App, Parameter, validators

from deploy.cli.admin_work import AsJson, State, TenantRef, find_tenant, run, show, who
from deploy.local.errors import StackError
from gateway.auth import audit
from gateway.manage.webhooks import add_test_event
from runtime.postgres import Queries
from schemas.errors import InvalidInput
from schemas.event_ref import canonical_ref

queries: Final = Queries.beside(__file__, "admin_webhooks.sql")

ROWS_MAX: Final = 10_000
_ENDPOINTS: Final = (
    *("endpoint_ref", "url", "is_enabled", "pending", "dead", "waiting_since", "disabled_reason"),
)
_DELIVERIES: Final = (
    *("delivery_id", "occurred_at", "type", "url", "state", "attempts", "due_at"),
    *("last_status", "last_error"),
)

webhooks = App(name="webhooks", help="Webhooks: endpoints, deliveries, failures; sent again.")

_Limit = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=ROWS_MAX))]


@webhooks.command(name="list")
def list_endpoints(
    *, tenant: TenantRef = None, state: State = None, as_json: AsJson = False
) -> None:
    """List the endpoints of all tenants: what waits for each, and what was given up.

    For example:

        meterline admin webhooks list
    """

    async def work(connection: asyncpg.Connection) -> list[dict[str, Any]]:
        place = None if tenant is None else await find_tenant(connection, tenant)
        rows = await connection.fetch(queries.list_endpoints, place, ROWS_MAX)
        return [dict(row) for row in rows]

    show(run(state, work, reads_only=True), _ENDPOINTS, as_json=as_json)


@webhooks.command
def deliveries(
    endpoint: str | None = None,
    /,
    *,
    failed: Annotated[bool, Parameter(name="--failed", negative="")] = False,
    limit: _Limit = 100,
    tenant: TenantRef = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """List what was sent or is to be, the newest first.

    For example:

        meterline admin webhooks deliveries --failed
        meterline admin webhooks deliveries 3f2a…c1 --json

    Parameters
    ----------
    endpoint
        Ref of an endpoint; else all.
    failed
        Only what failed at least once and has not been delivered.
    limit
        The most deliveries shown.
    """
    ref = None if endpoint is None else _ref(endpoint)

    async def work(connection: asyncpg.Connection) -> list[dict[str, Any]]:
        place = None if tenant is None else await find_tenant(connection, tenant)
        rows = await connection.fetch(queries.list_deliveries, place, ref, failed, limit)
        return [dict(row) for row in rows]

    show(run(state, work, reads_only=True), _DELIVERIES, as_json=as_json)


@webhooks.command
def retry(endpoint: str, delivery: int | None = None, /, *, state: State = None) -> None:
    """Send what failed again, at once; an endpoint that was turned off is turned on.

    What was given up goes out as a delivery of its own, with the same webhook-id.

    For example:

        meterline admin webhooks retry 3f2a…c1
        meterline admin webhooks retry 3f2a…c1 4711

    Parameters
    ----------
    endpoint
        Ref of the endpoint.
    delivery
        Id of one delivery; else all that failed.
    """
    ref = _ref(endpoint)

    async def work(connection: asyncpg.Connection) -> int:
        tenant_id = await _hold(connection, ref)
        key = (tenant_id, ref, delivery)
        sent = await connection.fetch(queries.send_at_once, *key)
        sent += await connection.fetch(queries.send_anew, *key)
        if not sent:
            named = "failed" if delivery is None else f"has the id {delivery} and failed"
            raise StackError(f"nothing of endpoint {ref} {named}")
        await connection.fetch(queries.turn_on, tenant_id, ref)
        after = {"delivery_ids": [row["delivery_id"] for row in sent]}
        await audit.record(connection, tenant_id, who(), "webhook.retried", ref, after=after)
        return len(sent)

    sys.stdout.write(f"{run(state, work)} to be sent now.\n")


@webhooks.command(name="test")
def send_test(endpoint: str, /, *, state: State = None) -> None:
    """Send an event that means nothing, to see whether it arrives.

    For example:

        meterline admin webhooks test 3f2a…c1

    Parameters
    ----------
    endpoint
        Ref of the endpoint.
    """
    ref = _ref(endpoint)

    async def work(connection: asyncpg.Connection) -> int:
        tenant_id = await _hold(connection, ref)
        number = await add_test_event(connection, tenant_id, ref)
        await audit.record(connection, tenant_id, who(), "webhook.tested", ref)
        return number

    number = run(state, work)
    sys.stdout.write(
        f"Delivery {number} is on its way: meterline admin webhooks deliveries {ref}\n"
    )


async def _hold(connection: asyncpg.Connection, ref: UUID) -> int:
    """Return whose an endpoint is, and keep it from going away. Raises StackError."""
    tenant_id: int | None = await connection.fetchval(queries.find_endpoint, ref)
    if tenant_id is None:
        raise StackError(f"there is no endpoint {ref}: see meterline admin webhooks list")
    return tenant_id


def _ref(text: str) -> UUID:
    try:
        return UUID(canonical_ref(text))
    except InvalidInput:
        raise StackError(f"{text!r} is no ref: one looks like {UUID(int=0)}") from None
