"""The ref of a document: known before there is one, from what it will be made of."""

from datetime import date
from functools import lru_cache
from uuid import UUID

from schemas.document import DocumentKind
from schemas.event_ref import (
    derived_ref,
    month_of,
    shard_key_of,
    tenant_bits,
    tenant_bits_of,
    with_digest,
)


def document_ref(
    tenant_ref: str,
    contract_ref: UUID,
    document_group: int,
    issue_date: date,
    kind: DocumentKind = DocumentKind.PERIOD,
) -> UUID:
    """Return the ref of a contract's document of one group at one issue date.

    tenant_ref: canonical. Its month is the issue date's, its customer's bits the contract's.
    The sign of the total is no part of it: an invoice that turns into a credit keeps its ref.
    """
    return derived_ref(
        "document",
        (issue_date.year - 2000) * 12 + issue_date.month - 1,
        shard_key_of(contract_ref.int),
        tenant_bits(tenant_ref),
        str(contract_ref),
        document_group,
        kind,
        issue_date.isoformat(),
    )


def adjustment_ref(document_ref: UUID, number: int) -> UUID:
    """Return the ref of a document's adjustment, the first one being number 1.

    It lives where the document does; the sign of its total is no part of it.
    """
    ref = document_ref.int
    return derived_ref(
        "document",
        month_of(ref),
        shard_key_of(ref),
        tenant_bits_of(ref),
        str(document_ref),
        DocumentKind.ADJUSTMENT,
        number,
    )


def credit_ref(document_ref: UUID, number: int) -> UUID:
    """Return the ref of a document's credit, the first one being number 1; it lives there too."""
    ref = document_ref.int
    return derived_ref(
        "document",
        month_of(ref),
        shard_key_of(ref),
        tenant_bits_of(ref),
        str(document_ref),
        DocumentKind.CREDIT,
        number,
    )


def event_document_ref(event_ref: int, contract_ref: UUID, document_group: int) -> int:
    """Return the ref of an event's own document, billed upon usage under a contract's group.

    It is the event's ref with a digest of contract and group laid over its own digest (xor), so
    that the same function leads back: of the document's ref it returns the event's (ADR 0018).
    """
    return with_digest(event_ref, event_ref ^ _event_document_mask(contract_ref, document_group))


@lru_cache(maxsize=1 << 14)
def _event_document_mask(contract_ref: UUID, document_group: int) -> int:
    names = (str(contract_ref), document_group, DocumentKind.EVENT)
    return derived_ref("document", 0, 0, 0, *names).int
