"""What people want done with documents: approved, sent back, voided, mailed again, credited.

The gateway writes a request, with its audit entry, and waits for what becomes of it; the invoicer
alone changes documents. A request is claimed, done and finished in one transaction, behind the lock
of the document's contract: it is done once, whoever asks at the same time and whatever dies. Where
somebody keeps such a lock for long, the request is left for later, and the others go on.
"""

import asyncio
import time
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from invoicer import metrics
from invoicer.deeds import DEEDS
from invoicer.intake import HELD_SECONDS, LOCK_WAIT
from invoicer.outbox_loop import ERROR_LENGTH_MAX, OutboxLoop
from invoicer.settings import InvoicerSettings
from invoicer.subject import Request, Subject, queries
from runtime.clock import Clock
from runtime.crashpoints import crashpoint
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection
from schemas.errors import BillingError, NotFound

_log = get_logger()

REQUEST_FAILED: Final = "request_failed"
"""The code of what nobody foresaw: a fault of ours."""


class Outcome(NamedTuple):
    """What has become of a request, as its row says it."""

    outcome: str
    code: str | None = None
    detail: str | None = None
    result_ref: UUID | None = None


class Held(Exception):
    """A lock that a request needs did not come in time."""

    def __init__(self, request_ref: UUID) -> None:
        super().__init__(f"request {request_ref} waits for a lock")
        self.request_ref = request_ref


class RequestWorker(OutboxLoop):
    """Does what people want, one request after the other."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: InvoicerSettings,
        stopping: asyncio.Event,
        issued: asyncio.Event,
        clock: Clock,
    ) -> None:
        """issued: set whenever something may be to be drawn or mailed."""
        super().__init__(pool, settings.request_poll_seconds, stopping, asyncio.Event())
        self._is_mailed = bool(settings.smtp_url)
        self._issued = issued
        self._clock = clock
        self._held_until: dict[UUID, float] = {}

    async def work_once(self) -> int:
        """Do what the oldest request wants, if there is one; return how many were looked at."""
        now = time.monotonic()
        self._held_until = {ref: at for ref, at in self._held_until.items() if at > now}
        try:
            done = await self._do_oldest()
        except Held as held:
            self._held_until[held.request_ref] = now + HELD_SECONDS
            metrics.BATCHES_HELD.inc()
            _log.warning("document_request_left_for_later", request_ref=str(held.request_ref))
            return 1
        if done is None:
            return 0
        request, outcome = done
        is_ours = outcome.code == REQUEST_FAILED
        metrics.REQUESTS.labels(request.action, "FAILED" if is_ours else outcome.outcome).inc()
        _log.info(
            "document_request",
            action=request.action,
            document_ref=str(request.document_ref),
            outcome=outcome.outcome,
            code=outcome.code,
        )
        self._issued.set()
        return 1

    async def _do_oldest(self) -> tuple[Request, Outcome] | None:
        """Claim, do and finish the oldest request. Raises Held."""
        async with self._pool.acquire() as connection, connection.transaction():
            age = await connection.fetchval(queries.request_age_seconds)
            metrics.REQUEST_AGE_SECONDS.set(age)
            row = await connection.fetchrow(queries.claim_request, list(self._held_until))
            if row is None:
                return None
            request = Request(*row)
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
            outcome = await self._try(connection, request)
            place = (request.shard_key, request.request_ref)
            await connection.execute(queries.finish_request, *place, *outcome)
            crashpoint("invoicer.before_request")
        crashpoint("invoicer.after_request")
        return request, outcome

    async def _try(self, connection: Connection, request: Request) -> Outcome:
        """Do it, or undo it all and say why not; trouble with the database is no answer."""
        try:
            async with connection.transaction():
                return Outcome("DONE", result_ref=await self._do(connection, request))
        except BillingError as error:
            return Outcome("REFUSED", error.code, error.detail)
        except asyncpg.LockNotAvailableError as error:
            raise Held(request.request_ref) from error
        except TRANSIENT_ERRORS as error:
            if not isinstance(error, ValueError):
                raise
            return self._failed(request, error)
        except Exception as error:
            return self._failed(request, error)

    def _failed(self, request: Request, error: Exception) -> Outcome:
        """Answer what nobody foresaw, too: the next request must not wait behind it."""
        said = f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
        _log.warning("document_request_failed", request_ref=str(request.request_ref), error=said)
        return Outcome("REFUSED", REQUEST_FAILED, said)

    async def _do(self, connection: Connection, request: Request) -> UUID:
        place = (request.shard_key, request.document_ref, request.tenant_id)
        await connection.execute(queries.lock_contract_of, *place)
        row = await connection.fetchrow(queries.load_subject, *place)
        if row is None:
            raise NotFound("document_unknown", f"there is no document {request.document_ref}")
        details = msgspec.json.decode(request.details, type=dict[str, Any])
        subject = Subject(row, request.made_by, details, self._clock, self._is_mailed)
        return await DEEDS[request.action](connection, subject)
