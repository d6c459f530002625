"""The document that a use is expected on: the oldest contract's that is in force then."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.coverage import Coverage, Coverages, add_coverage, covering
from gateway.ingest.parsing import parse_event
from gateway.ingest.validation import accept_event
from gateway.tenant import Customer, Meter, Tenant
from schemas.document_ref import document_ref
from schemas.errors import InvalidUsageEvent
from schemas.event_ref import derived_ref, shard_key, tenant_bits
from schemas.periods import BillingTerms, period_at

TENANT_REF = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"
METER = "00000000-0000-4000-8000-000000000002"
ENTITY = "00000000-0000-4000-8000-0000000000ab"
USE = (CUSTOMER, METER)


def contract_ref(number: int) -> UUID:
    bits = tenant_bits(TENANT_REF)
    return derived_ref("contract", 288, shard_key(CUSTOMER), bits, str(number))


def coverage(number: int, start: date, end: date | None = None) -> Coverage:
    terms = BillingTerms(
        start_date=start,
        end_date=end,
        unit="MONTHLY",
        cycle=1,
        issue_day=None,
        payment_time="AFTER_USE",
        timezone="Europe/Berlin",
    )
    return Coverage((number, 0, 1), TENANT_REF, contract_ref(number), 0, "USD", ENTITY, terms)


def micros(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc,arg-type]


def known(*coverages: Coverage) -> Coverages:
    found: Coverages = {}
    for one in coverages:
        add_coverage(found, USE, one)
    return found


def test_the_oldest_contract_in_force_counts() -> None:
    coverages = known(
        coverage(3, date(2024, 1, 1)),
        coverage(1, date(2024, 2, 1), date(2024, 2, 29)),
        coverage(2, date(2023, 1, 1)),
    )
    for month, number in ((1, 2), (2, 1), (3, 2)):
        found = covering(coverages, USE, micros(2024, month, 5))
        assert found is not None
        issued = date(2024, month + 1, 1)
        assert found[0].place == (number, 0, 1)
        assert found[1] == str(document_ref(TENANT_REF, contract_ref(number), 0, issued))
    assert covering(coverages, USE, micros(2022, 5, 5)) is None
    assert covering(coverages, (CUSTOMER, ENTITY), micros(2024, 2, 5)) is None


def test_the_same_contract_read_twice_is_one() -> None:
    coverages = known(coverage(1, date(2024, 1, 1)), coverage(1, date(2024, 1, 1)))
    assert len(coverages[USE]) == 1


@given(st.lists(st.integers(micros(2023, 12, 1), micros(2025, 3, 1)), max_size=8))
def test_what_was_found_before_changes_nothing(instants: list[int]) -> None:
    remembering = coverage(1, date(2024, 1, 10), date(2025, 1, 20))
    for instant in instants:
        moment = datetime.fromtimestamp(instant / 1_000_000, UTC)
        period = period_at(remembering.terms, moment)
        assert (remembering.document_at(instant) is None) == (period is None)
        fresh = coverage(1, date(2024, 1, 10), date(2025, 1, 20))
        assert remembering.document_at(instant) == fresh.document_at(instant)


def test_a_use_is_expected_where_the_oldest_contract_prices_a_meter_above_its_own() -> None:
    parent, child, below = METER, f"{METER[:-1]}3", f"{METER[:-1]}4"
    meters = {
        parent: Meter('"P"'),
        child: Meter('"C"', None, parent),
        below: Meter('""', None, child),
    }
    tenant = Tenant(1, TENANT_REF, {}, meters, version=1)
    at = micros(2024, 2, 5)
    assert tenant.covering(CUSTOMER, below, at) is None
    new, old = coverage(2, date(2024, 1, 1)), coverage(1, date(2024, 1, 1), date(2024, 2, 29))
    add_coverage(tenant.coverages, (CUSTOMER, child), new)
    add_coverage(tenant.coverages, (CUSTOMER, parent), old)
    for meter, found in ((parent, old), (child, old), (below, old)):
        assert tenant.covering(CUSTOMER, meter, at) == (old, found.document)
    later = tenant.covering(CUSTOMER, below, micros(2024, 3, 5))
    assert later is not None
    assert later[0] is new
    assert tenant.covering(CUSTOMER, parent, micros(2024, 3, 5)) is None


@pytest.mark.parametrize(
    ("validations", "wrong"),
    [
        ('{"currency":"USD"}', set()),
        ('{"currency":"usd"}', set()),
        (f'{{"entity_ref":"{ENTITY.upper()}"}}', set()),
        ('{"currency":"","entity_ref":null}', set()),
        ('{"currency":"EUR"}', {"/validations/currency"}),
        (
            f'{{"currency":"EUR","entity_ref":"{METER}"}}',
            {"/validations/currency", "/validations/entity_ref"},
        ),
    ],
)
def test_an_event_for_another_document_is_refused(validations: str, wrong: set[str]) -> None:
    customer = Customer(shard_key(CUSTOMER), tenant_bits(TENANT_REF), CUSTOMER.encode(), '"A"')
    tenant = Tenant(1, TENANT_REF, {CUSTOMER: customer}, {METER: Meter('"M"')}, version=1)
    event = parse_event(
        f'{{"timestamp":"2024-02-05T12:00:00Z","customer_ref":"{CUSTOMER}",'
        f'"usage_product_ref":"{METER}","quantity":1,"validations":{validations}}}'.encode()
    )
    now = micros(2024, 3, 1)
    accept_event(event, tenant, now_micros=now, ahead_max_micros=0)  # no contract, no document
    tenant.coverages.update(known(coverage(1, date(2024, 1, 1))))
    found: set[str] = set()
    try:
        accept_event(event, tenant, now_micros=now, ahead_max_micros=0)
    except InvalidUsageEvent as error:
        found = {problem.pointer for problem in error.problems}
    assert found == wrong
