"""Token buckets: what a tenant may do, at once and over time."""

import pytest

from gateway.limits import BURST_SECONDS, Limit, Limits, RateLimited


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    time = Time()
    limit = Limit("requests", 2, time)
    for _ in range(2 * BURST_SECONDS):
        limit.take(1, 1)
    with pytest.raises(RateLimited) as refused:
        limit.take(1, 1)
    assert refused.value.retry_seconds == 1
    for _ in range(3):
        time.now += 0.5
        limit.take(1, 1)
        with pytest.raises(RateLimited):
            limit.take(1, 1)


def test_one_tenant_takes_nothing_from_another() -> None:
    limit = Limit("requests", 1, Time())
    for _ in range(BURST_SECONDS):
        limit.take(1, 1)
    with pytest.raises(RateLimited):
        limit.take(1, 1)
    assert limit.take(2, 1) == BURST_SECONDS - 1


def test_what_is_larger_than_the_bucket_goes_through_and_is_paid_for_after() -> None:
    time = Time()
    limit = Limit("events", 10, time)
    limit.take(1, 300)
    with pytest.raises(RateLimited) as refused:
        limit.take(1, 1)
    assert refused.value.retry_seconds == 21
    time.now += refused.value.retry_seconds
    limit.take(1, 1)


def test_a_pause_saves_no_more_than_a_burst() -> None:
    time = Time()
    limit = Limit("requests", 1, time)
    limit.take(1, 1)
    time.now += 10_000
    assert limit.take(1, 1) == BURST_SECONDS - 1


def test_what_is_spent_without_the_clock_is_bounded_all_the_same() -> None:
    time = Time()
    limits = Limits(
        requests_per_second=1, events_per_second=1, bytes_per_second=1_000_000, clock=time
    )
    limits.take_events(1, 1, 0)
    time.now += 10_000
    for _ in range(BURST_SECONDS * 3 // 2 - 1):
        limits.take_events(1, 1, 0)
    with pytest.raises(RateLimited):
        limits.take_events(1, 1, 0)


def test_what_is_charged_later_counts() -> None:
    limit = Limit("events", 1, Time())
    limit.take(1, 0)
    limit.charge(1, BURST_SECONDS)
    with pytest.raises(RateLimited):
        limit.take(1, 0)


def test_the_fields_say_what_is_allowed_and_what_is_left() -> None:
    limits = Limits(requests_per_second=2, events_per_second=5, bytes_per_second=100)
    fields = limits.take_request(1)
    assert fields["RateLimit-Policy"] == (
        '"requests";q=20;w=10, "events";q=50;w=10, "bytes";q=1000;w=10'
    )
    assert fields["RateLimit"] == '"requests";r=19;t=1'


def test_what_is_left_of_events_is_told_in_steps_and_never_too_much() -> None:
    limits = Limits(requests_per_second=1, events_per_second=1_000, bytes_per_second=10)
    limits.take_events(1, 1, 0)
    first = limits.events_left(1)
    assert first["RateLimit"] == '"events";r=9990;t=1, "bytes";r=100;t=0'
    limits.take_events(1, 9, 0)
    assert limits.events_left(1) is first
    limits.take_events(1, 1, 40)
    assert limits.events_left(1)["RateLimit"] == '"events";r=9980;t=1, "bytes";r=60;t=4'
    limits.take_events(1, 20_000, 0)
    assert limits.events_left(1)["RateLimit"].startswith('"events";r=0;t=10,')
    assert limits.events_left(1)["RateLimit-Policy"] == limits.policy_header
