"""Child processes: started so that they cannot outlive us, stopped within a bound."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.errors import ChildFailed

LAUNCHER = Path(__file__).with_name("launch.py")
LOG_LINES_SHOWN = 20
LOG_TAIL_BYTES = 16_384
POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to start, and how it is told to end."""

    name: str
    #: The first part is an absolute path.
    command: tuple[str, ...]
    log: Path
    #: Given the child's pid, whether it does its work by now. It may say no for any reason.
    is_ready: Callable[[int], bool]
    ready_seconds_max: float = 60.0
    env: Mapping[str, str] = field(default_factory=dict)
    #: (uid, gid) to run as; None keeps ours.
    user: tuple[int, int] | None = None
    working_directory: Path | None = None
    #: Asks for an orderly end.
    stop_signal: signal.Signals = signal.SIGTERM
    #: Sent by the kernel when we die without stopping anything.
    orphan_signal: signal.Signals = signal.SIGKILL
    stop_seconds_max: float = 20.0


class Child:
    """A running child, leader of a process group of its own.

    The group keeps a Ctrl-C on the terminal ours alone, so that we stop children in order; and
    whatever a child leaves behind is killed with its group.
    """

    def __init__(self, spec: ChildSpec) -> None:
        """Start the child; call from the main thread, whose death it is tied to."""
        self.spec = spec
        user = "-" if spec.user is None else f"{spec.user[0]}:{spec.user[1]}"
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER)]
        tie = [str(os.getpid()), str(int(spec.orphan_signal)), user]
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, *tie, *spec.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **spec.env},
                cwd=spec.working_directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id, which is its group's too."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the child's exit code (negative: the signal that ended it), None while it runs.

        Its group is killed before it is reaped, while the number cannot belong to another.
        """
        if self._process.returncode is not None:
            return self._process.returncode
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.kill_group()
        return self._process.wait()

    def wait(self, seconds_max: float) -> bool:
        """Wait for the child's end; False if it still runs after that time."""
        return wait_until(lambda: self.exit_code() is not None, seconds_max)

    def ask_to_stop(self) -> None:
        """Send the signal for an orderly end, and return at once."""
        if self.exit_code() is None:
            self._process.send_signal(self.spec.stop_signal)

    def stop(self) -> None:
        """Ask the child to end, kill it if it does not within its bound."""
        self.ask_to_stop()
        if not self.wait(self.spec.stop_seconds_max):
            self.kill()

    def kill(self) -> None:
        """End the child and its group at once."""
        self.kill_group()
        self._process.wait()

    def failure(self, what: str) -> ChildFailed:
        """Build the error that says what happened and shows the end of the child's log."""
        return ChildFailed(f"{self.spec.name} {what}; the end of {self.spec.log}:\n{self._tail()}")

    def wait_ready(self) -> None:
        """Wait until the child is ready; raise ChildFailed if it ends or takes too long."""

        def is_settled() -> bool:
            return self.exit_code() is not None or self.spec.is_ready(self.pid)

        if not wait_until(is_settled, self.spec.ready_seconds_max):
            raise self.failure(f"was not ready after {self.spec.ready_seconds_max:g} s")
        if (code := self.exit_code()) is not None:
            raise self.failure(f"ended with exit code {code} before it was ready")

    def kill_group(self) -> None:
        """Send SIGKILL to the child and its group, unless it was reaped; return at once."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _tail(self) -> str:
        with self.spec.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:]) or "  (empty)"


def wait_until(condition: Callable[[], bool], seconds_max: float) -> bool:
    """Look at the condition until it holds; False if it does not within that time."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
