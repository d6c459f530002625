"""The language that the services share: pure, without clocks, settings or I/O.

Rules of time zones come with the release, as the package `tzdata` that it pins, whatever files a
machine has: else two machines could disagree about when a period ends, and an update of the system
could move a bound that is stored already.
"""

from zoneinfo import reset_tzpath

reset_tzpath(to=())
