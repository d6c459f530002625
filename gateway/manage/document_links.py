"""Links to the pages of documents: made for those who may see the document, and revoked by them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

import asyncpg
from aiohttp import web

from gateway.auth.origin import client_address
from gateway.limits import Limit, RateLimited
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection, Queries
from schemas.link_token import Linked, link, unseal

RELOAD_SECONDS: Final = 2.0
QUERY_SECONDS: Final = 5.0
LISTS_AT_ONCE_MAX: Final = 4
"""Lists of usage that a process sends at once; each may have millions of events."""

LIST_RETRY_SECONDS: Final = 10
ADDRESSES_MAX: Final = 65_536
"""So many buckets are kept; addresses beyond share them, by a hash that is new in each process."""

log = get_logger()
queries: Final = Queries.beside(__file__, "document_links.sql")


class Links:
    """Seals and reads links, with the key as this process knows it.

    public_url: where customers reach us, "" for the host that a request was sent to.
    """

    def __init__(self, pool: asyncpg.Pool, public_url: str, pages_per_second: float) -> None:
        self._pool = pool
        self._public_url = public_url
        self._secret = b""
        self._lists = 0
        self._pages = Limit("pages", pages_per_second, bound="address_rate")

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Know the key while the application runs; another one is met within seconds."""
        await self._load()
        task = asyncio.create_task(self._keep_fresh())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                await self._load()
            except TRANSIENT_ERRORS as error:
                log.warning("link_key_not_loaded", error=repr(error))

    async def _load(self) -> None:
        async with self._pool.acquire(timeout=QUERY_SECONDS) as connection:
            self._secret = await connection.fetchval(queries.find_link_key, timeout=QUERY_SECONDS)

    def url(self, request: web.Request, linked: Linked) -> str:
        """Write a link, for the one who asks."""
        origin = self._public_url or f"{request.scheme}://{request.host}"
        return link(origin, linked, self._secret)

    def read(self, token: str) -> Linked | None:
        """Return what a link leads to, None when it is none of ours."""
        return unseal(token, self._secret)

    def take_page(self, request: web.Request) -> None:
        """Let an address open a page. Raises RateLimited."""
        self._pages.take(hash(client_address(request)) % ADDRESSES_MAX, 1)

    @contextmanager
    def sending_list(self) -> Iterator[None]:
        """Send a list of usage during the block. Raises RateLimited when too many are under way."""
        if self._lists >= LISTS_AT_ONCE_MAX:
            raise RateLimited("lists", LIST_RETRY_SECONDS)
        self._lists += 1
        try:
            yield
        finally:
            self._lists -= 1


LINKS: Final = web.AppKey("links", Links)


async def hosted_urls(
    request: web.Request,
    connection: Connection,
    tenant_id: int,
    places: Sequence[int],
    refs: Sequence[UUID],
) -> dict[UUID, str]:
    """Return the links to issued documents, by their refs."""
    rows = await connection.fetch(queries.list_generations, tenant_id, places, refs)
    generations = {row["document_ref"]: row["generation"] for row in rows}
    links = request.app[LINKS]
    return {
        ref: links.url(request, Linked(tenant_id, generations.get(ref, 0), ref)) for ref in refs
    }
