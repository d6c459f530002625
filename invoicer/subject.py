"""The document that somebody wants something done with, and what every deed reads of it."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from invoicer.repository import Issuer
from runtime.clock import Clock
from runtime.postgres import Queries
from schemas.document import DocumentState
from schemas.errors import InvalidInput
from schemas.money import decimal_to_scaled

queries: Final = Queries.beside(__file__, "requests.sql")


class Request(NamedTuple):
    """A claimed row of `document_request`. details: JSON, as the gateway checked them."""

    shard_key: int
    request_ref: UUID
    tenant_id: int
    document_ref: UUID
    action: str
    details: str
    made_by: str


class Subject(NamedTuple):
    """The document that something is done with, by whom, and how."""

    row: asyncpg.Record
    made_by: str
    details: Mapping[str, Any]
    clock: Clock
    is_mailed: bool

    @property
    def place(self) -> tuple[int, UUID]:
        """The document's primary key."""
        return self.row["shard_key"], self.row["document_ref"]

    @property
    def state(self) -> DocumentState:
        """Where it stands."""
        return DocumentState(self.row["state"])

    @property
    def issuer(self) -> Issuer:
        """Whose numbers it gets."""
        row = self.row
        number_format, year = row["document_number_format"], row["issue_date"].year
        return Issuer(row["tenant_id"], row["entity_id"], number_format, year)


def minor_of(amount: Decimal, digits: int) -> int:
    """Return an amount in the minor unit. Raises InvalidInput where it has parts of one."""
    if amount != round(amount, digits):
        detail = f"must have at most {digits} digits after the point"
        raise InvalidInput("amount_digits", detail, "/amount")
    return decimal_to_scaled(amount, digits)


def today(now: datetime, timezone: str) -> date:
    """Return the day that it is in a time zone."""
    return now.astimezone(ZoneInfo(timezone)).date()
