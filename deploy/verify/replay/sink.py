"""Rows on their way into a table of the shadow: a bounded number of them waits."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from runtime.postgres import Queries

queries: Final = Queries.beside(__file__, "replay.sql")

ROWS_MAX: Final = 5_000
"""Rows of one table that wait to be written."""


class Sink:
    """What is written into one table."""

    def __init__(self, connection: asyncpg.Connection, table: str, columns: Sequence[str]) -> None:
        self._connection = connection
        self._table = table
        self._columns = columns
        self.rows: list[tuple[object, ...]] = []

    async def flush_full(self) -> None:
        """Write what waits when it is much."""
        if len(self.rows) >= ROWS_MAX:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits."""
        rows, self.rows = self.rows, []
        if rows:
            await self._connection.copy_records_to_table(
                self._table, columns=self._columns, records=rows
            )
