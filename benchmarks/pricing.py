"""What pricing a period's total costs, a model, beside one bare multiplication of fractions.

`python -m benchmarks.pricing` prints JSON: the processor time of `price_total` for each model, in
microseconds, and as a share of multiplying two `fractions.Fraction`s in the same run. It needs no
servers. Totals and prices differ from call to call; tiers are ten. The best of several rounds
counts: what else the machine does makes a round longer, never shorter.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

from schemas.money import ONE, PRICE_DIGITS, Quantity, scaled_to_text
from schemas.price import LinePrice, parse_line_price, price_events, price_total

CALLS = 20_000
ROUNDS = 7
TIERS = 10
EVENTS = 1_000


def tiers(chance: random.Random, *prices: str) -> list[dict[str, object]]:
    """Draw tiers, the last one open."""
    bounds: list[int | None] = [10 * 4**step for step in range(TIERS - 1)]
    return [
        {"up_to": bound, **{name: amount(chance) for name in prices}} for bound in [*bounds, None]
    ]


def amount(chance: random.Random) -> str:
    """Draw a price with nine digits after the point."""
    return scaled_to_text(chance.randrange(10**9, 10**10) * 10**9, PRICE_DIGITS)


def models(chance: random.Random) -> dict[str, LinePrice]:
    """Return one price of every model that prices a total."""
    fields: dict[str, dict[str, object]] = {
        "FLAT": {"price": amount(chance)},
        "PER_UNIT": {"price": amount(chance)},
        "GRADUATED": {"tiers": tiers(chance, "unit_price", "flat_fee")},
        "VOLUME": {"tiers": tiers(chance, "unit_price", "flat_fee")},
        "STAIRSTEP": {"tiers": tiers(chance, "flat_fee")},
        "PACKAGE": {"price": amount(chance), "package_size": 100},
        "PERCENTAGE": {"rate": "2.9"},
        "FORMULA": {"expression": "min(q, 1000) * 0.02 + max(q - 1000, 0) * 0.015"},
    }
    return {name: parse_line_price({"model": name, **own}) for name, own in fields.items()}


def best(work: Callable[[], object], calls: int) -> float:
    """Return the processor time of one call in microseconds: of the best round."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times) / calls * 1e6


def measure() -> dict[str, object]:
    """Return what one run came to."""
    chance = random.Random(7)
    totals = [Quantity(chance.randrange(10**6) * ONE + chance.randrange(ONE)) for _ in range(CALLS)]
    pairs = [(Fraction(total, ONE), Fraction(amount(chance))) for total in totals]
    bare = best(lambda: [quantity * price for quantity, price in pairs], CALLS)
    figures = {name: best(priced(price, totals), CALLS) for name, price in models(chance).items()}
    card = parse_line_price({"model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.3"})
    figures["PERCENTAGE_an_event"] = best(lambda: price_events(card, totals[:EVENTS]), EVENTS)
    return {
        "totals": CALLS,
        "tiers": TIERS,
        "ceiling_bare_fraction_multiply_microseconds": round(bare, 3),
        "microseconds": {name: round(cost, 3) for name, cost in figures.items()},
        "ratio_to_ceiling": {name: round(cost / bare, 3) for name, cost in figures.items()},
        "python": sys.version.split()[0],
    }


def priced(price: LinePrice, totals: Sequence[Quantity]) -> Callable[[], object]:
    """Return the work of pricing every total."""
    return lambda: [price_total(price, total) for total in totals]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
