"""A proxy before Postgres that lets a COMMIT through and cuts the line before its answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from deploy.local.ports import LOOPBACK

CHUNK_BYTES = 65_536
COMMIT = b"COMMIT;\0"


class CommitCutter:
    """Passes connections on; of every so many commits one is done and never answered."""

    def __init__(self, dsn: str, *, every: int, cuts_max: int) -> None:
        address = urlsplit(dsn)
        assert address.port is not None
        self._dsn = address
        self._every = every
        self._cuts_max = cuts_max
        self._commits = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.port = 0

    @property
    def dsn(self) -> str:
        """The database as it is reached through here."""
        user = self._dsn.netloc.rpartition("@")[0]
        return urlunsplit(self._dsn._replace(netloc=f"{user}@{LOOPBACK}:{self.port}"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CommitCutter"]:
        server = await asyncio.start_server(self._begin, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(LOOPBACK, self._dsn.port)
        answering = asyncio.create_task(self._pass_on(answers, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                is_cut = self._is_next(data)
                if is_cut:
                    answering.cancel()
                    await asyncio.gather(answering, return_exceptions=True)
                requests.write(data)
                await requests.drain()
                if is_cut and await answers.read(1):  # it is done by now
                    self.cuts += 1
                    return
        except OSError:
            pass
        finally:
            answering.cancel()
            writer.transport.abort()
            requests.transport.abort()

    def _is_next(self, data: bytes) -> bool:
        if not data.endswith(COMMIT) or self.cuts >= self._cuts_max:
            return False
        self._commits += 1
        return self._commits % self._every == 0

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                target.write(data)
                await target.drain()
        except OSError:
            pass
        target.transport.abort()
