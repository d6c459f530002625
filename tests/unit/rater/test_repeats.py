"""When events are looked for before they are written."""

from rater.repeats import PATIENCE_MAX, TRUSTED_FROM, Repeats


def test_a_fresh_partition_looks_until_a_poll_holds_nothing_known() -> None:
    repeats = Repeats()
    for found in (7, 1, 0):
        assert repeats.are_looked_for(TRUSTED_FROM)
        repeats.looked(found)
    assert not repeats.are_looked_for(TRUSTED_FROM)


def test_small_polls_are_always_looked_for() -> None:
    repeats = Repeats()
    repeats.looked(0)
    assert repeats.are_looked_for(TRUSTED_FROM - 1)
    assert not repeats.are_looked_for(TRUSTED_FROM)


def test_each_surprise_doubles_how_long_a_partition_looks_up_to_a_bound() -> None:
    repeats = Repeats()
    repeats.looked(0)
    for surprises in range(1, 20):
        repeats.surprised()
        polls = 0
        while repeats.are_looked_for(TRUSTED_FROM):
            repeats.looked(0)
            polls += 1
        assert polls == min(2**surprises, PATIENCE_MAX)


def test_a_repeat_that_was_found_begins_the_wait_anew() -> None:
    repeats = Repeats()
    repeats.surprised()
    repeats.looked(0)
    repeats.looked(3)
    repeats.looked(0)
    assert repeats.are_looked_for(TRUSTED_FROM)
    repeats.looked(0)
    assert not repeats.are_looked_for(TRUSTED_FROM)
