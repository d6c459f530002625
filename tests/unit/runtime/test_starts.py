"""What a service's process carries: nothing it doesn't use, and little of what it gave back."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def printed_by(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def test_logging_brings_nothing_for_terminals_along() -> None:
    script = """
import sys
from runtime.logging import configure_logging, get_logger
configure_logging("gateway")
try:
    1 / 0
except ZeroDivisionError as error:
    get_logger().error("it_failed", exc_info=error)
print(sorted({"rich", "pygments"} & sys.modules.keys()))
"""
    line, loaded = printed_by(script).splitlines()
    assert "ZeroDivisionError: division by zero" in line
    assert loaded == "[]"


def test_logging_leaves_alone_what_is_loaded_already() -> None:
    script = "import rich, sys, runtime.logging; print(sys.modules['rich'] is rich)"
    assert printed_by(script) == "True\n"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="it asks glibc")
def test_what_a_password_hash_took_goes_back_to_the_system() -> None:
    script = """
from runtime.memory import bound_what_stays
from runtime.passwords import hash_password
def resident_pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
bound_what_stays()
before = resident_pages()
for word in ("one", "two", "three"):
    hash_password(word)
print((resident_pages() - before) * 4096)
"""
    taken_by_a_hash = 19 * 1024 * 1024
    assert int(printed_by(script)) < taken_by_a_hash / 4
