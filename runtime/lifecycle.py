"""A service's life: run until SIGINT or SIGTERM, then stop in order."""

import asyncio
import resource
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import uvloop

from runtime.memory import bound_what_stays


def run_service(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `main(stopping)` on uvloop; `stopping` is set at the first SIGINT or SIGTERM.

    `main` finishes its work in hand and returns. A second signal cancels it.
    """
    bound_what_stays()
    use_all_files()
    uvloop.run(_with_signals(main))


def use_all_files() -> None:
    """Open as many files and connections as the system allows.

    The lower limit that processes start with, often 1,024, is for programs that use `select`.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell of
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))


async def _with_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if stopping.is_set():
            task.cancel()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await main(stopping)


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, at most so long; say whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
