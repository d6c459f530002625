"""Several gateway processes behind one port: started, replaced when one dies, stopped together.

Each listens on the same address with SO_REUSEPORT, so that the kernel spreads the connections.
They share nothing but the directory where their metrics are summed.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from gateway.settings import GatewaySettings
from runtime.health import SUMMED_IN
from runtime.lifecycle import wait_for
from runtime.logging import get_logger

PAUSE_SECONDS: Final = 1.0
"""Before a process that died is replaced."""

BEGINNING_SECONDS: Final = 60.0
"""A process that ends of itself in this time after the start can't work: all are stopped."""

KILL_AFTER_SECONDS: Final = 10.0
"""How much longer than their own bound processes may take to stop."""

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)

log = get_logger()


async def run_processes(
    settings: GatewaySettings, environment: Mapping[str, str], stopping: asyncio.Event
) -> int:
    """Keep the processes running until `stopping` is set; return the exit code.

    It is that of a process that could not even begin to work, if there is one.
    """
    with _port(settings) as port, tempfile.TemporaryDirectory(prefix="meterline-") as directory:
        env = {
            **environment,
            SUMMED_IN: directory,
            "METERLINE_GATEWAY_PROCESSES": "1",
            "METERLINE_GATEWAY_PORT": str(port),
            "METERLINE_GATEWAY_REUSE_PORT": "true",
        }
        log.info("gateway_processes_started", processes=settings.processes, port=port)
        codes = await asyncio.gather(
            *[_keep_one(env, settings, stopping) for _ in range(settings.processes)]
        )
    log.info("gateway_processes_stopped")
    return max(codes)


@contextmanager
def _port(settings: GatewaySettings) -> Iterator[int]:
    """Keep the port ours from the start to the end; without listening, it gets no connection."""
    is_v6 = ":" in settings.host
    with socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET) as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((settings.host, settings.port))
        yield int(reserved.getsockname()[1])


async def _keep_one(
    env: Mapping[str, str], settings: GatewaySettings, stopping: asyncio.Event
) -> int:
    """Keep one process running; return the exit code of the last."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "gateway", env=env, preexec_fn=_end_with_parent
        )
        code = await _until_ended(process, settings, stopping)
        mark_process_dead(process.pid, env[SUMMED_IN])  # type: ignore[no-untyped-call]
        if stopping.is_set():
            return max(code, 0)
        if code > 0 and loop.time() - began_at < BEGINNING_SECONDS:
            stopping.set()
            return code
        log.error("gateway_process_died", pid=process.pid, exit_code=code)
        if await wait_for(stopping, PAUSE_SECONDS):
            return 0


async def _until_ended(
    process: asyncio.subprocess.Process, settings: GatewaySettings, stopping: asyncio.Event
) -> int:
    """Wait for a process's end, and bring it about when all are to stop."""
    ended = asyncio.ensure_future(process.wait())
    told = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not ended.done():
        process.send_signal(signal.SIGTERM)
        patience = settings.stop_seconds + settings.publish_deadline_seconds + KILL_AFTER_SECONDS
        await asyncio.wait([ended], timeout=patience)
    if not ended.done():
        log.error("gateway_process_killed", pid=process.pid)
        process.kill()
    return await ended


def _end_with_parent() -> None:
    """Ask the kernel to stop this process in order should its parent die, however it dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    os.setpgid(0, 0)  # a Ctrl-C on the terminal is the parent's alone
