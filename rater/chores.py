"""What an owner does between polls without being asked: closing, digests, roll-ups, months."""

import time
from collections.abc import Sequence

from rater import automatic, firing, rollups
from rater.automatic import Round
from rater.digests import Digesting
from rater.months import make_ahead
from rater.owner import Owner
from rater.tasks import Task


class Chores:
    """The chores of one partition while it is open; each step is bounded."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._digesting = Digesting()
        self._round: Round | None = None
        self._look_at = 0.0

    @property
    def is_ready(self) -> bool:
        """Tell whether there is something to do now that waits for no record."""
        return self._owner.has_undigested or self._can_cut or bool(self._owner.alerts.news)

    @property
    def _can_cut(self) -> bool:
        return self._round is not None and self._owner.state.next_offset >= self._round.end_offset

    async def step(self, tasks: Sequence[Task]) -> None:
        """Do a little of each. Raises what a step of the owner does."""
        owner = self._owner
        await make_ahead(owner)
        if self._round is None and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + owner.settings.closing_look_seconds
            self._round = await automatic.begin(owner, tasks)
        if self._round is not None and self._can_cut:
            await automatic.step(owner, self._round, tasks)
            if self._round.is_done:
                self._round = None
        if owner.has_undigested:
            await self._digesting.step(owner)
        await firing.step(owner)
        await rollups.step(owner)
