"""Whether the events of a poll are looked for before they are written. Pure.

Most polls hold nothing that was counted before, and looking for each of their events costs a third
of what rating them costs Postgres. The unique key of the events refuses a repeat all the same: the
transaction is given up then, and made again with a look. So a partition that has met no repeat for
some polls does without looking, and the more often that turns out to be wrong, the longer it looks.
"""

from typing import Final

TRUSTED_FROM: Final = 1_000
"""Events of a poll from which on it is worth while; a smaller one is looked for at no cost."""

PATIENCE_MAX: Final = 256
"""Polls without a repeat, one after the other, that are asked for at most."""


class Repeats:
    """What a partition has met of late; a fresh one expects that the log is read again."""

    def __init__(self) -> None:
        self._patience = 1
        self._clean = 0

    def are_looked_for(self, events: int) -> bool:
        """Tell whether a poll of so many events is looked for in the database."""
        return events < TRUSTED_FROM or self._clean < self._patience

    def looked(self, found: int) -> None:
        """Learn how many events of a poll were known."""
        self._clean = 0 if found else self._clean + 1

    def surprised(self) -> None:
        """Learn that a repeat came where none was looked for."""
        self._clean = 0
        self._patience = min(2 * self._patience, PATIENCE_MAX)
