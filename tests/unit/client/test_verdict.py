"""What each answer means for the events of its request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_client.verdict import Again, Never, Placed, Refused, Settled, Split, judge


def bulk(refs: list[str | None], errors: tuple[int, ...] = (), **more: object) -> bytes:
    content = {
        "event_refs": refs,
        "receipts": [ref and {"partition": 1, "offset": None} for ref in refs],
        "errors": [
            {"index": index, "pointer": "/quantity", "detail": "is odd", "code": "odd"}
            for index in errors
        ],
        **more,
    }
    return json.dumps(content).encode()


def test_each_event_is_placed_refused_or_still_unknown() -> None:
    body = bulk(["r", None, None], (1,), unknown=[2], may_be_recorded=True)
    verdict = judge(503, body, 3)
    assert isinstance(verdict, Settled)
    assert [type(result) for result in verdict.results] == [Placed, Refused, type(None)]
    assert verdict.may_be_recorded


def test_an_event_that_the_answer_forgets_is_not_taken_for_settled() -> None:
    verdict = judge(202, bulk(["r", None]), 2)
    assert isinstance(verdict, Settled)
    assert isinstance(verdict, Settled)
    assert verdict.results[1] is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_answer_about_another_number_of_events_settles_nothing(count: int) -> None:
    assert isinstance(judge(202, bulk(["r", "r"]), count), Again)


@pytest.mark.parametrize("status", [301, 400, 403, 404, 422])
def test_a_refusal_stays_one(status: int) -> None:
    verdict = judge(status, b'{"code": "no", "detail": "it is so"}', 5)
    assert isinstance(verdict, Never)
    assert "it is so" in str(verdict.error)


def test_too_large_is_split_until_one_is_left() -> None:
    assert judge(413, b"", 2) == Split()
    alone = judge(413, b"", 1)
    assert isinstance(alone, Settled)
    assert isinstance(alone.results[0], Refused)


@given(
    status=st.sampled_from([200, 202, 301, 400, 408, 413, 429, 500, 502, 503, 504]),
    body=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["event_refs", "receipts", "errors", "unknown", "code"]), inner
                )
            ),
            max_leaves=9,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    count=st.integers(1, 3),
)
def test_no_answer_whatever_breaks_the_judge_or_loses_an_event(
    status: int, body: bytes, count: int
) -> None:
    verdict = judge(status, body, count)
    if isinstance(verdict, Settled):
        assert len(verdict.results) == count
