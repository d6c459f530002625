"""An upload as it is kept: how far it is, and who may go on with it."""

from collections.abc import Sequence
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import asyncpg
import msgspec

from gateway.uploads.rejected import Rejection
from runtime.postgres import Connection, Queries
from schemas.additional_data import check_name
from schemas.errors import Conflict, InvalidInput, NotFound, Problem

KEY_LENGTH_MAX: Final = 200
"""Of an upload's key: those of its rows are longer, and have 255 characters at most."""

SILENT_SECONDS: Final = 150.0
"""An upload that nobody has touched for so long has lost its gateway."""

REJECTIONS_KEPT_MAX: Final = 10_000
"""Rejected rows of one upload that are kept; the others are counted."""

REJECTED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of them."""

REJECTIONS_KEPT_DAYS: Final = 30

State = Literal["RUNNING", "COMPLETED", "ABORTED"]
REUSED: Final = "idempotency_key_reused"

queries: Final = Queries.beside(__file__)

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode_problem: Final = msgspec.json.Decoder(Problem).decode
_decode_problems: Final = msgspec.json.Decoder(list[Problem]).decode


class Progress(msgspec.Struct):
    """How far an upload is. digest: over the header and the first `rows` rows.

    reasons: rejected rows by the code of their first reason.
    """

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    rejected_kept: int = 0
    rejected_bytes: int = 0
    names_differing: int = 0
    reasons: dict[str, int] = msgspec.field(default_factory=dict)
    digest: bytes | None = None


class Opened(msgspec.Struct, frozen=True):
    """An upload that a request may bring rows to. is_complete: all of them were brought before."""

    upload_id: int
    upload_ref: UUID
    key: str
    run: int
    progress: Progress
    is_complete: bool


def digest_of(cells: Sequence[str] | None) -> bytes:
    """Return what the digest of an upload takes in for a row."""
    return _encode(cells)


def read_key(header: str | None) -> str | None:
    """Read the Idempotency-Key of an upload. Raises InvalidInput."""
    if header is None:
        return None
    try:
        check_name(header)
    except InvalidInput as error:
        detail = f"the header Idempotency-Key {error.detail}"
        raise InvalidInput("idempotency_key_malformed", detail) from None
    if len(header) > KEY_LENGTH_MAX:
        detail = f"the header Idempotency-Key of an upload has at most {KEY_LENGTH_MAX} characters"
        raise InvalidInput("idempotency_key_malformed", detail)
    return header


async def open_upload(
    connection: Connection,
    tenant_id: int,
    *,
    key: str | None,
    options: str,
    header: Sequence[str],
    made_by: str,
) -> Opened:
    """Begin an upload, or go on with the one of this key, whoever brought its rows until now.

    Raises InvalidInput when it was another file.
    """
    if key is not None:
        await connection.execute(queries.lock_key, tenant_id, key)
        row = await connection.fetchrow(queries.find_upload_to_resume, tenant_id, key)
        if row is not None:
            return await _go_on(connection, row, options, header)
    await connection.execute(queries.forget_rejections, tenant_id, REJECTIONS_KEPT_DAYS)
    upload_ref = uuid4()
    named = key or str(upload_ref)
    row = await connection.fetchrow(
        queries.add_upload,
        *(tenant_id, upload_ref, named, options, list(header), made_by),
    )
    assert row is not None
    return _opened(row)


async def _go_on(
    connection: Connection, row: asyncpg.Record, options: str, header: Sequence[str]
) -> Opened:
    place = (row["tenant_id"], row["upload_id"])
    if row["accepted"] == 0:  # nothing counts yet that another reading could contradict
        await connection.execute(queries.drop_rejections, *place)
        begun = await connection.fetchrow(queries.begin_anew, *place, options, list(header))
        assert begun is not None
        return _opened(begun)
    if row["options"] != options or row["header"] != list(header):
        detail = "this Idempotency-Key was used for a file of other columns, or with other options"
        raise InvalidInput(REUSED, detail)
    if row["state"] == "COMPLETED":
        return _opened(row)
    resumed = await connection.fetchrow(queries.resume_upload, *place)
    assert resumed is not None
    return _opened(resumed)


def _opened(row: asyncpg.Record) -> Opened:
    progress = Progress(
        rows=row["row_count"],
        accepted=row["accepted"],
        rejected=row["rejected"],
        rejected_kept=row["rejected_kept"],
        rejected_bytes=row["rejected_bytes"],
        names_differing=row["names_differing"],
        reasons=msgspec.json.decode(row["reasons"]),
        digest=row["digest"],
    )
    is_complete = row["state"] == "COMPLETED"
    place = (row["upload_id"], row["upload_ref"], row["key"], row["run"])
    return Opened(*place, progress, is_complete)


async def save_progress(
    connection: Connection,
    tenant_id: int,
    upload: Opened,
    rejections: Sequence[Rejection],
    *,
    state: State = "RUNNING",
    problem: Problem | None = None,
) -> asyncpg.Record:
    """Write how far an upload is, and the rows that were rejected on the way; return its row.

    Raises Conflict when another request has taken it over.
    """
    progress = upload.progress
    row = await connection.fetchrow(
        queries.save_progress,
        *(tenant_id, upload.upload_id, upload.run, state),
        *(progress.rows, progress.accepted, progress.rejected, progress.rejected_kept),
        *(progress.rejected_bytes, progress.names_differing),
        *(_encode(progress.reasons).decode(), progress.digest),
        None if problem is None else _encode(problem).decode(),
    )
    if row is None:
        detail = "a later request with this Idempotency-Key has taken the upload over"
        raise Conflict("upload_taken_over", detail)
    await connection.executemany(
        queries.add_rejection,
        [
            (tenant_id, upload.upload_id, r.number, r.line, _storable(r.cells), _problems(r))
            for r in rejections
        ],
    )
    return row


def _storable(cells: Sequence[str] | None) -> list[str] | None:
    """Return cells as Postgres holds them: it knows no U+0000."""
    return None if cells is None else [cell.replace("\0", "\ufffd") for cell in cells]


def _problems(rejection: Rejection) -> str:
    return _encode(rejection.problems).decode()


async def load_upload(connection: Connection, tenant_id: int, upload_ref: UUID) -> asyncpg.Record:
    """Return the row of an upload. Raises NotFound."""
    row = await connection.fetchrow(queries.find_upload, tenant_id, upload_ref, SILENT_SECONDS)
    if row is None:
        raise NotFound("upload_unknown", "no upload of yours has this ref")
    return row


async def load_rejections(
    connection: Connection, tenant_id: int, upload_id: int, *, after: int, limit: int
) -> list[Rejection]:
    """Return rejected rows of an upload that are kept, behind a row's number."""
    rows = await connection.fetch(queries.list_rejections, tenant_id, upload_id, after, limit)
    return [
        Rejection(row["row_number"], row["line"], row["cells"], _decode_problems(row["problems"]))
        for row in rows
    ]


