"""Numbers without a gap and without a repeat, and a document's place in its contract.

A number is taken from its series' row in the transaction that issues, last of all: whoever rolls
back gives it back, and whoever waits for the row sees only what was committed.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from invoicer.assembly import Assembly, DocumentKey, due_date
from runtime.postgres import Connection, Queries
from schemas.document_number import format_number
from schemas.money import decimal_to_scaled, scaled_to_decimal

queries: Final = Queries.beside(__file__)


class Ready(NamedTuple):
    """A draft that is to be issued. total: minor."""

    key: DocumentKey
    currency: str
    currency_digits: int
    total: int
    net_terms: str


class Issue(NamedTuple):
    """What a document gets when it is issued. total_in_contract: currency."""

    shard_key: int
    document_ref: UUID
    number: int
    document_number: str
    number_in_contract: int
    total_in_contract: Decimal
    due_date: date


class ContractStanding(NamedTuple):
    """How far a contract's documents of one currency have got. total: currency."""

    number: int
    total: Decimal


_NOTHING: Final = ContractStanding(0, Decimal(0))


async def take_numbers(
    connection: Connection, tenant_id: int, entity_id: int, series: str, count: int
) -> int:
    """Take so many numbers of a series, which stays locked until the transaction ends.

    Returns the first; the others follow it. count > 0.
    """
    first = await connection.fetchval(queries.take_numbers, tenant_id, entity_id, series, count)
    assert isinstance(first, int)
    return first


def ready(assembly: Assembly) -> Ready:
    """Return what numbers are given by."""
    draft = assembly.draft
    return Ready(
        assembly.key, draft.currency, draft.currency_digits, draft.total, assembly.net_terms
    )


def issue_order(document: Ready) -> tuple[date, UUID, int]:
    """Sort key: documents issued together are numbered by date, contract by contract."""
    return document.key.issue_date, document.key.contract_ref, document.key.document_group


def number_documents(
    ordered: Sequence[Ready],
    first_number: int,
    number_format: str,
    standings: Mapping[tuple[UUID, str], ContractStanding],
) -> list[Issue]:
    """Give documents their numbers, in the order given.

    standings: by contract and currency. Numbers in the contract go on over all its currencies; its
    total is money, so each currency has one of its own.
    """
    numbers: dict[UUID, int] = {}
    for (contract_ref, _currency), standing in standings.items():
        numbers[contract_ref] = max(standing.number, numbers.get(contract_ref, 0))
    totals = dict(standings)
    issues = []
    for number, document in enumerate(ordered, first_number):
        key = document.key
        place = (key.contract_ref, document.currency)
        numbers[key.contract_ref] = serial = numbers.get(key.contract_ref, 0) + 1
        before = totals.get(place, _NOTHING).total
        minor = decimal_to_scaled(before, document.currency_digits) + document.total
        total = scaled_to_decimal(minor, document.currency_digits)
        totals[place] = ContractStanding(serial, total)
        issues.append(
            Issue(
                shard_key=key.shard_key,
                document_ref=key.document_ref,
                number=number,
                document_number=format_number(number_format, number, key.issue_date),
                number_in_contract=serial,
                total_in_contract=total,
                due_date=due_date(key.issue_date, document.net_terms),
            )
        )
    return issues
