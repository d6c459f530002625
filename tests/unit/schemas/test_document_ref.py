"""A document's ref is known before there is a document."""

from datetime import date
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.document import DocumentKind
from schemas.document_ref import document_ref, event_document_ref
from schemas.event_ref import derived_ref, keyed_event_ref, month_of, shard_key_of, tenant_bits

TENANT = "0d8a4c52-5f8f-4ddb-a6c8-9a35b6e4e0a1"
CONTRACT = derived_ref("contract", 300, 123_456_789, 3, "a")
DIGESTS = st.integers(0, (1 << 80) - 1)


def test_a_ref_says_where_the_document_lives() -> None:
    ref = document_ref(TENANT, CONTRACT, 0, date(2026, 9, 1))
    assert shard_key_of(ref.int) == 123_456_789
    assert month_of(ref.int) == 26 * 12 + 8
    assert ref.int >> 80 & 31 == tenant_bits(TENANT)


def test_everything_that_tells_documents_apart_is_in_it() -> None:
    other = UUID(int=CONTRACT.int ^ 1)
    refs = {
        document_ref(TENANT, CONTRACT, 0, date(2026, 9, 1)),
        document_ref(TENANT, other, 0, date(2026, 9, 1)),
        document_ref(TENANT, CONTRACT, 1, date(2026, 9, 1)),
        document_ref(TENANT, CONTRACT, 0, date(2026, 9, 2)),
        document_ref(TENANT, CONTRACT, 0, date(2026, 9, 1), DocumentKind.ADJUSTMENT),
    }
    assert len(refs) == 5


def test_a_ref_is_the_same_for_ever() -> None:
    ref = document_ref(TENANT, CONTRACT, 0, date(2026, 9, 1))
    assert ref == document_ref(TENANT, CONTRACT, 0, date(2026, 9, 1))
    assert str(ref) == "1400eb79-a2a7-8a80-a1af-30d33f49fb27"


@given(DIGESTS, DIGESTS, st.integers(0, 9), st.integers(0, 4_000))
def test_the_ref_of_an_events_document_leads_back_to_the_event(
    digest: int, contract_digest: int, group: int, month: int
) -> None:
    contract = UUID(int=keyed_event_ref(288, 17, 3, contract_digest))
    event = keyed_event_ref(month, 17, 3, digest)
    document = event_document_ref(event, contract, group)
    assert document != event
    assert document >> 80 == event >> 80, "it lives where the event lives"
    assert UUID(int=document).version == 8
    assert event_document_ref(document, contract, group) == event
    assert event_document_ref(event, contract, group + 1) != document
