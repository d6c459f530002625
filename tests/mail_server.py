"""A real SMTP server for tests: takes mails, refuses those that it is told to, and keeps all."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP as SMTP_POLICY
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.ports import LOOPBACK, free_port


@dataclass
class MailServer:
    """answers: what a recipient's next mails are answered with, before they are taken again.

    hangs: whether mails get no answer from now on; begun: set once one of those is there.
    """

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    unanswered: list[EmailMessage] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    hangs: bool = False
    begun: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """How a client is told of it."""
        return f"smtp://{LOOPBACK}:{self.port}"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[Any],
    ) -> str:
        """Take a recipient, or answer as told."""
        if waiting := self.answers.get(address):
            return waiting.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a mail."""
        assert isinstance(envelope.content, bytes)
        parsed = BytesParser(policy=SMTP_POLICY).parsebytes(envelope.content)
        assert isinstance(parsed, EmailMessage)
        if self.hangs:
            self.unanswered.append(parsed)
            self.begun.set()
            await asyncio.Event().wait()
        self.mails.append(parsed)
        return "250 taken"


@contextmanager
def running_mail_server() -> Iterator[MailServer]:
    """Run a server on loopback during the block."""
    server = MailServer(port=free_port())
    controller = Controller(server, hostname=LOOPBACK, port=server.port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
