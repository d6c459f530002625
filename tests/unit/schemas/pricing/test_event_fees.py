"""Fees of single events: whichever way events come and go, the sum is that of those that count."""

from fractions import Fraction

from hypothesis import event, given
from hypothesis import strategies as st

from schemas.money import ONE, Price, Quantity, parse_price
from schemas.price import LinePrice, parse_line_price, price_events
from schemas.pricing.event_fees import FeeTally, Key, Move, moved
from tests.pricing import event_prices

CARD: dict[str, object] = {"model": "PERCENTAGE", "rate": "10", "fixed_fee": "1"}

quantities = st.integers(-5, 40).map(lambda units: Quantity(units * ONE))
keys = st.tuples(st.integers(0, 12), st.integers(0, 3))


@st.composite
def prices(draw: st.DrawFn) -> LinePrice:
    price = draw(event_prices(st.integers(0, 10**19).map(Price)))
    fields = {"included_quantity": draw(st.sampled_from([0, 0, 7, 60])) * ONE}
    assert price.event_fees is not None
    included = draw(st.sampled_from([0, 0, 1, 3]))
    return LinePrice(
        "PERCENTAGE",
        price=price.price,
        event_fees=type(price.event_fees)(
            fixed_fee=price.event_fees.fixed_fee or parse_price("0.3"),
            minimum=price.event_fees.minimum,
            maximum=price.event_fees.maximum,
            included_events=included,
        ),
        included_quantity=Quantity(fields["included_quantity"]),
    )


def counted_at_once(price: LinePrice, events: dict[Key, Quantity]) -> int:
    return sum(price_events(price, [quantity for _, quantity in sorted(events.items())]))


def counted_again(price: LinePrice, events: dict[Key, Quantity]) -> FeeTally:
    tally = FeeTally.start(price)
    for key, quantity in sorted(events.items()):
        tally.count(price, key, quantity)
    return tally


@given(prices(), st.data())
def test_events_that_come_and_go_in_any_order_cost_what_those_that_count_cost(
    price: LinePrice, data: st.DataObject
) -> None:
    tally, events = FeeTally.start(price), dict[Key, Quantity]()
    for _ in range(data.draw(st.integers(1, 6))):
        moves: list[Move] = []
        for key in data.draw(st.lists(keys, max_size=5)):
            if key in events:  # it goes, or is changed
                moves.append((key, events.pop(key), -1))
            if data.draw(st.booleans()):
                events[key] = data.draw(quantities)
                moves.append((key, events[key], 1))
        after = moved(price, tally, moves)
        event("counted again" if after is None else "moved")
        tally = counted_again(price, events) if after is None else after
        assert tally.amount == counted_at_once(price, events)
        assert tally == counted_again(price, events)


def test_without_free_events_or_units_nothing_is_ever_counted_again() -> None:
    price = parse_line_price(CARD)
    moves: list[Move] = [((5, 1), 10 * ONE, 1), ((1, 1), 20 * ONE, 1), ((5, 1), 10 * ONE, -1)]
    after = moved(price, FeeTally.start(price), moves)
    assert after is not None
    assert Fraction(after.amount, 10**36) == 3


def test_past_the_last_free_event_order_does_not_matter() -> None:
    price = parse_line_price(CARD | {"included_events": 1})
    first: list[Move] = [((1, 1), 10 * ONE, 1), ((9, 1), 10 * ONE, 1)]
    tally = moved(price, FeeTally.start(price), first)
    assert tally is not None
    assert moved(price, tally, [((5, 1), 10 * ONE, 1)]) is not None
    assert moved(price, tally, [((0, 1), 10 * ONE, 1)]) is None
    assert moved(price, tally, [((1, 1), 10 * ONE, -1)]) is None
