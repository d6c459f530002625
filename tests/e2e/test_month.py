"""The sample month through the real services, disturbed and undisturbed, to the cent."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from deploy.demo import catalogue
from deploy.demo.load import Names, Sent, send_sample
from deploy.demo.sample import read_sample
from deploy.demo.story import make_shop, sign_contracts
from deploy.local.bootstrap import Credentials
from deploy.verify.replay.checks import replay_checks
from deploy.verify.report import run_checks
from tests.e2e.installation import Installation, client_of, installed
from tests.e2e.month import invoice_totals
from tests.processes import Service, running

#: The rater is killed when so many rows have been answered.
KILLS_AFTER_ROWS = (20_000, 45_000, 70_000)


async def test_a_month_is_billed_to_the_cent_though_the_rater_is_killed_while_it_loads(
    stack_env: Mapping[str, str], credentials: Credentials, tmp_path: Path
) -> None:
    async with installed(stack_env, credentials, tmp_path) as installation:
        client = installation.client
        shop = await make_shop(client)
        early = [name for name in catalogue.customer_names() if name != catalogue.LATE_CUSTOMER]
        contracts = await sign_contracts(client, shop, early)

        sent = await send_while_killing(installation, stack_env, shop.names)

        contracts |= await sign_contracts(client, shop, [catalogue.LATE_CUSTOMER])
        assert await installation.bill(contracts) == invoice_totals(read_sample())
        report = await run_checks(installation.address, replay=replay_checks())
        assert report.is_good, [str(result) for result in report.results]
        assert report.conservation.total == sent.accepted


async def send_while_killing(
    installation: Installation, stack_env: Mapping[str, str], names: Names
) -> Sent:
    """Send the sample; kill the rater at the marks and start it again, so rating resumes."""
    answered = 0
    kills = list(KILLS_AFTER_ROWS)
    restarts = []

    def on_progress(_sent: Sent, rows: int) -> None:
        nonlocal answered
        answered += rows
        if kills and answered >= kills[0]:
            kills.pop(0)
            installation.rater.kill()
            restarts.append(installation.rater.start(is_awaited=False))

    sent = await send_sample(
        installation.client,
        stack_env["METERLINE_KAFKA"],
        stack_env["METERLINE_TOPIC_PREFIX"],
        names,
        on_progress,
    )
    assert len(restarts) == len(KILLS_AFTER_ROWS)
    return sent


async def test_an_event_sent_fifty_times_through_two_gateways_is_billed_once(
    stack_env: Mapping[str, str], credentials: Credentials, tmp_path: Path
) -> None:
    second = Service("gateway", stack_env, tmp_path)
    async with installed(stack_env, credentials, tmp_path) as installation:
        shop = await make_shop(installation.client)
        name = catalogue.customer_names()[0]
        contracts = await sign_contracts(installation.client, shop, [name])
        event = {
            "timestamp": "2026-10-15T12:00:00Z",
            "customer_ref": shop.names.customers[name],
            "usage_product_ref": shop.names.meters["API calls"],
            "quantity": 10_000,
            "idempotency_key": "only-once",
        }
        with running(second):
            second.start()
            answers = await send_through_both(installation, second, credentials, event)

        assert len({answer["event_ref"] for answer in answers}) == 1
        assert len({tuple(answer["receipt"].items()) for answer in answers}) == 50
        # 490.00 for the platform and 10,000 × 0.004 for the calls, with 21 % tax.
        assert (await installation.bill(contracts))[name] == Decimal("641.30")
    connection = await asyncpg.connect(stack_env["METERLINE_POSTGRES"])
    try:
        assert await connection.fetchval("SELECT count(*) FROM usage_event") == 1
        assert await connection.fetchval("SELECT sum(duplicates) FROM rater_partition") == 49
    finally:
        await connection.close()


async def send_through_both(
    installation: Installation, second: Service, credentials: Credentials, event: object
) -> list[dict[str, Any]]:
    async with client_of(second, credentials) as other:
        clients = [installation.client, other] * 25
        sending = (client.request("POST", "/api/usage/event", event) for client in clients)
        return list(await asyncio.gather(*sending))
