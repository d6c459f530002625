"""Which runs CI may confirm: those in which a few tests failed, and nothing else went wrong."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.confirm import TESTS_MAX, VERDICT, Recorder, Verdict, last_verdict


def report(nodeid: str, when: str = "call", *, failed: bool = True) -> Any:  # noqa: ANN401
    return SimpleNamespace(nodeid=nodeid, when=when, failed=failed)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tests_that_failed_are_tried_again(root: Path) -> None:
    recorder = Recorder(root)
    recorder.pytest_runtest_logreport(report("t.py::good", failed=False))
    recorder.pytest_runtest_logreport(report("t.py::bad"))
    recorder.pytest_sessionfinish(1)
    assert last_verdict() == Verdict(1, ["t.py::bad"], [])
    assert last_verdict().is_worth_another_try


@pytest.mark.parametrize("when", ["setup", "teardown", "???"])
def test_a_failing_fixture_or_a_crashed_process_is_final(root: Path, when: str) -> None:
    recorder = Recorder(root)
    recorder.pytest_runtest_logreport(report("t.py::bad"))
    recorder.pytest_runtest_logreport(report("t.py::other", when))
    recorder.pytest_sessionfinish(1)
    assert not last_verdict().is_worth_another_try


def test_a_file_that_can_not_be_collected_is_final(root: Path) -> None:
    recorder = Recorder(root)
    recorder.pytest_runtest_logreport(report("t.py::bad"))
    recorder.pytest_collectreport(report("other.py"))
    recorder.pytest_sessionfinish(1)
    assert not last_verdict().is_worth_another_try


@pytest.mark.parametrize("exit_status", [0, 2, 3, 4, 5])
def test_a_run_that_ended_otherwise_is_final(root: Path, exit_status: int) -> None:
    recorder = Recorder(root)
    recorder.pytest_runtest_logreport(report("t.py::bad"))
    recorder.pytest_sessionfinish(exit_status)
    assert not last_verdict().is_worth_another_try


def test_a_run_that_did_not_end_leaves_no_verdict_of_the_one_before(root: Path) -> None:
    former = Recorder(root)
    former.pytest_runtest_logreport(report("t.py::bad"))
    former.pytest_sessionfinish(1)
    Recorder(root)
    assert not (root / VERDICT).exists()
    assert not last_verdict().is_worth_another_try


def test_many_failures_are_no_accident() -> None:
    names = [f"t.py::{number}" for number in range(TESTS_MAX + 1)]
    assert not Verdict(1, names).is_worth_another_try
    assert Verdict(1, names[1:]).is_worth_another_try
