"""What comes too late to be rated: too old for its tenant, or of a month that is archived. Pure.

The gateway refuses such events before they are acknowledged; what comes here came past it, or was
under way when the bound was set.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from rater.archived import Archived
from rater.arrivals import AmendmentArrival, Arrival, DeadLetter, Poll
from rater.memory import Memory
from rater.tenants import Tenant
from schemas.event_ref import month_of

NOTICE_MICROS: Final = 60_000_000
"""How long a gateway may take to hear of a tenant's bound and be done with what it had taken."""

_DAY_MICROS: Final = 86_400_000_000

Reason = tuple[str, str]

ARCHIVED: Final[Reason] = ("MONTH_ARCHIVED", "the events of its billing period are in an archive")

T = TypeVar("T", Arrival, AmendmentArrival)


def refuse_late(poll: Poll, memory: Memory, archived: Archived) -> None:
    """Turn what came too late into dead letters; of amendments, `amend` knows the rest."""
    tenants = {ref: t for ref, t in memory.tenants.items() if t.age_micros_max is not None}
    sole = memory.sole_tenant
    if sole is not None and sole.age_micros_max is not None:
        tenants[""] = sole  # what names no tenant is the sole one's
    if not (tenants or archived.below):
        return
    poll.arrivals = _kept(poll, poll.arrivals, lambda a: _why(a, tenants, archived))
    poll.amendments = _kept(poll, poll.amendments, lambda a: _why_not(a, archived))
    poll.retried = [arrival for arrival in poll.arrivals if arrival.origin is not None]


def _kept(poll: Poll, arrivals: list[T], why: Callable[[T], Reason | None]) -> list[T]:
    """Return the arrivals that are in time; the others become dead letters."""
    kept: list[T] = []
    for arrival in arrivals:
        reason = why(arrival)
        if reason is None:
            kept.append(arrival)
        else:
            poll.dead.append(_dead_letter(arrival, *reason))
    return kept


def _why(arrival: Arrival, tenants: Mapping[str, Tenant], archived: Archived) -> Reason | None:
    """Say why a use is too late. Under its alias it may be known already, where nobody can look."""
    occurred_at = arrival.event.occurred_at_micros
    if occurred_at < archived.until:
        return ARCHIVED
    if arrival.alias and month_of(arrival.alias) < archived.below:
        return ARCHIVED
    tenant = tenants.get(arrival.event.tenant_ref or "")
    if tenant is None or tenant.age_micros_max is None:
        return None
    appended = arrival.appended_at * 1_000
    is_bound = appended > tenant.age_since_micros + NOTICE_MICROS
    if is_bound and occurred_at < appended - tenant.age_micros_max:
        days = tenant.age_micros_max // _DAY_MICROS
        return "TIMESTAMP_OUT_OF_RANGE", f"/timestamp: was over {days} days ago when it came"
    return None


def _why_not(arrival: AmendmentArrival, archived: Archived) -> Reason | None:
    """Say why an amendment is too late, whatever its event is like now."""
    moved_to = arrival.amendment.occurred_at_micros
    if month_of(arrival.amendment.event_ref) < archived.below:
        return ARCHIVED
    return ARCHIVED if moved_to is not None and moved_to < archived.until else None


def _dead_letter(arrival: Arrival | AmendmentArrival, reason: str, detail: str) -> DeadLetter:
    if isinstance(arrival, Arrival):
        key, tenant_ref = arrival.event.customer_ref.encode(), arrival.event.tenant_ref
    else:
        key, tenant_ref = arrival.key, arrival.amendment.tenant_ref
    return DeadLetter(
        arrival.offset,
        arrival.appended_at,
        reason,
        detail,
        key,
        arrival.value,
        tenant_ref,
        arrival.origin,
    )
