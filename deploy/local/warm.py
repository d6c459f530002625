"""`python -m deploy.local.warm`: what a machine does once, so that stacks start in seconds.

Fetches Kafka's jars and archives the classes that a broker loads, from one broker's short life.
Does nothing the second time.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from deploy.local.children import Child
from deploy.local.errors import StackError
from deploy.local.jvm import find_jvm
from deploy.local.kafka import plan_kafka
from deploy.local.progress import fetch_progress


def warm() -> bool:
    """Make what is missing; tell whether anything was."""
    jvm = find_jvm(fetch_progress(Console(stderr=True)))
    if jvm.archive.exists():
        return False
    with tempfile.TemporaryDirectory(prefix="meterline-warm-") as name:
        class_list = Path(name) / "classes"
        option = f"-XX:DumpLoadedClassList={class_list}"
        child = Child(plan_kafka(Path(name), jvm_options=(option,)).spec)
        try:
            child.wait_ready()
        finally:
            child.stop()
        jvm.make_archive(class_list)
    return True


def main() -> None:
    """Warm up, and say so."""
    try:
        made = warm()
    except StackError as error:
        sys.stderr.write(f"meterline: {error}\n")
        sys.exit(error.exit_code)
    sys.stdout.write("Kafka is ready to start\n" if made else "Kafka was ready to start\n")


if __name__ == "__main__":
    main()
