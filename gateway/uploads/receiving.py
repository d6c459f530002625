"""One request that brings a file: its rows are taken as they come, and how far is noted.

What is noted is true whatever ends the request: the rows up to there have their outcomes. The same
file sent again under the same key is compared up to there, and goes on.
"""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Any, Final

import asyncpg
import msgspec
from aiohttp import web

from gateway import metrics
from gateway.ingest.routes import INGEST, respond
from gateway.manage.answers import json_answer
from gateway.manage.context import LIMITS, REQUEST_ID, caller, note, transaction
from gateway.problems import problem
from gateway.uploads.bounds import BOUNDS
from gateway.uploads.intake import Intake, patiently
from gateway.uploads.layout import Layout, Options
from gateway.uploads.reading import Row
from gateway.uploads.record import (
    Opened,
    State,
    load_rejections,
    load_upload,
    open_upload,
    save_progress,
    upload_answer,
)
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection
from schemas.errors import BillingError, Problem, TransientError

SAVE_SECONDS: Final = 1.0
"""How old what is noted may be."""

REJECTIONS_HELD_MAX: Final = 1_000
"""Rejected rows that are in memory before they are noted."""

SAMPLE_MAX: Final = 10
"""Rejected rows that are shown with an upload."""

TAKEN: Final = 202

log = get_logger()

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Shown = dict[str, Any]


async def receive(
    request: web.Request,
    layout: Layout,
    options: Options,
    key: str | None,
    batches: AsyncGenerator[list[Row]],
    first: list[Row],
) -> web.Response:
    """Take the rows of a file whose header is read, and answer with what became of them.

    first: the rows that came with the header.
    """
    claims = caller(request)
    async with transaction(request) as (connection, tenant_id):
        upload = await open_upload(
            connection,
            tenant_id,
            key=key,
            options=options.fingerprint,
            header=layout.header,
            made_by=claims.actor,
        )
        if not upload.is_complete:
            begun = {"idempotency_key": upload.key, "rows_before": upload.progress.rows}
            await note(request, connection, "upload.begun", upload.upload_ref, after=begun)
    return await Receiving(request, layout, upload).run(first, batches)


class Receiving:
    """The rest of the request, once it is known which upload it belongs to."""

    def __init__(self, request: web.Request, layout: Layout, upload: Opened) -> None:
        self._request = request
        self._upload = upload
        app, tenant_id = request.app, caller(request).tenant_id
        self._intake = Intake(app[INGEST], app[LIMITS], tenant_id, layout, upload)
        self._saved_at = monotonic()

    async def run(self, first: list[Row], batches: AsyncGenerator[list[Row]]) -> web.Response:
        """Take all rows, and answer."""
        try:
            await self._take(first)
            async for rows in batches:
                await self._take(rows)
            self._intake.finish()
            if self._upload.is_complete:
                return await self._as_before()
            shown = await patiently(lambda: self._save("COMPLETED"))
        except (BillingError, *TRANSIENT_ERRORS) as error:
            return await self._abort(_explained(error))
        except BaseException:
            if not self._upload.is_complete:
                detail = "the gateway stopped before the end of the file"
                await self._abort(TransientError("upload_interrupted", detail))
            raise
        metrics.UPLOADS.labels("completed").inc()
        return json_answer(shown, status=TAKEN)

    async def _take(self, rows: list[Row]) -> None:
        self._request.app[BOUNDS].check()
        await self._intake.take(rows)
        if self._is_due():
            await patiently(lambda: self._save("RUNNING"))

    def _is_due(self) -> bool:
        if self._upload.is_complete:
            return False
        is_old = monotonic() - self._saved_at >= SAVE_SECONDS
        return is_old or len(self._intake.rejections) >= REJECTIONS_HELD_MAX

    async def _save(self, state: State, ended_by: Problem | None = None) -> Shown:
        """Note how far the upload is, and return how it is shown."""
        upload, rejections = self._upload, list(self._intake.rejections)
        async with transaction(self._request) as (connection, tenant_id):
            row = await save_progress(
                connection, tenant_id, upload, rejections, state=state, problem=ended_by
            )
            shown = await show(connection, row) if state != "RUNNING" else {}
            if state != "RUNNING":
                counts = {name: shown[name] for name in ("state", "rows", "accepted", "rejected")}
                await note(
                    self._request, connection, "upload.ended", upload.upload_ref, after=counts
                )
        del self._intake.rejections[: len(rejections)]
        self._saved_at = monotonic()
        return shown

    async def _as_before(self) -> web.Response:
        """Answer for a file that was brought whole before."""
        async with transaction(self._request) as (connection, tenant_id):
            row = await load_upload(connection, tenant_id, self._upload.upload_ref)
            answer = json_answer(await show(connection, row), status=TAKEN)
        answer.headers["Idempotent-Replayed"] = "true"
        return answer

    async def _abort(self, error: BillingError) -> web.Response:
        """Note what ended the request before the end of its file, and answer with it."""
        if self._upload.is_complete:
            raise error
        metrics.UPLOADS.labels("aborted").inc()
        members: Shown = {}
        try:
            shown = await asyncio.shield(self._save("ABORTED", Problem(error.code, error.detail)))
            members["upload"] = shown
        except (BillingError, *TRANSIENT_ERRORS) as failure:
            log.warning(
                "upload_not_noted", upload_ref=str(self._upload.upload_ref), why=str(failure)
            )
        members["detail"] = (
            f"{error.detail}; {self._upload.progress.rows} rows have their outcomes: sent again "
            f"with the Idempotency-Key {self._upload.key}, the file goes on behind them"
        )
        answer = problem(error, self._request[REQUEST_ID])
        body = msgspec.json.encode({**_decode(answer.body), **members})
        response = respond(msgspec.structs.replace(answer, body=body))
        response.force_close()  # what is left of the body can't be told from a next request
        return response


def _explained(error: Exception) -> BillingError:
    if isinstance(error, BillingError):
        return error
    return TransientError("database_unavailable", "the database can't be reached now")


async def show(connection: Connection, row: asyncpg.Record) -> Shown:
    """Return an upload as it is shown, with the first of its rejected rows."""
    place = (row["tenant_id"], row["upload_id"])
    sample = await load_rejections(connection, *place, after=0, limit=SAMPLE_MAX)
    return upload_answer(row, sample)
