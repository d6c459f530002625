"""Documents over HTTP, with the invoicer's worker that does what people want of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest_asyncio

from invoicer.requests import RequestWorker
from invoicer.settings import InvoicerSettings
from runtime.clock import system_clock
from runtime.postgres import open_pool
from tests.integration.manage.clients import Client, Gateway
from tests.integration.manage.papers import Paper, write_document
from tests.integration.manage.shop import Shop, contract_body, make_shop


@pytest_asyncio.fixture(autouse=True)
async def invoicer(gateway: Gateway) -> AsyncIterator[None]:
    """Run the worker of an invoicer that mails."""
    stopping = asyncio.Event()
    settings = InvoicerSettings(
        kafka="", postgres="", smtp_url="smtp://127.0.0.1:9", request_poll_seconds=0.02
    )
    async with open_pool(gateway.postgres, service="test") as pool:
        worker = RequestWorker(pool, settings, stopping, asyncio.Event(), system_clock)
        task = asyncio.create_task(worker.run())
        yield
        stopping.set()
        await task


async def ask(
    client: Client,
    paper: Paper,
    deed: str,
    body: object = None,
    **headers: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    path = f"/api/invoices/{paper.ref}/{deed}"
    return await asyncio.to_thread(lambda: client.send("POST", path, body, **headers))


async def paper_of(client: Client, *, is_held: bool = False, **more: int) -> tuple[Paper, Shop]:
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    day = date(2023, 2, 1)
    return await write_document(
        client, shop, contract_ref, issue_date=day, is_held=is_held, **more
    ), shop
