"""The state directory: all that a stack leaves on disk, held by one process at a time.

`postgres/` and `kafka/` are the servers' data, `logs/` the services' logs, `stack.json` what a
command needs to find the stack, `lock` says who holds the directory.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from deploy.local.children import wait_until
from deploy.local.errors import StackError, StateDirectoryInUse

DEFAULT_STATE = Path("var/state")
LOCK_SECONDS_MAX = 1.0  # a command that looks whether we run holds the lock for an instant
STALE_SECONDS_MAX = 10.0
START_TIME_SLACK_SECONDS = 1.0


class ProcessId(msgspec.Struct, frozen=True):
    """A process, told apart from a later one with its number by when it started."""

    name: str
    pid: int
    started_at: float

    @classmethod
    def of(cls, name: str, pid: int) -> "ProcessId | None":
        """Return the running process with that number, None if it has ended."""
        try:
            return cls(name, pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def is_running(self) -> bool:
        """Tell whether this very process runs (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            started_at: float = process.create_time()
            is_same = abs(started_at - self.started_at) < START_TIME_SLACK_SECONDS
            return is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class StackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What stack.json says. It stays after a stop, so that the next start has the same face."""

    gateway_url: str = ""
    kafka: str = ""
    postgres: str = ""
    topic_prefix: str = ""
    #: None when the database had tenants of its own, whose keys we do not know.
    api_key: str | None = None
    api_password: str | None = None
    admin_email: str | None = None
    admin_password: str | None = None
    #: By the name of what listens on it.
    ports: dict[str, int] = {}
    processes: tuple[ProcessId, ...] = ()


class StateDirectory:
    """A directory held by this process; made by `hold`."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier stack left here."""
        self.path = path
        self.record = read_record(path)

    def save(self, record: StackRecord) -> None:
        """Replace stack.json, readable by its owner alone, whole or not at all."""
        unfinished = self.path / "stack.json.unfinished"
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        unfinished.rename(self.path / "stack.json")
        self.record = record

    def update(self, **changes: object) -> None:
        """Save the record with some fields replaced."""
        self.save(msgspec.structs.replace(self.record, **changes))

    def end_stale_processes(self, *, seconds_max: float = STALE_SECONDS_MAX) -> list[str]:
        """End what a stack that died here left running; return the names.

        The kernel ends children with their parent where it can, so they may be about to end:
        they are killed only after that time.
        """
        stale = [process for process in self.record.processes if process.is_running()]

        def all_ended() -> bool:
            return not any(process.is_running() for process in stale)

        if not wait_until(all_ended, seconds_max):
            for process in filter(ProcessId.is_running, stale):
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(process.pid).kill()
            wait_until(all_ended, STALE_SECONDS_MAX)
        self.update(processes=())
        return [process.name for process in stale]


@contextmanager
def hold(path: Path) -> Iterator[StateDirectory]:
    """Take the directory for this process, making it if need be.

    Raises StateDirectoryInUse naming the process that has it.
    """
    path = path.resolve()
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not wait_until(lambda: _try_lock(descriptor, fcntl.LOCK_EX), LOCK_SECONDS_MAX):
            holder = os.pread(descriptor, 20, 0).decode().strip() or "unknown"
            raise StateDirectoryInUse(
                f"state directory {path} is in use by process {holder}; "
                "stop it or pass another --state"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield StateDirectory(path)
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether a process holds the directory now."""
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def read_record(path: Path) -> StackRecord:
    """Read stack.json; an empty record if there is none. Raises StackError if it is damaged."""
    file = path / "stack.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=StackRecord)
    except FileNotFoundError:
        return StackRecord()
    except msgspec.DecodeError as error:
        raise StackError(
            f"{file} is damaged ({error}); delete it or pass another --state"
        ) from error


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
