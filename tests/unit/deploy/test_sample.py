"""The demonstration's sample file: what is in it, and that it can be made again."""

from collections import Counter

from deploy.demo.sample import CONFLICTS, EVENTS, RETRIES, make_rows, read_sample
from tests.e2e.month import billed_once, is_billable


def test_the_committed_file_is_what_the_generator_makes() -> None:
    assert list(read_sample()) == make_rows()


def test_it_has_a_hundred_thousand_keyed_events_and_the_warts_of_real_traffic() -> None:
    rows = list(read_sample())
    billable = [row for row in rows if is_billable(row)]
    keys = Counter((row.customer, row.key) for row in billable)

    assert len(keys) == EVENTS
    assert len(billable) == EVENTS + RETRIES + CONFLICTS
    assert len(rows) > len(billable)
    assert sum(map(len, billed_once(rows).values())) == EVENTS


def test_a_few_customers_send_most_of_it() -> None:
    shares = Counter(row.customer for row in read_sample()).most_common()
    assert shares[0][1] > 10 * shares[6][1]


def test_a_key_is_used_for_something_else_only_long_after_its_first_use() -> None:
    first: dict[tuple[str, str], tuple[int, str]] = {}
    for place, row in enumerate(row for row in read_sample() if is_billable(row)):
        seen_at, quantity = first.setdefault((row.customer, row.key), (place, row.quantity))
        # Far enough apart that no two requests under way at once can change which came first.
        assert quantity == row.quantity or place - seen_at > 10_000
