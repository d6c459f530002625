"""Postgres: the pool, named statements from .sql files, and transactions of one tenant.

A statement is written in a `.sql` file under a line `-- name: add_usage` and used as
`queries.add_usage`; a name that doesn't exist fails at the first import of the module that uses
it, not in production.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import asyncpg
from asyncpg.pool import PoolConnectionProxy

#: A process that is paused in the middle of a transaction holds its locks for so long: then the
#: server ends its session, and whoever waits goes on.
IDLE_IN_TRANSACTION = "30s"

Connection = PoolConnectionProxy | asyncpg.Connection

#: What is worth trying again as a whole: the server or the way to it went away, or two
#: transactions met. After a COMMIT was sent the outcome is unknown: read again, never guess.
TRANSIENT_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # how a pooled connection that the server ended may first say so
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    OSError,
    TimeoutError,
)


class Queries:
    """The statements of one .sql file, by name: `Queries.beside(__file__).add_usage`."""

    def __init__(self, path: Path) -> None:
        """Read the file; a name used twice is an error."""
        self._path = path
        self._statements = dict(_parse(path))

    @classmethod
    def beside(cls, module_file: str, name: str = "queries.sql") -> "Queries":
        """Read the .sql file that lies beside a module."""
        return cls(Path(module_file).parent / name)

    @property
    def names(self) -> frozenset[str]:
        """The names in the file."""
        return frozenset(self._statements)

    def __getattr__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"{self._path.name} has no statement named {name}") from None


def _parse(path: Path) -> Iterator[tuple[str, str]]:
    """Split a file at its `-- name:` lines; the comments below a name stay with the statement."""
    name = ""
    lines: list[str] = []
    seen: set[str] = set()
    for line in path.read_text().splitlines():
        if line.startswith("-- name:"):
            if name:
                yield name, "\n".join(lines)
            name, lines = line.removeprefix("-- name:").strip(), []
            if name in seen:
                raise ValueError(f"{path}: two statements are named {name}")
            seen.add(name)
        elif name:
            lines.append(line)
    if name:
        yield name, "\n".join(lines)


@asynccontextmanager
async def open_pool(
    dsn: str,
    *,
    service: str,
    size_max: int = 10,
    size_min: int = 1,
    plans: Literal["KEPT", "FRESH"] = "KEPT",
) -> AsyncIterator[asyncpg.Pool]:
    """Open a pool of READ COMMITTED connections in UTC; close it within a bounded time.

    plans: FRESH for statements over sets, which cost far more than their planning: a plan that was
    kept from when a table was small reads all of it once it is large.
    """
    pool = await asyncpg.create_pool(
        dsn,
        min_size=size_min,
        max_size=size_max,
        command_timeout=300,
        timeout=10,
        server_settings={
            "application_name": f"meterline-{service}",
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
            "plan_cache_mode": "force_custom_plan" if plans == "FRESH" else "auto",
        },
    )
    try:
        yield pool
    finally:
        try:
            await asyncpg.compat.wait_for(pool.close(), 10)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def tenant_transaction(pool: asyncpg.Pool, tenant_id: int) -> AsyncIterator[Connection]:
    """Run a transaction as the role that sees one tenant's rows only.

    The role and the tenant are set for this transaction alone, so a pooled connection carries
    nothing over.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('role', 'meterline_tenant', true), "
            "set_config('meterline.tenant_id', $1, true)",
            str(tenant_id),
        )
        yield connection
