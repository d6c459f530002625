"""One crash at each named point of the whole way: the invoices and the books stay the same."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import pytest

from deploy.demo import catalogue
from deploy.demo.load import event_of
from deploy.demo.sample import Row, read_sample
from deploy.demo.story import make_shop, sign_contracts
from deploy.local.bootstrap import Credentials
from deploy.verify.replay.checks import replay_checks
from deploy.verify.report import run_checks
from tests.e2e.installation import Installation, installed
from tests.e2e.month import invoice_totals
from tests.processes import Service

#: The point (and the passage at which to die), and the service that passes it.
POINTS = (
    ("gateway.after_ack", "gateway"),
    ("rater.before_commit:2", "rater"),
    ("rater.after_commit:2", "rater"),
    ("rater.after_backfill_step", "rater"),
    ("rater.after_cut", "rater"),
    ("rater.after_outbox_publish", "rater"),
    ("invoicer.before_issue", "invoicer"),
    ("invoicer.after_issue", "invoicer"),
    ("invoicer.after_render", "invoicer"),
)
ROWS, BATCH_ROWS = 2_000, 250
DEATH_SECONDS_MAX = 120.0
#: Signs after its usage has come, so that a back-fill has something to rate.
LATE = catalogue.customer_names()[0]


@pytest.mark.parametrize(("point", "name"), POINTS, ids=[point for point, _ in POINTS])
async def test_a_crash_changes_nothing(
    point: str,
    name: str,
    stack_env: Mapping[str, str],
    credentials: Credentials,
    tmp_path: Path,
) -> None:
    rows = list(islice(read_sample(), ROWS))
    crash = (name, point)
    async with installed(stack_env, credentials, tmp_path, crash=crash) as installation:
        victim: Service = getattr(installation, name)
        revived = asyncio.create_task(start_again_when_killed(victim))

        contracts = await use_the_service(installation, rows)
        assert await installation.bill(contracts) == invoice_totals(rows)

        async with asyncio.timeout(60):
            await revived
        report = await run_checks(installation.address, replay=replay_checks())
    assert report.is_good, [str(result) for result in report.results]


async def start_again_when_killed(victim: Service) -> None:
    """Wait for the death at the crash point, and start the service without it."""
    await asyncio.to_thread(victim.wait_killed, DEATH_SECONDS_MAX)
    victim.start(is_awaited=False)


async def use_the_service(installation: Installation, rows: Sequence[Row]) -> dict[str, str]:
    """Make the shop, send the rows, and sign the contracts, the busiest customer's last."""
    client = installation.client
    shop = await make_shop(client)
    early = [name for name in catalogue.customer_names() if name != LATE]
    contracts = await sign_contracts(client, shop, early)
    for start in range(0, len(rows), BATCH_ROWS):
        batch = [event_of(row, shop.names) for row in rows[start : start + BATCH_ROWS]]
        await client.request("POST", "/api/usage/events", batch)
    return contracts | await sign_contracts(client, shop, [LATE])
