"""Months that have left the database, seen again by this session as if they were there.

A view of the session's own stands before the table `usage_event`: every check reads both the table
and the rows of the files, and none needs to know.
"""

from pathlib import Path
from typing import Final

import asyncpg

from deploy.verify.check import CannotCheck
from runtime.postgres import Queries
from schemas.errors import BillingError

queries: Final = Queries.beside(__file__, "archive.sql")


async def see_archive(connection: asyncpg.Connection, directory: Path) -> None:
    """Load the files of all archived months. Raises CannotCheck unless they are as they were."""
    from deploy.archive.files import sha256_of  # noqa: PLC0415 - pyarrow takes half a second
    from deploy.archive.months import load, month_text  # noqa: PLC0415

    months = await connection.fetch(queries.archived_months)
    for row in months:
        path = directory / row["file_name"]
        if not path.exists():
            raise CannotCheck(f"the events of {month_text(row['month'])} are missing: {path}")
        if sha256_of(path) != row["file_sha256"]:
            raise CannotCheck(f"{path} is not the file that was written: its SHA-256 differs")
    try:
        await load(connection, [directory / row["file_name"] for row in months])
    except BillingError as error:
        raise CannotCheck(str(error)) from error
    await connection.execute(queries.note_seen)
    await connection.execute(queries.see_both)


async def check_archive_seen(connection: asyncpg.Connection) -> None:
    """Raise CannotCheck when the snapshot lacks events that are in an archive."""
    is_loaded = await connection.fetchval(queries.is_loaded)
    unseen = await connection.fetchval(
        queries.count_unseen if is_loaded else queries.count_archived
    )
    if unseen:
        told = "run it again: one has just left" if is_loaded else "give --archive DIRECTORY"
        raise CannotCheck(f"the events of {unseen} months are in an archive: {told}")
