"""Run the tests that failed in the last run three times more, alone: `python -m tests.confirm`.

The tests that kill, freeze and starve real servers share two cores with each other in a whole run.
One that fails there is either broken, and fails again, or was starved. It must pass three times in
a row to count as starved, and is named either way: somebody has to look why. Whatever else goes
wrong in a run, a file that can't be collected, a fixture that fails, a test process that crashes,
stays wrong.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

VERDICT: Final = Path(".pytest_cache/verdict.json")

TIMES: Final = 3
TESTS_MAX: Final = 5
"""More failures than this are no accident."""


class Verdict(msgspec.Struct):
    """What became of a run. failed: the tests that failed by themselves; broken: all else."""

    exit_status: int = -1
    failed: list[str] = msgspec.field(default_factory=list)
    broken: list[str] = msgspec.field(default_factory=list)

    @property
    def is_worth_another_try(self) -> bool:
        """Whether a few tests failed, and nothing else is wrong."""
        is_whole = self.exit_status == pytest.ExitCode.TESTS_FAILED and not self.broken
        return is_whole and 0 < len(self.failed) <= TESTS_MAX


class Recorder:
    """A plugin that writes the verdict of a run; a run that doesn't end leaves none."""

    def __init__(self, root: Path) -> None:
        self._file = root / VERDICT
        self._verdict = Verdict()
        self._file.unlink(missing_ok=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure; one outside the test itself, or of its process, is no test's."""
        if report.failed:
            of = self._verdict.failed if report.when == "call" else self._verdict.broken
            of.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what can't be collected."""
        if report.failed:
            self._verdict.broken.append(report.nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the verdict."""
        self._verdict.exit_status = int(exitstatus)
        self._file.parent.mkdir(exist_ok=True)
        self._file.write_bytes(msgspec.json.encode(self._verdict))


def last_verdict() -> Verdict:
    """Return the verdict of the last run; one that is worth nothing if it did not get so far."""
    if not VERDICT.exists():
        return Verdict()
    return msgspec.json.decode(VERDICT.read_bytes(), type=Verdict)


def say(what: str, names: list[str]) -> None:
    """Write a line, and the names of the tests that it is about."""
    sys.stdout.write("\n  ".join([what, *names]) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Return 0 when every test that failed has now passed each time."""
    verdict = last_verdict()
    if not verdict.is_worth_another_try:
        return 1
    say(f"FAILED beside others, now run {TIMES} times alone:", verdict.failed)
    for _ in range(TIMES):
        command = [sys.executable, "-m", "pytest", "-q", *verdict.failed]
        if subprocess.run(command, check=False).returncode != 0:
            return 1
    say("UNSTABLE, passed alone; find out why:", verdict.failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
