"""Services as real processes: started, killed, started again, and always ended with the test."""

import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.local.children import Child, ChildSpec
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.stack import answers_ready

STOP_SECONDS_MAX = 60.0
"""More than a service's own bounds come to: an end by SIGKILL is then the service's fault."""


class Service:
    """One service of the product as a child process."""

    def __init__(
        self, name: str, env: Mapping[str, str], logs: Path, *, port: int | None = None
    ) -> None:
        """Choose a port; nothing runs yet.

        env: how it finds its servers; METERLINE_CRASHPOINT in it makes the process die there.
        """
        self.name = name
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._spec = ChildSpec(
            name=name,
            command=(sys.executable, "-P", "-W", "error::RuntimeWarning", "-m", name),
            env={**env, f"METERLINE_{name.upper()}_PORT": str(self.port)},
            log=logs / f"{name}-{self.port}.log",
            is_ready=lambda _: answers_ready(self.port),
            stop_seconds_max=STOP_SECONDS_MAX,
        )
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process started last."""
        assert self._child is not None, "start it first"
        return self._child

    @property
    def log_text(self) -> str:
        """Everything the process has said."""
        return self._spec.log.read_text(errors="replace")

    def metric(self, name: str) -> float:
        """Read one of its metrics, with its labels where it has some; 0 where it has none yet."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def start(self, *, is_awaited: bool = True, **env: str) -> "Service":
        """Start the process, with variables on top; wait until it is ready unless told not to."""
        self._child = Child(replace(self._spec, env={**self._spec.env, **env}))
        if is_awaited:
            self._child.wait_ready()
        return self

    def stop(self) -> int:
        """Ask it to stop, wait, and return its exit code."""
        self.child.stop()
        code = self.child.exit_code()
        assert code is not None
        return code

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.child.kill()

    def wait_killed(self, seconds_max: float = 60.0) -> None:
        """Wait until it has died by SIGKILL, as it does at its crash point."""
        assert self.child.wait(seconds_max), f"{self.name} is alive:\n{self.log_text[-3000:]}"
        assert self.child.exit_code() == -9, self.log_text[-3000:]


@contextmanager
def running(*services: Service) -> Iterator[None]:
    """End whatever of the services still runs when the block is left; if it fails, show its log."""
    try:
        yield
    except BaseException:
        for service in services:
            if service._child is not None:
                sys.stdout.write(f"--- {service.name} at {service.port}:\n")
                sys.stdout.write(service.log_text[-3000:])
        raise
    finally:
        for service in services:
            if service._child is not None:
                service.child.stop()
