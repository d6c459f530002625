"""Runs a server for a benchmark, sends it load from another process, and asks what it used."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from benchmarks.load import Figures, Task
from benchmarks.site import CREDENTIALS, Site, pin
from deploy.local.children import wait_until
from deploy.local.ports import LOOPBACK
from deploy.local.stack import answers_ready

EVENT_PATH = "/api/usage/event"
EVENTS_PATH = "/api/usage/events"
SERVER_CORE, OTHER_CORE = 0, 1
SECONDS = 8.0
WARM_UP_SECONDS = 2.0


@contextmanager
def server(command: list[str], port: int, env: Mapping[str, str]) -> Iterator[int]:
    """Run a server on its own core; yields its pid."""
    pin(SERVER_CORE)
    # What the server says goes where it can be read beside the figures.
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=sys.stderr)
    pin(OTHER_CORE)
    try:
        assert wait_until(lambda: answers_ready(port), 60)
        yield process.pid
    finally:
        process.terminate()
        assert process.wait(30) == 0


@contextmanager
def gateway(site: Site, port: int, *, fast_lane: bool = True) -> Iterator[int]:
    """Run one gateway process; yields its pid."""
    env = {
        **site.servers.env(),
        "METERLINE_GATEWAY_PORT": str(port),
        "METERLINE_GATEWAY_FAST_LANE": str(fast_lane).lower(),
    }
    with server([sys.executable, "-m", "gateway"], port, env) as pid:
        yield pid


@contextmanager
def bare_handler(port: int) -> Iterator[int]:
    """Run the ceiling of the route for one event; yields its pid."""
    with server([sys.executable, "-m", "benchmarks.bare_handler", str(port)], port, {}) as pid:
        yield pid


def headers_of(port: int) -> list[str]:
    """Log in; return the headers of a request for events."""
    body = json.dumps({"api_key": CREDENTIALS.api_key, "password": CREDENTIALS.api_password})
    url = f"http://{LOOPBACK}:{port}/auth/login"
    with urllib.request.urlopen(url, body.encode()) as answer:
        return [f"Authorization: Bearer {json.load(answer)}", "Version: V0"]


def bodies_of(events: list[bytes], events_a_request: int) -> list[str]:
    """Write the requests of a batch each."""
    return [
        f"[{b','.join(events[at : at + events_a_request]).decode()}]"
        for at in range(0, len(events), events_a_request)
    ]


def measure(
    port: int,
    pid: int,
    headers: list[str],
    *,
    bodies: list[str],
    connections: int,
    path: str = EVENT_PATH,
    seconds: float = SECONDS,
    warm_up_seconds: float = WARM_UP_SECONDS,
) -> tuple[Figures, float]:
    """Send what the server can take; also return the server's microseconds of CPU a request."""
    task = Task(
        host=LOOPBACK,
        port=port,
        path=path,
        headers=headers,
        bodies=bodies,
        connections=connections,
        seconds=seconds,
        warm_up_seconds=warm_up_seconds,
    )
    used = cpu_seconds(pid)
    figures = msgspec.json.decode(run_sender("load", task), type=Figures)
    used = cpu_seconds(pid) - used
    return figures, round(1e6 * used / (figures.accepted + figures.others), 1)


def run_sender(name: str, task: msgspec.Struct) -> bytes:
    """Run a load generator of this package with its task; return what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    return subprocess.run(
        command, input=msgspec.json.encode(task), stdout=subprocess.PIPE, check=True
    ).stdout


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mebibytes(pid: int) -> float:
    """Return the memory that a process holds."""
    with open(f"/proc/{pid}/statm") as file:
        pages = int(file.read().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def print_report(report: Mapping[str, object]) -> None:
    """Print a benchmark's figures."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
