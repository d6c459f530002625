"""What comes too late: judged by a record's own times and the bounds, by nothing else."""

import msgspec
import pytest

from rater.archived import Archived
from rater.arrivals import AmendmentArrival, Arrival, Poll
from rater.memory import Memory
from rater.tenants import Tenant
from rater.too_late import NOTICE_MICROS, refuse_late
from schemas.amendment import Amendment, decode_amendment
from schemas.event_ref import keyed_event_ref, month_index, ref_text
from schemas.money import ONE, Quantity
from schemas.usage_event import UsageEvent

DAY = 86_400_000_000
NOON = 1_709_294_400_000_000  # 2024-03-01T12:00:00Z
MARCH = month_index(NOON)
NOTHING = Archived()
TENANT = "7a000000-0000-4000-8000-000000000001"
CUSTOMER = "c0000000-0000-4000-8000-000000000001"


def arrival(at: int, *, alias_month: int | None = None, tenant_ref: str | None = TENANT) -> Arrival:
    use = UsageEvent(tenant_ref, CUSTOMER, CUSTOMER, at, Quantity(ONE), None, "key")
    alias = 0 if alias_month is None else keyed_event_ref(alias_month, 1, 1, 7)
    ref = keyed_event_ref(month_index(at), 1, 1, 7)
    return Arrival(5, NOON // 1_000, ref, alias, 1, 0, use, b"{}")


def amendment(month: int, at: int | None = None) -> AmendmentArrival:
    fields: dict[str, object] = {
        "v": 1,
        "kind": "UPDATE",
        "tenant_ref": TENANT,
        "customer_ref": CUSTOMER,
        "event_ref": ref_text(keyed_event_ref(month, 1, 1, 7)),
        "quantity": 2,
    }
    if at is not None:
        fields["timestamp"] = "2024-02-15T12:00:00Z"
    value = msgspec.json.encode(fields)
    read: Amendment = decode_amendment(value, "UPDATE")
    return AmendmentArrival(6, NOON // 1_000, read, CUSTOMER.encode(), value)


def reasons(
    *arrivals: Arrival | AmendmentArrival,
    archived: Archived = NOTHING,
    days: int | None = None,
    since: int = 0,
) -> list[str]:
    memory = Memory(charges_max=10)
    age = None if days is None else days * DAY
    memory.tenants[TENANT] = Tenant(1, TENANT, 1, age, since)
    uses = [a for a in arrivals if isinstance(a, Arrival)]
    poll = Poll(0, 10, uses, [], [])
    poll.amendments = [a for a in arrivals if isinstance(a, AmendmentArrival)]
    refuse_late(poll, memory, archived)
    assert len(poll.arrivals) + len(poll.amendments) + len(poll.dead) == len(arrivals)
    return [letter.reason for letter in poll.dead]


@pytest.mark.parametrize(
    ("days_ago", "days", "reason"),
    [
        (30, 30, None),
        (30 + 1e-6, 30, "TIMESTAMP_OUT_OF_RANGE"),
        (8_000, None, None),
    ],
)
def test_a_tenant_bounds_how_old_an_event_is_when_it_comes(
    days_ago: float, days: int | None, reason: str | None
) -> None:
    at = NOON - round(days_ago * DAY)
    assert reasons(arrival(at), days=days) == [reason][: reason is not None]


def test_a_tenants_bound_is_for_what_comes_behind_it() -> None:
    old = arrival(NOON - 40 * DAY)
    assert reasons(old, days=30, since=NOON - NOTICE_MICROS) == []
    assert reasons(old, days=30, since=NOON - NOTICE_MICROS - 1) == ["TIMESTAMP_OUT_OF_RANGE"]


def test_what_names_no_tenant_is_the_sole_ones() -> None:
    assert reasons(arrival(NOON - 40 * DAY, tenant_ref=None), days=30)


@pytest.mark.parametrize(
    ("late", "is_refused"),
    [
        (arrival(NOON), False),
        (arrival(NOON, alias_month=MARCH + 1), False),
        (arrival(NOON, alias_month=MARCH - 1), True),
        (arrival(NOON - DAY), False),
        (arrival(NOON - DAY - 1), True),
        (amendment(MARCH), False),
        (amendment(MARCH - 1), True),
        (amendment(MARCH, at=NOON - 15 * DAY), True),
    ],
)
def test_an_archived_month_takes_nothing(
    late: Arrival | AmendmentArrival, is_refused: bool
) -> None:
    assert reasons(late, archived=Archived(MARCH, NOON - DAY)) == ["MONTH_ARCHIVED"] * is_refused
