"""What has left the database, for an archive. Pure."""

from datetime import datetime

import msgspec

from rater.memory import micros


class Archived(msgspec.Struct, frozen=True):
    """What has left the database, for all tenants.

    below: the first month that has not, as refs count months. until: the end of the months before,
    and of every billing period that reaches into them, microseconds since 1970: nothing before is
    taken, as nobody could prove a total of it.
    """

    below: int = 0
    until: int = 0

    @classmethod
    def of(cls, below: int, until: datetime) -> "Archived":
        """Build from the columns of `rater_partition`."""
        return cls(below, micros(until)) if below else cls()
