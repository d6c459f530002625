"""What a run leaves behind is true at any moment, and belongs to one file alone."""

import csv
from pathlib import Path

import pytest

from deploy.usage_files.errors import GaveUp
from deploy.usage_files.journal import Progress, Rejects, load_progress, save_progress
from deploy.usage_files.source import CsvRow, JsonRow, open_source
from meterline_client import EventError, Rejected

REJECTED = Rejected("k", (EventError("number", "must be a number", "/quantity"),))


def test_progress_is_read_back_for_the_same_content_alone(tmp_path: Path) -> None:
    file, resume = tmp_path / "usage.csv", tmp_path / "resume"
    file.write_text("a\n1\n")
    with open_source(file) as source:
        fresh = load_progress(resume, source)
        assert fresh.rows == 0
        fresh.rows = 3
        save_progress(resume, fresh)
        assert load_progress(resume, source) == fresh
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resume", "usage.csv"]
    file.write_text("a\n2\n")
    with open_source(file) as source, pytest.raises(GaveUp, match="belongs to another file"):
        load_progress(resume, source)
    resume.write_text("{}")
    with open_source(file) as source, pytest.raises(GaveUp, match="is no resume file"):
        load_progress(resume, source)


def test_without_a_resume_file_nothing_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "usage.csv").write_text("a\n1\n")
    with open_source(tmp_path / "usage.csv") as source:
        assert load_progress(None, source) == Progress(digest="")


def test_rejected_rows_that_no_progress_counts_are_dropped_and_written_once(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    with Rejects(path, ["a", "b"], 0) as rejects:
        rejects.add(CsvRow(1, ["1", "x,y"]), REJECTED)
        counted = rejects.sync()
        rejects.add(CsvRow(2, ["2", "lost"]), REJECTED)
    with Rejects(path, ["a", "b"], counted) as rejects:
        rejects.add(CsvRow(2, ["2", "\udcff"]), REJECTED)
    with path.open(newline="", errors="surrogateescape") as text:
        assert list(csv.reader(text)) == [
            ["a", "b", "rejected_row", "rejected_because"],
            ["1", "x,y", "1", "quantity: must be a number (number)"],
            ["2", "\udcff", "2", "quantity: must be a number (number)"],
        ]
    with pytest.raises(GaveUp, match="shorter than the resume file says"):
        Rejects(path, ["a", "b"], 10_000)


def test_rejected_json_is_kept_as_it_was(tmp_path: Path) -> None:
    with Rejects(tmp_path / "rejected.csv", [], 0) as rejects:
        rejects.add(JsonRow(4, b'{"quantity": "x"}'), REJECTED)
    assert '"{""quantity"": ""x""}",4,' in (tmp_path / "rejected.csv").read_text()
