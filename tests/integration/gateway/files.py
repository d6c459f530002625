"""Files of usage for tests, sent as they come, and what is told of them."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence
from io import BytesIO
from typing import Any

from tests.integration.gateway.conftest import Site

PATH = "/api/usage/uploads"
HEADER = ("timestamp", "customer_ref", "usage_product_ref", "quantity")


def row(site: Site, quantity: object = 1, at: str = "2024-02-05T12:00:00Z") -> list[object]:
    return [at, site.customer.ref, site.meter.ref, quantity]


def table(rows: Sequence[Sequence[object]], header: Sequence[str] = HEADER, **form: Any) -> bytes:  # noqa: ANN401 - csv's own
    text = io.StringIO(newline="")
    csv.writer(text, **form).writerows([header, *rows])
    return text.getvalue().encode()


async def upload(
    site: Site, body: object, query: str = "", **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send a file that streams; the status and the answer."""
    sent = site.headers | {name.replace("_", "-"): value for name, value in headers.items()}
    data = BytesIO(body) if isinstance(body, bytes) else body
    async with site.session.post(site.url + PATH + query, data=data, headers=sent) as answer:
        return answer.status, await answer.json(content_type=None)


async def get(site: Site, path: str) -> tuple[int, Any]:
    async with site.session.get(site.url + path, headers=site.headers) as answer:
        if answer.content_type == "text/csv":
            return answer.status, await answer.text()
        return answer.status, await answer.json(content_type=None)


async def keys(site: Site, count: int) -> list[str]:
    """The keys of the log's records of this site's customer, which must be so many."""
    found = await site.own_records()
    assert len(found) == count
    return [record["idempotency_key"] for record in found]


class Slow:
    """A body that comes when the test lets it."""

    def __init__(self, *parts: bytes) -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        for part in parts:
            self.parts.put_nowait(part)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self.parts.get()) is not None:
            yield part


async def newest(site: Site) -> dict[str, Any]:
    """The upload that the tenant began last."""
    _, listed = await get(site, PATH + "?limit=1")
    (shown,) = listed["uploads"]
    assert isinstance(shown, dict)
    return shown


async def is_begun(site: Site) -> bool:
    return bool((await get(site, PATH))[1]["uploads"])
