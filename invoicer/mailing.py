"""Documents on their way to customers by mail: one row of the outbox, one mail.

A row is written with the document's files and deleted with the note that the mail server has taken
the mail, so a mail goes out at least once; one that goes out twice has the same Message-ID. What a
server refuses for good, or too often, waits for a person.
"""

import asyncio
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib
import asyncpg
from msgspec import Struct

from invoicer import metrics
from invoicer.delivery.issued import load_issued
from invoicer.delivery.mail import NoAddress, build_mail
from invoicer.delivery.reminder import build_reminder
from invoicer.dunning import queries as dunning
from invoicer.outbox_loop import OutboxLoop, Work, backoff, postpone
from invoicer.repository import queries
from invoicer.settings import InvoicerSettings
from invoicer.usage_list import Stopped, UsageLists
from runtime.crashpoints import crashpoint
from runtime.lifecycle import bounded
from runtime.logging import get_logger
from runtime.postgres import Connection, Queries
from runtime.settings import SettingsError
from schemas.link_token import Linked, link

_log = get_logger()
own: Final = Queries.beside(__file__, "mailing.sql")

MAILS_A_CONNECTION_MAX: Final = 50
_PORTS: Final = {"smtp": 25, "smtps": 465}
_REFUSED_FROM: Final = 500
"""An answer from this code on is meant for good."""

STOP_SECONDS: Final = 5.0
"""How long a mail under way may still take once the process is told to stop."""


class MailServer(Struct, frozen=True):
    """Where mails go. has_tls: from the start; needs_tls: as soon as the server was greeted."""

    host: str
    port: int
    has_tls: bool
    user: str | None
    password: str | None
    seconds: float

    @property
    def needs_tls(self) -> bool:
        """Whether a connection that begins in the open must not stay so."""
        return self.password is not None and not self.has_tls

    async def connect(self) -> aiosmtplib.SMTP:
        """Make a connection, logged in where there is a user. Raises SMTPException, OSError."""
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.has_tls,
            start_tls=True if self.needs_tls else None,  # None: where the server offers it
            username=self.user,
            password=self.password,
            timeout=self.seconds,
        )
        await client.connect()
        return client


def read_server(settings: InvoicerSettings) -> MailServer | None:
    """Return the mail server of the settings, None when nothing is mailed. Raises SettingsError."""
    if not settings.smtp_url:
        return None
    try:
        url = urlsplit(settings.smtp_url)
        port = url.port
    except ValueError as error:
        raise SettingsError(f"METERLINE_INVOICER_SMTP_URL: {error}") from error
    if url.scheme not in _PORTS or not url.hostname or url.path.strip("/"):
        form = "smtp://[user:password@]host[:port] or smtps://…"
        raise SettingsError(f"METERLINE_INVOICER_SMTP_URL: must be {form}")
    if (url.username is None) != (url.password is None):
        raise SettingsError("METERLINE_INVOICER_SMTP_URL: a user needs a password")
    if "@" not in settings.mail_from:
        raise SettingsError("METERLINE_INVOICER_MAIL_FROM: an address is needed to send mails from")
    return MailServer(
        url.hostname,
        port or _PORTS[url.scheme],
        url.scheme == "smtps",
        None if url.username is None else unquote(url.username),
        None if url.password is None else unquote(url.password),
        settings.mail_seconds,
    )


