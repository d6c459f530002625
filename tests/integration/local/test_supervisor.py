"""Supervision: what dies comes back, ever more slowly, and nothing outlives its parent."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from deploy.local.children import Child, ChildSpec, wait_until
from deploy.local.errors import ChildFailed
from deploy.local.supervisor import Supervisor

SECONDS_MAX = 20.0
SLEEP = "import time; time.sleep(600)"


def spec(tmp_path: Path, program: str = SLEEP, **changes: object) -> ChildSpec:
    """A child that runs a line of Python and is ready at once."""
    values: dict[str, object] = {
        "name": "child",
        "command": (sys.executable, "-c", program),
        "log": tmp_path / "child.log",
        "is_ready": lambda _: True,
        **changes,
    }
    return ChildSpec(**values)  # type: ignore[arg-type]


class Told(list[str]):
    """What a supervisor said."""

    def about(self, what: str) -> list[str]:
        return [sentence for sentence in self if what in sentence]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def supervisor(told: Told) -> Iterator[Supervisor]:
    made = Supervisor(tell=told.append, changed=ignore)
    yield made
    made.stop()


def ignore(_: Sequence[Child]) -> None:
    """Keep no record."""


def looking(supervisor: Supervisor, condition: Callable[[], bool]) -> bool:
    """Look after the children until the condition holds."""

    def look() -> bool:
        supervisor.look()
        return condition()

    return wait_until(look, SECONDS_MAX)


def test_a_killed_child_is_started_anew(supervisor: Supervisor, told: Told, tmp_path: Path) -> None:
    supervisor.start([spec(tmp_path)])
    first = supervisor.children[0].pid
    os.kill(first, signal.SIGKILL)
    assert looking(supervisor, lambda: bool(told.about("ready again")))
    assert told[0].startswith("child ended with exit code -9; restarting in 0.5 s")
    assert supervisor.children[0].pid != first


def test_each_failure_in_a_row_doubles_the_wait(
    supervisor: Supervisor, told: Told, tmp_path: Path
) -> None:
    supervisor.start([spec(tmp_path)])
    supervisor.children[0].kill()
    supervisor.look()
    assert looking(supervisor, lambda: bool(supervisor.children))
    supervisor.children[0].kill()
    assert looking(supervisor, lambda: len(told.about("restarting")) == 2)
    assert "restarting in 0.5 s" in told.about("restarting")[0]
    assert "restarting in 1 s" in told.about("restarting")[1]


def test_a_child_that_ends_before_it_is_ready_is_an_error_with_its_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    broken = spec(tmp_path, "print('no disk'); raise SystemExit(3)", is_ready=lambda _: False)
    with pytest.raises(ChildFailed, match=r"(?s)exit code 3 before it was ready.*no disk"):
        supervisor.start([broken])


def test_a_child_that_is_never_ready_is_an_error(supervisor: Supervisor, tmp_path: Path) -> None:
    silent = spec(tmp_path, is_ready=lambda _: False, ready_seconds_max=0.2)
    with pytest.raises(ChildFailed, match=r"was not ready after 0\.2 s"):
        supervisor.start([silent])


def test_stages_stop_in_reverse_order(told: Told, tmp_path: Path) -> None:
    order = tmp_path / "order"
    program = textwrap.dedent("""
        import signal, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        print("listening", flush=True)
        signal.sigwait([signal.SIGTERM])
        open(sys.argv[1], "a").write(sys.argv[2])
    """)

    def stage(name: str) -> ChildSpec:
        log = tmp_path / f"{name}.log"
        return spec(
            tmp_path,
            command=(sys.executable, "-c", program, str(order), name),
            log=log,
            is_ready=lambda _: "listening" in log.read_text(),
        )

    supervisor = Supervisor(tell=told.append, changed=ignore)
    for name in "abc":
        supervisor.start([stage(name)])
    supervisor.stop()
    assert order.read_text() == "cba"


def test_a_child_that_ignores_the_signal_is_killed_after_its_bound(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True);"
    log = tmp_path / "child.log"
    child = Child(
        spec(
            tmp_path,
            deaf + SLEEP,
            stop_seconds_max=0.2,
            is_ready=lambda _: bool(log.stat().st_size),
        )
    )
    child.wait_ready()
    child.stop()
    assert child.exit_code() == -signal.SIGKILL


def test_what_a_child_leaves_behind_goes_with_it(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys;"
        f"print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True)"
    )
    child = Child(spec(tmp_path, program))
    assert child.wait(SECONDS_MAX)
    grandchild = int((tmp_path / "child.log").read_text())
    assert wait_until(lambda: not is_alive(grandchild), SECONDS_MAX)


def is_alive(pid: int) -> bool:
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return bool(status != psutil.STATUS_ZOMBIE)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_killing_the_parent_ends_its_children(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from deploy.local.children import Child, ChildSpec
        command = (sys.executable, "-c", "import time; time.sleep(600)")
        log = Path(sys.argv[1])
        child = Child(ChildSpec(name="c", command=command, log=log, is_ready=lambda _: True))
        print(child.pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    assert wait_until(lambda: not is_alive(child), SECONDS_MAX)
