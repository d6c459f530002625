"""Prices of every model, drawn for properties."""

from collections.abc import Sequence

import hypothesis.strategies as st

from schemas.money import ONE, Price, Quantity
from schemas.price import MODELS, LinePrice, Tier, from_json, to_json
from schemas.pricing.terms import EventFees, ModelName

TOTAL_MODELS: Sequence[ModelName] = tuple(
    name for name in MODELS if name not in ("MATRIX", "FORMULA")
)
TIERED_MODELS: Sequence[ModelName] = ("GRADUATED", "VOLUME", "STAIRSTEP", "PERCENTAGE")

Prices = st.SearchStrategy[Price]
Quantities = st.SearchStrategy[Quantity]


@st.composite
def tier_lists(draw: st.DrawFn, prices: Prices, count_max: int = 6) -> tuple[Tier, ...]:
    """Draw ascending tiers, the last one open."""
    bounds = sorted(draw(st.sets(st.integers(1, 10**24), max_size=count_max - 1)))
    up_tos = [*map(Quantity, bounds), None]
    return tuple(Tier(up_to, draw(prices), draw(prices)) for up_to in up_tos)


@st.composite
def total_prices(
    draw: st.DrawFn,
    prices: Prices,
    quantities: Quantities,
    fees: Prices,
    models: Sequence[ModelName] = TOTAL_MODELS,
) -> LinePrice:
    """Draw a price of a total (or of its own quantity), as it is after it was stored."""
    model = draw(st.sampled_from(models))
    minimum, maximum = sorted(draw(st.tuples(fees, fees)))
    price = LinePrice(
        model=model,
        price=draw(prices),
        tiers=draw(tier_lists(prices)) if draw(st.booleans()) or model != "PERCENTAGE" else (),
        quantity=draw(quantities),
        recurring=model != "FLAT" or draw(st.booleans()),
        package_size=Quantity(draw(quantities) + 1),
        package_rounding=draw(st.sampled_from(["UP", "DOWN"])),
        included_quantity=draw(quantities),
        minimum_fee=draw(st.sampled_from([None, minimum])),
        maximum_fee=draw(st.sampled_from([None, maximum])),
        discount_percent=Price(draw(st.integers(0, 100 * ONE))),
    )
    return from_json(to_json(price))


@st.composite
def event_prices(draw: st.DrawFn, fees: Prices) -> LinePrice:
    """Draw a PERCENTAGE price with fees an event."""
    minimum, maximum = sorted(draw(st.tuples(fees, fees)))
    event_fees = EventFees(
        fixed_fee=draw(fees),
        minimum=draw(st.sampled_from([None, minimum])),
        maximum=draw(st.sampled_from([None, maximum])),
        included_events=draw(st.integers(1, 3)),
    )
    return LinePrice("PERCENTAGE", price=draw(fees), event_fees=event_fees)


def expressions(names: Sequence[str]) -> st.SearchStrategy[str]:
    """Draw formulas, most of which have a value."""
    digits = st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,4})?", fullmatch=True)
    leaves = digits | st.sampled_from(names)
    return st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.builds("({} {} {})".format, parts, st.sampled_from("+-*/"), parts),
            st.builds("{} - {} * {}".format, parts, parts, parts),
            st.builds("-({})".format, parts),
            st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), parts, parts),
            st.builds("{}({})".format, st.sampled_from(["abs", "ceil", "floor"]), parts),
            st.builds("round({}, {})".format, parts, st.integers(-3, 3)),
            st.builds(
                "if({} {} {} {} not {} == {}, {}, {})".format,
                parts,
                st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
                parts,
                st.sampled_from(["and", "or"]),
                *(parts, parts, parts, parts),
            ),
        ),
        max_leaves=12,
    )
