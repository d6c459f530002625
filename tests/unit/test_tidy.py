"""The style of the code, as far as a test can say it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.crashpoints import CRASH_POINTS

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "runtime", "gateway", "rater", "invoicer", "deploy", "meterline_client")
FUNCTION_LINES_MAX = 50
MODULE_LINES_MAX = 400
FILE_BYTES_MAX = 1_500_000
METRIC_NAME = re.compile(
    r"^meterline_(gateway|rater|invoicer)_[a-z0-9_]+$|^(gateway|rater|invoicer)_[a-z0-9_]+$"
)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


ALL_SOURCES = sources(*PACKAGES, "tests", "benchmarks")


@pytest.mark.parametrize("path", ALL_SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_and_its_functions_can_be_read_in_one_go(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MODULE_LINES_MAX, f"split {path.name}"
    for function in functions(ast.parse(text)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= FUNCTION_LINES_MAX, f"{function.name} has {lines} lines"


def test_every_named_statement_is_used_by_the_code_beside_it() -> None:
    for sql in [path for package in PACKAGES for path in (ROOT / package).rglob("*.sql")]:
        names = re.findall(r"^-- name: *(\w+)", sql.read_text(), re.MULTILINE)
        is_shared = sql.is_relative_to(ROOT / "schemas")
        users = sources("gateway", "invoicer") if is_shared else sql.parent.rglob("*.py")
        code = "\n".join(path.read_text() for path in users)
        for name in names:
            assert re.search(rf"\.{name}\b", code), f"{sql.name}: nobody uses {name}"


def test_no_sql_is_put_together_from_text() -> None:
    statement = re.compile(r'f"+\s*(SELECT|INSERT|UPDATE|DELETE) ')
    for path in sources(*PACKAGES):
        assert not statement.search(path.read_text()), path


def test_every_crash_point_is_passed_somewhere() -> None:
    passing = sources("gateway", "rater", "invoicer", "deploy")
    code = "\n".join(path.read_text() for path in passing)
    for name in CRASH_POINTS:
        assert f'crashpoint("{name}")' in code, f"{name} is declared and never passed"


def test_metrics_are_named_after_their_service_and_told_apart_by_small_sets() -> None:
    for path in sources("gateway", "rater", "invoicer"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in {"Counter", "Gauge", "Histogram"} or not node.args:
                continue
            assert isinstance(node.args[0], ast.Constant), f"{path.name}: name the metric plainly"
            name = str(node.args[0].value)
            assert METRIC_NAME.match(name), name
            assert node.func.id != "Counter" or name.endswith("_total"), name
            assert len(node.args) > 1, f"{name} has no help text"


def test_no_float_touches_money_or_quantities() -> None:
    for path in sources("schemas", "invoicer", "rater"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            assert not (is_call and node.func.id == "float"), f"{path.name}:{node.lineno}"  # type: ignore[attr-defined]  # is_call narrows it


def test_no_file_is_big_and_none_tells_where_it_was_made() -> None:
    # Put together, so that this file does not say what it looks for.
    telling = [f"/{folder}/" for folder in ("work/main", "work/shared", "root/.pyenv")]
    for path in tracked_files():
        content = path.read_bytes()
        assert len(content) <= FILE_BYTES_MAX, path
        for text in telling:
            assert text.encode() not in content, f"{path} names {text}"
