"""The table of faults names tests and metrics that exist, and every fault has both."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines()
    if re.match(r"\| [A-Z]\d+ \|", line)
]


def test_every_fault_has_its_row_with_a_test_that_exists() -> None:
    assert [row.split()[1] for row in ROWS] == [f"G{number}" for number in range(1, 18)]
    for row in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text())
            functions = {getattr(node, "name", None) for node in tree.body}
            assert name in functions, f"{path} has no {name}"


def test_every_metric_that_is_named_exists() -> None:
    known = "".join((ROOT / name / "metrics.py").read_text() for name in ("gateway", "rater"))
    for row in ROWS:
        for metric in re.findall(r"`((?:gateway|rater)_\w+_(?:total|requests|bytes))[{`]", row):
            assert f'"{metric}"' in known, metric
