"""Clients that repeat an event until it is taken, and the books that must come of it."""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import aiohttp
import asyncpg

from tests.factories import PER_UNIT, make_contract, make_pricing
from tests.faults.gateway_sites import keys_in_log
from tests.integration.gateway.conftest import Site
from tests.processes import Service, running
from tests.rating import await_offsets, charges, counters, eventually

PAUSE_SECONDS = 0.05


@dataclass
class Ledger:
    """What clients were told: the quantity of each key that was taken, and how often not."""

    site: Site
    taken: dict[str, Decimal] = field(default_factory=dict)
    resets: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    async def run(self, url: str, clients: int) -> None:
        """Send events through `url` until it is over, each again until it is taken."""
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(url, random.Random(number)))

    async def _client(self, url: str, chance: random.Random) -> None:
        while not self.is_over:
            key = str(uuid.UUID(int=chance.getrandbits(128)))
            quantity = Decimal(chance.randrange(1, 10**9)).scaleb(-6)
            body = json.dumps(self.site.event(idempotency_key=key, quantity=str(quantity)))
            while not await self._send(url, body):
                pass
            self.taken[key] = quantity

    async def _send(self, url: str, body: str) -> bool:
        """Send on a connection of its own; tell whether the event was taken."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    f"{url}/api/usage/event", data=body, headers=self.site.headers
                ) as answer,
            ):
                content = await answer.json(content_type=None)
        except (aiohttp.ClientError, ConnectionError):
            self.resets += 1
            await asyncio.sleep(PAUSE_SECONDS)  # a client's own patience, not the test's
            return False
        if answer.status != 202:
            self.refusals[content["code"]] += 1
            await asyncio.sleep(PAUSE_SECONDS)
        return answer.status == 202

    async def await_taken(self, count: int) -> None:
        """Wait until so many events were taken."""

        async def reached() -> bool:
            return len(self.taken) >= count

        await eventually(reached, f"{count} events taken")


async def bill_and_compare(ledger: Ledger, env: Mapping[str, str], logs: Path) -> int:
    """Rate the log, and compare it and the charge with what clients were told.

    Returns how many records of the log repeat another one.
    """
    site = ledger.site
    found = await keys_in_log(site)
    assert set(found) == set(ledger.taken), "the log has what was taken, and nothing else"
    repeats = found.total() - len(found)
    connection = await asyncpg.connect(site.database)
    try:
        pricing = await make_pricing(connection, site.customer.tenant, [(site.meter, PER_UNIT)])
        await make_contract(connection, site.customer, [pricing])
        rater = Service("rater", env, logs)
        with running(rater):
            rater.start()
            await await_offsets(connection, found.total())
            assert await asyncio.to_thread(rater.stop) == 0
        quantity = Fraction(sum(ledger.taken.values()))
        (charge,) = (await charges(connection)).values()
        assert charge == (quantity, len(ledger.taken), quantity * Fraction(PER_UNIT["price"]))
        expected = {"rated": len(ledger.taken)} | ({"duplicates": repeats} if repeats else {})
        assert await counters(connection) == expected
    finally:
        await connection.close()
    return repeats