def upload_answer(row: asyncpg.Record, sample: Sequence[Rejection] = ()) -> dict[str, Any]:
    """Show an upload. sample: the first of its rejected rows."""
    is_silent = row.get("is_silent", False)
    problem = None if row["problem"] is None else _decode_problem(row["problem"])
    if is_silent:
        detail = "the gateway that read it died: send the file again with its idempotency_key"
        problem = Problem("gateway_died", detail)
    path = f"/api/usage/uploads/{row['upload_ref']}"
    return {
        "upload_ref": row["upload_ref"],
        "idempotency_key": row["key"],
        "state": "ABORTED" if is_silent else row["state"],
        "rows": row["row_count"],
        "accepted": row["accepted"],
        "rejected": row["rejected"],
        "rejected_kept": row["rejected_kept"],
        "rejected_csv": f"{path}/rejected.csv" if row["rejected_kept"] else None,
        "reasons": msgspec.Raw(row["reasons"].encode()),
        "names_differing": row["names_differing"],
        "errors": [_error_answer(rejection) for rejection in sample],
        "problem": problem,
        "columns": row["header"],
        "made_by": row["made_by"],
        "created_at": row["created_at"],
        "touched_at": row["touched_at"],
        "finished_at": row["finished_at"],
    }


def _error_answer(rejection: Rejection) -> dict[str, Any]:
    """Show a rejected row by the first thing that is wrong with it."""
    first = rejection.problems[0]
    return {
        "row": rejection.number,
        "line": rejection.line,
        "pointer": first.pointer,
        "detail": first.detail,
        "code": first.code,
    }
