"""The error tree: stable codes, and every wrong field named."""

import pytest

from schemas.errors import (
    BillingError,
    Conflict,
    InvalidInput,
    InvalidUsageEvent,
    NotAllowed,
    NotFound,
    Problem,
    TransientError,
)


@pytest.mark.parametrize("fork", [InvalidInput, NotFound, NotAllowed, Conflict, TransientError])
def test_every_fork_of_the_tree_carries_a_code_and_a_detail(fork: type[BillingError]) -> None:
    error = fork("some_code", "what happened")
    assert isinstance(error, BillingError)
    assert (error.code, error.detail) == ("some_code", "what happened")
    assert "some_code" in str(error)


def test_an_invalid_event_is_an_invalid_input() -> None:
    error = InvalidUsageEvent("number_malformed", "must be a number", "/quantity")
    assert isinstance(error, InvalidInput)
    assert error.problems == (Problem("number_malformed", "must be a number", "/quantity"),)


def test_joined_problems_keep_their_order_and_speak_with_the_first_ones_words() -> None:
    problems = [Problem("a", "first", "/x"), Problem("b", "second")]
    error = InvalidUsageEvent.of(problems)
    assert isinstance(error, InvalidUsageEvent)
    assert error.problems == tuple(problems)
    assert (error.code, error.detail, error.pointer) == ("a", "first", "/x")
    assert str(error) == "/x: first (a); /: second (b)"
