"""How soon every process hears that a key, a token or a session was ended."""

from gateway import reference
from gateway.auth import signing

PROMISED_SECONDS = 5.0


def test_a_missed_notice_is_made_good_well_within_the_five_seconds_that_are_promised() -> None:
    for beat in (reference.REFRESH_SECONDS, signing.RELOAD_SECONDS):
        assert 2 * beat <= PROMISED_SECONDS, "one beat to read, and one that was late"
