"""How much usage of a partition is not folded into sums yet, and when it is to be. Pure."""

from typing import Final

import msgspec

ENTRIES_MAX: Final = 200_000
POLLS_MAX: Final = 500
"""From when the tail is folded, whatever its age: what a reader adds up besides the sums."""


class Tail(msgspec.Struct):
    """How much is not folded yet.

    polls: whose additions it is. entries: how many those are. since: the first of them, by a clock
    that only counts. What is there at the beginning others have left: it counts as one poll.
    """

    polls: int
    entries: int
    since: float

    def grow(self, entries: int, now: float) -> None:
        """Take note of what a poll has added."""
        if not entries:
            return
        if not self.polls:
            self.since = now
        self.polls += 1
        self.entries += entries

    def clear(self) -> None:
        """Take note that all of it is folded."""
        self.polls = self.entries = 0

    def is_due(self, seconds_max: float, now: float) -> bool:
        """Tell whether it is to be folded now."""
        return bool(self.polls) and (
            self.polls >= POLLS_MAX
            or self.entries >= ENTRIES_MAX
            or now - self.since >= seconds_max
        )
