"""A server for answers that a real gateway can't be made to give: it follows a script.

It logs everyone in, keeps every request for events that it gets, and answers each with the next
line of its script; the script's end means that all is accepted.
"""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from deploy.local.ports import LOOPBACK


@dataclass
class Reply:
    """An answer. status 0: the connection is cut instead."""

    status: int = 0
    content: object = None
    headers: dict[str, str] = field(default_factory=dict)
    #: The answer waits for it.
    gate: asyncio.Event | None = None


Script = Callable[[list[Any]], Reply]


def accepts(events: list[Any]) -> Reply:
    """Take every event."""
    return answer_each(202, [index for index, _ in enumerate(events)])


def answer_each(
    status: int, taken: Sequence[int], *, count: int | None = None, **more: object
) -> Reply:
    """Answer for each of `count` events; those not taken and not named in `more` are null."""
    total = len(taken) if count is None else count
    refs = [f"ref-{index}" if index in taken else None for index in range(total)]
    receipts = [{"partition": 0, "offset": n} if ref else None for n, ref in enumerate(refs)]
    content = {
        "accepted": len(taken),
        "rejected": 0,
        "errors": [],
        "event_refs": refs,
        "receipts": receipts,
        **more,
    }
    return Reply(status, content)


@dataclass
class Stub:
    """The server: what it was sent, and what it answers next."""

    script: list[Script] = field(default_factory=list)
    logins: list[Reply] = field(default_factory=list)
    token_seconds: int = 3_600
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    logged_in: int = 0
    came_at: list[float] = field(default_factory=list)
    under_way: int = 0
    under_way_max: int = 0
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def sent(self) -> list[list[str]]:
        """The keys of every request for events."""
        return [[event["idempotency_key"] for event in json.loads(body)] for body in self.bodies]

    def reply(self, path: str, token: str, body: bytes) -> Reply:
        if path == "/auth/login":
            self.logged_in += 1
            return self.logins.pop(0) if self.logins else Reply(200, self._token())
        self.tokens.append(token)
        self.bodies.append(body)
        self.came_at.append(time.monotonic())
        script = self.script.pop(0) if self.script else accepts
        return script(json.loads(body))

    def _token(self) -> str:
        now = int(time.time())
        claims = {"n": self.logged_in, "iat": now, "exp": now + self.token_seconds}
        return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.sig"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (h.partition(": ") for h in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.headers.append(headers)
        reply = self.reply(line.split()[1], headers.get("authorization", ""), body)
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        if reply.gate is not None:
            await reply.gate.wait()
        self.under_way -= 1
        if reply.status == 0:
            return False
        content = reply.content
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        fields = {"Content-Length": str(len(data)), **reply.headers}
        head = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(head.encode() + b"\r\n" + data)
        await writer.drain()
        return True


@asynccontextmanager
async def stub(*script: Script) -> AsyncIterator[Stub]:
    """Run a stub that follows a script."""
    made = Stub(list(script))
    server = await asyncio.start_server(made.serve, LOOPBACK, limit=2**24)
    port = server.sockets[0].getsockname()[1]
    made.url = f"http://{LOOPBACK}:{port}"
    try:
        yield made
    finally:
        server.close()
        for connection in made.connections:
            connection.cancel()
        await asyncio.gather(*made.connections, return_exceptions=True)


def always(reply: Reply) -> Script:
    """Answer the same whatever comes."""
    return lambda _events: reply


def problem(status: int, code: str, **more: object) -> Reply:
    """Answer with a problem document of the product."""
    return Reply(status, {"status": status, "code": code, "detail": f"it is {code}", **more})