class MailWorker(OutboxLoop):
    """Mails what is ready, one connection after the other."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: InvoicerSettings,
        server: MailServer,
        stopping: asyncio.Event,
        rendered: asyncio.Event,
    ) -> None:
        super().__init__(pool, settings.outbox_poll_seconds, stopping, rendered)
        self._server = server
        self._sender = settings.mail_from
        self._public_url = settings.public_url
        self._usage = UsageLists(stopping, settings.fonts_dir)
        self._attempts_max = settings.mail_attempts_max

    async def work_once(self) -> int:
        """Mail what is due, each in a transaction of its own; stop early at a failure."""
        sent = 0
        client: aiosmtplib.SMTP | None = None
        async with self._pool.acquire() as connection:
            metrics.MAILS_REFUSED.set(await connection.fetchval(queries.count_refused_mails))
            try:
                while sent < MAILS_A_CONNECTION_MAX and not self._stopping.is_set():
                    async with connection.transaction():
                        claimed = await self._claim(connection)
                        if claimed is None:
                            break
                        client = await self._take(connection, *claimed, client)
                    sent += 1
            finally:
                if client is not None:
                    client.close()
        return sent

    async def _claim(self, connection: Connection) -> tuple[Work, str] | None:
        """Claim a mail that is due, documents before reminders; also say which it is."""
        for kind in ("MAIL", "REMINDER"):
            claimed = await connection.fetchrow(queries.claim_outbox, 1, kind)
            if claimed is not None:
                return Work(*claimed), kind
        return None

    async def _take(
        self, connection: Connection, row: Work, kind: str, client: aiosmtplib.SMTP | None
    ) -> aiosmtplib.SMTP | None:
        """Mail one document, or put it off; the connection if it can be used again."""
        try:
            mail = await self._build(connection, row, kind)
            if mail is None:
                await connection.execute(queries.finish_outbox, [row.shard_key], [row.outbox_id])
                return client
            async with bounded(self._server.seconds, self._stopping, STOP_SECONDS):
                client = client or await self._server.connect()
                refused, _ = await client.send_message(mail)
        except Stopped:
            return client
        except (aiosmtplib.SMTPException, NoAddress, OSError, ValueError) as error:
            # A mail that was cut short by our own stop is no failure: its row stays as it is.
            if not (self._stopping.is_set() and isinstance(error, TimeoutError)):
                await self._put_off(connection, row, error)
            if client is not None:
                client.close()
            return None
        crashpoint("invoicer.after_mail")
        if kind == "MAIL":
            await connection.execute(queries.mark_sent, *row.place)
        await connection.execute(queries.finish_outbox, [row.shard_key], [row.outbox_id])
        metrics.MAILS_SENT.inc()
        _log.info(
            "document_mailed", document_ref=str(row.document_ref), kind=kind, refused=len(refused)
        )
        return client

    async def _build(self, connection: Connection, row: Work, kind: str) -> EmailMessage | None:
        """Write the mail; None for a reminder of what is not due any more."""
        due = None
        if kind == "REMINDER":
            due = await connection.fetchval(dunning.load_due, *row.place)
            if due is None or due <= 0:
                return None
        documents = await load_issued(connection, [row.place])
        files = {
            kind: await connection.fetchval(queries.find_file, *row.place, kind)
            for kind in ("HTML", "PDF")
        }
        document = documents[row.document_ref]
        [wants] = await connection.fetch(own.load_wants, *row.place)
        url = self._link(row.document_ref, wants)
        if due is not None:
            pdf = files["PDF"]
            return build_reminder(document, pdf, self._sender, due=due, days=row.copy, link=url)
        formats = [one for one in ("CSV", "PDF") if wants[f"wants_{one.lower()}"]]
        usage = await self._usage.load(connection, wants["tenant_id"], row.place, document, formats)
        return build_mail(document, files, self._sender, row.copy, link=url, usage=usage)

    def _link(self, document_ref: UUID, wants: asyncpg.Record) -> str:
        """Return the link to the document's page, "" where no public address is set."""
        if not self._public_url:
            return ""
        linked = Linked(wants["tenant_id"], wants["generation"], document_ref)
        return link(self._public_url, linked, wants["secret"])

    async def _put_off(self, connection: Connection, row: Work, error: Exception) -> None:
        is_final = is_meant_for_good(error) or row.attempts + 1 >= self._attempts_max
        metrics.MAIL_FAILURES.labels("refused" if is_final else "later").inc()
        wait = None if is_final else backoff(row.attempts)
        said = await postpone(connection, row, error, wait)
        _log.warning(
            "mail_failed", document_ref=str(row.document_ref), error=said, is_final=is_final
        )


def is_meant_for_good(error: Exception) -> bool:
    """Tell whether the same mail would only be refused again."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(refused.code >= _REFUSED_FROM for refused in error.recipients)
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return False  # a person changes the password, and the mails are good
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return error.code >= _REFUSED_FROM
    return isinstance(error, NoAddress | ValueError)
