"""Migrations: numbered SQL files, forward only, each once, by one process at a time."""

import hashlib
from pathlib import Path

import asyncpg

from runtime.postgres import Connection

_LOCK = 0x6D65_7465_726C  # "meterl": any constant that nobody else locks


class MigrationError(Exception):
    """The database and the files disagree; the message says what to do."""


async def migrate(dsn: str, folder: Path) -> list[str]:
    """Apply the folder's files that the database has not seen, in order; return their names.

    Each file is one transaction. Raises MigrationError when a file that was applied has changed,
    or when the database is newer than the files.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (name text PRIMARY KEY, "
            "sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        files = [(name, (folder / name).read_text()) for name in _files(folder)]
        return [name for name, text in files if await _apply(connection, name, text)]
    finally:
        await connection.close()


async def pending(connection: Connection, folder: Path) -> list[str]:
    """Return the names of the files that the database has not seen."""
    if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
        return _files(folder)
    rows = await connection.fetch("SELECT name FROM schema_migration")
    applied = {row["name"] for row in rows}
    return [name for name in _files(folder) if name not in applied]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.sql"))


async def _apply(connection: asyncpg.Connection, name: str, text: str) -> bool:
    """Apply one file unless it was; say whether it was applied now."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = await connection.fetchval("SELECT sha256 FROM schema_migration WHERE name = $1", name)
    if known == digest:
        return False
    if known is not None:
        raise MigrationError(
            f"{name} was applied with other content: restore the file, "
            "and put the change into a new one"
        )
    async with connection.transaction():
        await connection.execute(text)
        await connection.execute(
            "INSERT INTO schema_migration (name, sha256) VALUES ($1, $2)", name, digest
        )
    return True
