"""A whole installation of real processes on the test servers, and the demonstration as its user."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from deploy.demo.story import LIMITS, close_period, wait_for_invoices
from deploy.local.bootstrap import Credentials
from deploy.local.find import StackAddress
from deploy.local.stack import SERVICES
from meterline_client import AsyncClient
from tests.processes import Service, running


@dataclass
class Installation:
    """Three services and a client of the first gateway."""

    gateway: Service
    rater: Service
    invoicer: Service
    client: AsyncClient
    env: Mapping[str, str]

    @property
    def address(self) -> StackAddress:
        """How `verify` finds the servers."""
        return StackAddress(
            kafka=self.env["METERLINE_KAFKA"],
            postgres=self.env["METERLINE_POSTGRES"],
            topic_prefix=self.env["METERLINE_TOPIC_PREFIX"],
        )

    async def bill(self, contracts: Mapping[str, str]) -> dict[str, Decimal]:
        """Close the month, wait for the invoices, and return their totals by customer."""
        await close_period(self.client, contracts)
        return await self.totals(contracts)

    async def totals(self, contracts: Mapping[str, str]) -> dict[str, Decimal]:
        """Wait for the invoices; their totals by customer."""
        documents = await wait_for_invoices(self.client, contracts)
        return {
            document["customer"]["customer_name"]: Decimal(document["total"])
            for document in documents
        }


def client_of(gateway: Service, credentials: Credentials) -> AsyncClient:
    """Return a client of a gateway."""
    key, password = credentials.api_key, credentials.api_password
    return AsyncClient(gateway.url, key, password, limits=LIMITS)


@asynccontextmanager
async def installed(
    env: Mapping[str, str],
    credentials: Credentials,
    logs: Path,
    *,
    crash: tuple[str, str] | None = None,
) -> AsyncIterator[Installation]:
    """Start the three services and a client, and end everything afterwards.

    crash: a service, and the crash point at which it is to die.
    """
    gateway, rater, invoicer = (Service(name, env, logs) for name in SERVICES)
    with running(gateway, rater, invoicer):
        for service in (gateway, rater, invoicer):
            is_victim = crash is not None and service.name == crash[0]
            point = {"METERLINE_CRASHPOINT": crash[1]} if crash and is_victim else {}
            service.start(is_awaited=False, **point)
        for service in (gateway, rater, invoicer):
            service.child.wait_ready()
        async with client_of(gateway, credentials) as client:
            yield Installation(gateway, rater, invoicer, client, env)
