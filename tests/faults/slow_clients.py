"""Slow clients, in a process of their own so that they cost whoever measures nothing.

Run as `python -m tests.faults.slow_clients PORT COUNT BODY_BYTES`. The first line of the input is
the head of their requests, as hexadecimal digits. All begin at once and send a little now and then;
at the end of the input they send the rest. Prints how many had which status, as JSON.
"""

import asyncio
import json
import sys
from collections import Counter

PART_BYTES = 1_024
PAUSE_SECONDS = 0.3


async def client(port: int, head: bytes, body_bytes: int, told: asyncio.Event) -> int:
    """Send one request; return the status, 0 when the connection ended without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"[")
    left = body_bytes - 2
    answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
    end = asyncio.ensure_future(told.wait())
    while not answer.done() and not end.done():
        await asyncio.wait(
            [answer, end], timeout=PAUSE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if left > PART_BYTES:
            writer.write(b" " * PART_BYTES)
            left -= PART_BYTES
    end.cancel()
    try:
        if not answer.done():
            writer.write(b" " * left + b"]")
        return int((await answer).split(b" ", 2)[1])
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()


async def main(port: int, count: int, body_bytes: int) -> None:
    """Run all of them."""
    head = bytes.fromhex(await asyncio.to_thread(sys.stdin.readline))
    told = asyncio.Event()
    clients = [asyncio.ensure_future(client(port, head, body_bytes, told)) for _ in range(count)]
    await asyncio.to_thread(sys.stdin.read)
    told.set()
    sys.stdout.write(json.dumps(Counter(await asyncio.gather(*clients))))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
