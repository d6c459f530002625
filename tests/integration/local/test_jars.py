"""Kafka's jars: exactly those of the lock, or none."""

import os
import shutil
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.errors import JarsMissing, JarsRefused
from deploy.local.jars import cache_directory, check_jars, kafka_jars, read_lock


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """Give a copy of the jars that this test may spoil."""
    source = cache_directory(os.environ)
    kafka_jars(source)
    copy = tmp_path / "kafka"
    shutil.copytree(source, copy, copy_function=os.link)
    return copy


def test_the_locked_jars_are_accepted(cached: Path) -> None:
    found = kafka_jars(cached)
    assert len(found) == len(read_lock(jars.LOCK_FILE))
    assert any(jar.name == f"kafka_2.13-{jars.KAFKA_VERSION}.jar" for jar in found)


def test_a_changed_jar_is_refused(cached: Path) -> None:
    jar = cached / "slf4j-simple-1.7.36.jar"
    content = jar.read_bytes()
    jar.unlink()  # the copy is a link: write a file of its own
    jar.write_bytes(content + b"\0")
    with pytest.raises(JarsRefused, match=r"slf4j-simple-1\.7\.36\.jar differs from its checksum"):
        kafka_jars(cached)


def test_a_jar_that_the_lock_does_not_know_is_refused(cached: Path) -> None:
    (cached / "surprise.jar").touch()
    with pytest.raises(JarsRefused, match=r"surprise\.jar is not in kafka-jars\.lock"):
        kafka_jars(cached)


def test_a_missing_jar_is_named(cached: Path) -> None:
    (cached / "slf4j-simple-1.7.36.jar").unlink()
    with pytest.raises(JarsRefused, match=r"slf4j-simple-1\.7\.36\.jar is missing"):
        check_jars(cached, read_lock(jars.LOCK_FILE))


def test_without_jars_and_without_a_network_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # an empty Maven repository
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(JarsMissing, match="could not be fetched from Maven Central"):
        kafka_jars(tmp_path / "cache" / "kafka")
    assert not (tmp_path / "cache" / "kafka").exists()
