"""Files of usage, streamed to the gateway and sent again until every row has its outcome."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import BinaryIO, Final
from urllib.parse import urlencode

from meterline_client.errors import Unavailable
from meterline_client.limits import Limits
from meterline_client.retry import wait_seconds
from meterline_client.transport import Answer, NoAnswer, Transport
from meterline_client.verdict import RETRIED, is_final, refusal

PATH: Final = "/api/usage/uploads"
HEADERS: Final = {"Version": "V0", "Content-Type": "text/csv"}
CHUNK_BYTES: Final = 256 * 1024
SERVER_ERROR: Final = 500

SILENCE_SECONDS: Final = 180.0
"""A connection on which nothing moves for so long is given up; the gateway waits for less."""

OnBytes = Callable[[int], None]


class Upload:
    """One file on its way, however many requests that takes. All have one Idempotency-Key."""

    def __init__(
        self,
        transport: Transport,
        limits: Limits,
        file: BinaryIO,
        *,
        key: str | None,
        options: Mapping[str, str],
        on_progress: OnBytes | None,
    ) -> None:
        """file: where it stands, it begins. key: None to name it by its content."""
        self._transport = transport
        self._limits = limits
        self._file = file
        self._begin = file.tell() if file.seekable() else None
        self._key = key
        self._path = f"{PATH}?{urlencode(options)}" if options else PATH
        self._on_progress = on_progress
        self._moved_at = time.monotonic()

    async def run(self) -> bytes:
        """Send the file and return the report, JSON.

        Raises RequestRefused, LoginFailed; Unavailable when nothing has moved for
        `limits.deadline_seconds`, or what was read can't be read again.
        """
        if self._key is None:
            self._key = await asyncio.to_thread(self._name)
        tried = 0
        while True:
            began = self._moved_at
            try:
                answer = await self._send()
            except NoAnswer as error:
                reason, retry_after = error.reason, error.retry_after
            else:
                if is_final(answer.status):
                    raise refusal(answer.status, answer.body)
                if answer.status not in RETRIED and answer.status < SERVER_ERROR:
                    return answer.body
                reason, retry_after = str(refusal(*answer[:2])), answer.retry_after
            tried = 1 if self._moved_at > began else tried + 1
            await self._pause(tried, retry_after, reason)

    def _name(self) -> str:
        """Return a key: the same for the same content, where it can be read twice."""
        if self._begin is None:
            return str(uuid.uuid4())
        digest = hashlib.sha256()
        while chunk := self._file.read(CHUNK_BYTES):
            digest.update(chunk)
        self._file.seek(self._begin)
        return f"sha256-{digest.hexdigest()}"

    async def _send(self) -> Answer:
        """Send the file once. Raises NoAnswer."""
        loop = asyncio.get_running_loop()
        headers = {**HEADERS, "Idempotency-Key": str(self._key)}
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as patience:

                def moved() -> None:
                    self._moved_at = time.monotonic()
                    patience.reschedule(loop.time() + SILENCE_SECONDS)

                return await self._transport.stream(self._path, self._read(moved), headers)
        except TimeoutError:
            reason = f"nothing moved for {SILENCE_SECONDS:g} s"
            raise NoAnswer(reason, may_be_recorded=True) from None

    async def _read(self, moved: Callable[[], None]) -> AsyncIterator[bytes]:
        """Yield the file in chunks, as they can be sent."""
        sent = 0
        read = getattr(self._file, "read1", self._file.read)  # a pipe gives what it has
        while chunk := await asyncio.to_thread(read, CHUNK_BYTES):
            yield chunk
            moved()
            sent += len(chunk)
            if self._on_progress is not None:
                self._on_progress(sent)

    async def _pause(self, tried: int, retry_after: float, reason: str) -> None:
        """Wait before the file is sent again, from its beginning."""
        again = f"{reason}; sent again with the key {self._key}, nothing counts twice"
        if self._begin is None:
            raise Unavailable(again)
        limits = self._limits
        first, longest = limits.backoff_seconds, limits.backoff_seconds_max
        seconds = wait_seconds(tried, retry_after, first=first, longest=longest)
        if time.monotonic() + seconds > self._moved_at + limits.deadline_seconds:
            raise Unavailable(again)
        await asyncio.sleep(seconds)
        self._file.seek(self._begin)
