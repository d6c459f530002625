"""A TCP proxy that cuts the client off at the first byte of an answer."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.local.ports import LOOPBACK

CHUNK_BYTES = 65_536


class CuttingProxy:
    """Passes connections on; of a share of them the client never reads what was answered."""

    def __init__(self, upstream_port: int, *, share: float, seed: int = 1) -> None:
        self._upstream_port = upstream_port
        self._share = share
        self._chance = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CuttingProxy"]:
        server = await asyncio.start_server(self._begin, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.gather(*self._tasks)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        passing_on = asyncio.gather(
            self._pass_on(reader, requests),
            self._answer(answers, writer, is_cut=self._chance.random() < self._share),
        )
        await passing_on
        for end in (writer, requests):
            end.close()
        await asyncio.gather(writer.wait_closed(), requests.wait_closed(), return_exceptions=True)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                target.write(data)
                await target.drain()
            target.write_eof()
        except OSError:
            target.transport.abort()

    async def _answer(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_cut: bool
    ) -> None:
        if is_cut and await source.read(1):
            self.cuts += 1
            target.transport.abort()
            return
        await self._pass_on(source, target)
