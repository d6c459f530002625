"""The table of faults names tests and metrics that exist, and every fault has both."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines()
    if re.match(r"\| [A-Z]\d+[ ,]", line)
]
FAULTS = {"G": 17, "R": 14, "I": 7, "E": 5}
#: What a payment provider does: there is none yet.
NOT_BUILT = "I3, I4, I5"


def names_of(row: str) -> list[str]:
    return row.split("|")[1].strip().split(", ")


def test_every_fault_has_its_row() -> None:
    expected = [f"{letter}{n}" for letter, count in FAULTS.items() for n in range(1, count + 1)]
    assert [name for row in ROWS for name in names_of(row)] == expected


def test_every_fault_has_a_test_that_exists() -> None:
    for row in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        if row.startswith(f"| {NOT_BUILT} |"):
            assert not named, "it is built by now: it needs rows of its own"
            assert "Not built" in row
            continue
        assert named, row
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text())
            functions = {getattr(node, "name", None) for node in tree.body}
            assert name in functions, f"{path} has no {name}"


def test_every_metric_that_is_named_exists() -> None:
    services = ("gateway", "rater", "invoicer")
    known = "".join((ROOT / name / "metrics.py").read_text() for name in services)
    endings = "total|requests|bytes|events|owned|partitions_stopped"
    for row in ROWS:
        for metric in re.findall(rf"`((?:{'|'.join(services)})_\w*(?:{endings}))[{{`]", row):
            assert f'"{metric}"' in known, metric
