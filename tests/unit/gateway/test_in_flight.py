"""The requests in flight have a bound, and one tenant has a share of it."""

import pytest

from gateway.in_flight import UNVERIFIED, InFlight
from schemas.errors import TransientError


def refused(in_flight: InFlight, held: int | None, to: int) -> str:
    with pytest.raises(TransientError) as caught:
        in_flight.move(held, to)
    return caught.value.code


def test_a_tenant_has_its_share_and_no_more() -> None:
    in_flight = InFlight(4, 0.5)
    assert [in_flight.move(None, 1), in_flight.move(None, 1)] == [1, 1]
    assert refused(in_flight, None, 1) == "tenant_over_share"
    in_flight.move(None, 2)
    in_flight.move(None, 3)
    assert refused(in_flight, None, 4) == "too_much_in_flight"
    assert in_flight.count == 4


def test_what_is_answered_makes_room() -> None:
    in_flight = InFlight(2, 1)
    for _ in range(10):
        parties = [in_flight.move(None, 1), in_flight.move(None, 2)]
        assert [in_flight.move(party, None) for party in parties] == [None, None]
    assert in_flight.count == 0


def test_who_becomes_known_leaves_the_unknown_even_when_all_is_full() -> None:
    in_flight = InFlight(2, 0.5)
    in_flight.move(None, UNVERIFIED)
    assert refused(in_flight, None, UNVERIFIED) == "tenant_over_share"
    in_flight.move(None, 1)
    assert in_flight.move(UNVERIFIED, 2) == 2
    assert in_flight.move(2, 2) == 2
    assert in_flight.count == 2
    assert refused(in_flight, None, UNVERIFIED) == "too_much_in_flight"


def test_who_is_refused_still_counts_where_it_did() -> None:
    in_flight = InFlight(4, 0.25)
    in_flight.move(None, UNVERIFIED)
    in_flight.move(None, 1)
    assert refused(in_flight, UNVERIFIED, 1) == "tenant_over_share"
    in_flight.move(UNVERIFIED, None)
    in_flight.move(1, None)
    assert in_flight.count == 0
