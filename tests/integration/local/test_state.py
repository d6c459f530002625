"""The state directory: one holder, one owner, nothing half written."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.errors import StackError, StackNotFound
from deploy.local.find import find_stack
from deploy.local.state import ProcessId, StackRecord, hold, is_held, read_record


def test_what_is_saved_is_read_back_and_private(tmp_path: Path) -> None:
    with hold(tmp_path) as held:
        held.save(StackRecord(gateway_url="http://127.0.0.1:1", ports={"kafka": 9}))
    assert read_record(tmp_path).ports == {"kafka": 9}
    assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600


def test_a_directory_is_held_only_while_its_holder_is_in_it(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with hold(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_what_a_dead_stack_left_running_is_ended(tmp_path: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = ProcessId.of("rater", left.pid)
    assert process is not None
    with hold(tmp_path) as held:
        held.save(StackRecord(processes=(process,)))
        assert held.end_stale_processes(seconds_max=0.1) == ["rater"]
        assert held.record.processes == ()
    assert left.wait(10) != 0
    assert left.stdin is not None
    left.stdin.close()


def test_a_later_process_with_a_recorded_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        another = ProcessId("rater", other.pid, started_at=1.0)
        with hold(tmp_path) as held:
            held.save(StackRecord(processes=(another,)))
            assert held.end_stale_processes(seconds_max=0.1) == []
        assert other.poll() is None
        other.kill()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(StackError, match=r"stack\.json is damaged"):
        read_record(tmp_path)


def test_where_no_stack_runs_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(StackNotFound, match=r"start one with `meterline up --state "):
        find_stack(tmp_path, {})


def test_servers_in_the_environment_are_a_stack(tmp_path: Path) -> None:
    found = find_stack(None, {"METERLINE_KAFKA": "k:1", "METERLINE_POSTGRES": "postgresql://p"})
    assert (found.kafka, found.postgres, found.gateway_url) == ("k:1", "postgresql://p", None)
