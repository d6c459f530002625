"""Kafka's jars: fetched once from Maven Central, then found in a cache, and checked every time.

The committed lock names every jar with its SHA-256. Nothing else is put on the class path: a jar
that differs from the lock, or that the lock does not know, is refused.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from deploy.local.errors import JarsMissing, JarsRefused

KAFKA_VERSION = "4.4.0"
#: The logging binding matches the slf4j API that Kafka resolves; without one there are no logs.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")

#: Given a jar's name and size in bytes; yields a function told of every further bytes read.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def cache_directory(env: Mapping[str, str]) -> Path:
    """Return where the jars are kept: METERLINE_CACHE, else the user's cache directory."""
    if "METERLINE_CACHE" in env:
        base = Path(env["METERLINE_CACHE"])
    else:
        base = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meterline"
    return base / f"kafka-{KAFKA_VERSION}"


def kafka_jars(directory: Path, progress: Progress | None = None) -> list[Path]:
    """Return the checked jars in `directory`, fetched first if they are not there.

    Several processes may call this at once: one fetches, the others wait for it. Raises
    JarsMissing if they cannot be fetched, JarsRefused if one is not as locked.
    """
    locked = read_lock(LOCK_FILE)
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(directory.with_suffix(".lock")):
            if not directory.is_dir():
                _fetch(directory, locked, progress)
    check_jars(directory, locked)
    return sorted(directory / name for name in locked)


def read_lock(file: Path) -> dict[str, str]:
    """Read lines of SHA-256 and file name, as `sha256sum` prints and checks them."""
    pairs = (line.split() for line in file.read_text().splitlines() if line.strip())
    return {name: digest for digest, name in pairs}


def check_jars(directory: Path, locked: Mapping[str, str]) -> None:
    """Raise JarsRefused unless the directory holds exactly the locked jars."""
    advice = f"delete {directory} to fetch them again"
    found = {path.name: path for path in directory.glob("*.jar")}
    if missing := sorted(locked.keys() - found.keys()):
        raise JarsRefused(f"Kafka's jars are incomplete, {', '.join(missing)} is missing; {advice}")
    for name, path in sorted(found.items()):
        if name not in locked:
            raise JarsRefused(f"{path} is not in {LOCK_FILE.name}; {advice}")
        if _sha256(path) != locked[name]:
            raise JarsRefused(f"{path} differs from its checksum in {LOCK_FILE.name}; {advice}")


def _fetch(directory: Path, locked: Mapping[str, str], progress: Progress | None) -> None:
    """Fetch the jars beside `directory`, check them, and rename them into place.

    The user's own Maven repository is tried first, then one of our own: a broken download in
    the former must not stand in the way for ever.
    """
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="kafka-fetch-") as name:
        scratch = Path(name)
        for repository in (None, scratch / "repository"):
            jars = scratch / "jars"
            shutil.rmtree(jars, ignore_errors=True)
            jars.mkdir()
            try:
                _resolve(scratch, jars, repository, progress)
                check_jars(jars, locked)
            except JarsRefused:
                if repository is None:
                    continue
                raise
            except Exception as error:
                raise JarsMissing(
                    f"Kafka's jars are not in {directory} and could not be fetched from Maven "
                    f"Central: {error}. Connect once, or copy the directory from a machine that "
                    "has it (METERLINE_CACHE says where it is looked for)"
                ) from error
            jars.rename(directory)
            return


def _resolve(scratch: Path, jars: Path, repository: Path | None, progress: Progress | None) -> None:
    """Let jgo resolve and download the jars, and put copies of them into `jars`."""
    # Imported here: it takes a third of a second, and is needed once a machine.
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress), repo_cache=repository
    )
    environments = scratch / ("own" if repository else "shared")
    builder = EnvironmentBuilder(
        context=context, cache_dir=environments, link_strategy=LinkStrategy.COPY
    )
    builder.from_endpoint(ENDPOINT)
    for jar in environments.rglob("*.jar"):
        shutil.move(jar, jars / jar.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
