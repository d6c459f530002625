"""The stack as a person meets it: it starts, stops, survives what dies, and says what is wrong."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from deploy.local.children import wait_until
from deploy.local.find import find_stack
from deploy.local.state import read_record

PROGRAM = Path(__file__).with_name("stand_in_stack.py")
SECONDS_MAX = 60.0


class Run:
    """A stack in a process of its own."""

    def __init__(self, state: Path, *arguments: str, env: dict[str, str]) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(state), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "METERLINE_KAFKA": "", "METERLINE_POSTGRES": "", **env},
        )

    def ready(self) -> dict[str, Any]:
        """Wait for the line that says where the stack is."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        said: dict[str, Any] = json.loads(line)
        return said

    def pids(self) -> dict[str, int]:
        return {process.name: process.pid for process in read_record(self.state).processes}

    def stop(self) -> tuple[int, str]:
        """Ask it to end; its exit code and what it said on standard error."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for the end."""
        errors = self.process.communicate(timeout=SECONDS_MAX)[1]
        return self.process.returncode, errors


Start = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start stacks that do not outlive the test."""
    runs: list[Run] = []

    def start_one(state: Path, *arguments: str, **env: str) -> Run:
        runs.append(Run(state, *arguments, env=env))
        return runs[-1]

    yield start_one
    for run in runs:
        run.process.kill()
        run.process.communicate()


def all_gone(pids: dict[str, int]) -> bool:
    return wait_until(lambda: not any(map(psutil.pid_exists, pids.values())), SECONDS_MAX)


@pytest.fixture
def state() -> Iterator[Path]:
    """Give a directory that another user's server may enter, as pytest's own may not be."""
    directory = Path(tempfile.mkdtemp(prefix="meterline-tests-"))
    yield directory
    # Of a stack that was killed, the children end by themselves, and remove files of their own.
    assert wait_until(lambda: is_removed(directory), SECONDS_MAX)


def is_removed(directory: Path) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


async def count_tenants(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM tenant")
        return count
    finally:
        await connection.close()


@pytest.mark.timeout(600)  # three whole stacks, one after another
async def test_a_stack_stops_without_a_trace_and_resumes_where_it_stopped(
    state: Path, start: Start
) -> None:
    first = start(state)
    said = first.ready()
    pids = first.pids()
    assert set(pids) == {"postgres", "kafka", "gateway", "rater", "invoicer"}
    assert await count_tenants(said["postgres"]) == 1
    assert first.stop() == (0, "meterline: stopping\n")
    assert all_gone(pids)

    second = start(state)
    assert second.ready() == said
    assert await count_tenants(said["postgres"]) == 1

    second.process.kill()
    second.process.wait()
    assert all_gone(second.pids())

    third = start(state)
    assert third.ready() == said
    assert third.stop()[0] == 0


def test_a_killed_service_is_restarted_and_it_is_said(
    start: Start, tmp_path: Path, stack_env: dict[str, str]
) -> None:
    run = start(tmp_path, **stack_env)
    run.ready()
    before = run.pids()
    os.kill(before["rater"], signal.SIGKILL)
    assert wait_until(lambda: run.pids()["rater"] != before["rater"], SECONDS_MAX)
    assert wait_until(lambda: "ready again" in peek(run), SECONDS_MAX)
    after = run.pids()
    assert {name for name in after if after[name] != before[name]} == {"rater"}
    run.stop()
    assert all_gone(after)


def peek(run: Run) -> str:
    """Read one more line of what the stack says on standard error."""
    assert run.process.stderr is not None
    return run.process.stderr.readline()


def test_with_servers_in_the_environment_only_the_services_are_started(
    start: Start, tmp_path: Path, stack_env: dict[str, str]
) -> None:
    run = start(tmp_path, **stack_env)
    said = run.ready()
    assert said["postgres"] == stack_env["METERLINE_POSTGRES"]
    assert set(run.pids()) == {"gateway", "rater", "invoicer"}


def test_a_running_stack_is_found_by_its_state_directory(
    start: Start, tmp_path: Path, stack_env: dict[str, str]
) -> None:
    said = start(tmp_path, **stack_env).ready()
    found = find_stack(tmp_path, {})
    assert found.gateway_url == said["gateway_url"]
    assert (found.api_key, found.api_password) == (said["api_key"], said["api_password"])
    assert found.topic_prefix == stack_env["METERLINE_TOPIC_PREFIX"]


def test_a_state_directory_in_use_is_refused_naming_its_holder(
    start: Start, tmp_path: Path, stack_env: dict[str, str]
) -> None:
    holder = start(tmp_path, **stack_env)
    holder.ready()
    code, errors = start(tmp_path, **stack_env).end()
    assert code == 3
    assert f"is in use by process {holder.process.pid}; stop it or pass another --state" in errors


def test_a_taken_port_is_refused_by_its_number(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        code, errors = start(tmp_path, port).end()
    assert code == 4
    assert f"port {port} is taken" in errors


def test_a_service_that_cannot_start_shows_the_end_of_its_log_and_stops_the_rest(
    start: Start, tmp_path: Path, stack_env: dict[str, str]
) -> None:
    run = start(tmp_path, **stack_env, BROKEN_SERVICE="rater")
    code, errors = run.end()
    assert code == 6
    assert "rater ended with exit code 1 before it was ready" in errors
    assert "no such meter" in errors
    assert all_gone(run.pids())
