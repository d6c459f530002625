"""Holds a process to a part of a core, by a cgroup where we may, else by stopping it by turns."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.children import wait_until

PERIOD_SECONDS = 0.02
CGROUP_V1, CGROUP_V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


@contextmanager
def held_to(pid: int, share: float) -> Iterator[str]:
    """Hold a process to a share of one core during the block; yields how."""
    group = _make_group(share)
    if group is None:
        with _by_turns(pid, share):
            yield "stopped by turns"
        return
    try:
        (group / "cgroup.procs").write_text(str(pid))
        yield "cgroup"
    finally:
        (group.parent / "cgroup.procs").write_text(str(pid))
        assert wait_until(lambda: _is_removed(group), 5)


def _make_group(share: float) -> Path | None:
    """Make a cgroup with a quota; None where that is not ours to do."""
    period = int(PERIOD_SECONDS * 1e6)
    for root, limits in (
        (CGROUP_V1, {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": int(period * share)}),
        (CGROUP_V2, {"cpu.max": f"{int(period * share)} {period}"}),
    ):
        group = root / f"meterline-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, value in limits.items():
                (group / name).write_text(str(value))
        except OSError:
            group.rmdir()
            continue
        return group
    return None


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:  # what was in it is on its way out
        return False
    return True


@contextmanager
def _by_turns(pid: int, share: float) -> Iterator[None]:
    """Stop a process and let it go on, again and again."""
    ended = threading.Event()

    def take_turns() -> None:
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(PERIOD_SECONDS * (1 - share))
            os.kill(pid, signal.SIGCONT)
            ended.wait(PERIOD_SECONDS * share)

    turns = threading.Thread(target=take_turns)
    turns.start()
    try:
        yield
    finally:
        ended.set()
        turns.join()
        os.kill(pid, signal.SIGCONT)
