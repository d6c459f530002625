"""Which document a use of a meter is expected on, by the contract lines that memory holds. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from schemas.document_ref import document_ref, event_document_ref
from schemas.event_ref import ref_text
from schemas.periods import BillingTerms, period_at

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Coverage(msgspec.Struct):
    """A contract product that prices a meter for a customer.

    place: the contract's number, the product's position and version; the lowest counts first.
    bills_each_event: every event gets a document of its own, under the period's.
    start, end, document: the period looked for last, in UTC microseconds since 1970, and the ref
    of its document; the next use is mostly of the same one.
    """

    place: tuple[int, int, int]
    tenant_ref: str
    contract_ref: UUID
    document_group: int
    currency: str
    entity_ref: str
    terms: BillingTerms
    start: int = 0
    end: int = 0
    document: str = ""
    bills_each_event: bool = False

    def document_at(self, occurred_at_micros: int) -> str | None:
        """Return the ref of the document for a use at an instant, None outside the contract."""
        if self.start <= occurred_at_micros < self.end:
            return self.document
        period = period_at(self.terms, _EPOCH + timedelta(microseconds=occurred_at_micros))
        if period is None:
            return None
        self.start = (period.start - _EPOCH) // _MICROSECOND
        self.end = (period.end - _EPOCH) // _MICROSECOND
        day = period.rest_date
        if self.terms.payment_time == "DURING_USE" and period.is_ahead:
            # What is used before the issue instant is on the document of that day, mostly.
            issued_at = (period.issued_at - _EPOCH) // _MICROSECOND
            if occurred_at_micros < issued_at:
                self.end, day = min(self.end, issued_at), period.issue_date
            else:
                self.start = max(self.start, issued_at)
        self.document = str(
            document_ref(self.tenant_ref, self.contract_ref, self.document_group, day)
        )
        return self.document

    def documents_of(self, event_ref: str, document: str) -> tuple[str, str | None]:
        """Return the ref of the document that an event is billed on, and of its parent if any.

        document: of the period that the event falls in.
        """
        if not self.bills_each_event:
            return document, None
        ref = int(event_ref.replace("-", ""), 16)
        own = event_document_ref(ref, self.contract_ref, self.document_group)
        return ref_text(own), document


#: By customer_ref and usage_product_ref, the oldest contract first.
Coverages = dict[tuple[str, str], tuple[Coverage, ...]]


def add_coverage(coverages: Coverages, use: tuple[str, str], added: Coverage) -> None:
    """Remember a contract product by what it prices, in the place of what was known of it."""
    others = [known for known in coverages.get(use, ()) if known.place != added.place]
    coverages[use] = tuple(sorted([*others, added], key=lambda coverage: coverage.place))


def covering(
    coverages: Coverages, use: tuple[str, str], occurred_at_micros: int
) -> tuple[Coverage, str] | None:
    """Return what covers a use of a meter, and the ref of the document that it is expected on."""
    for coverage in coverages.get(use, ()):
        document = coverage.document_at(occurred_at_micros)
        if document is not None:
            return coverage, document
    return None
