"""Keep children running: start them in stages, restart what dies, stop in reverse order."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.local.children import Child, ChildSpec

BACKOFF_SECONDS_FIRST = 0.5
BACKOFF_SECONDS_MAX = 30.0
#: After so long in good health a child's failures are forgotten.
HEALTHY_SECONDS = 60.0
LOOK_SECONDS = 0.1


@dataclass
class _Part:
    """One child and its history. `child` is None while it waits for its next start."""

    spec: ChildSpec
    child: Child | None
    #: When the present state began, on the monotonic clock.
    since: float
    is_ready: bool = False
    failures: int = 0

    def backoff_seconds(self) -> float:
        """How long to wait after the last failure: doubled with each in a row."""
        doubled: float = BACKOFF_SECONDS_FIRST * 2 ** min(self.failures - 1, 10)
        return min(BACKOFF_SECONDS_MAX, doubled)


class Supervisor:
    """Children in stages: a stage is started together, once the one before is ready.

    tell: given a sentence for the person when a child dies and when it is back.
    changed: given the children that run, whenever one was started.
    """

    def __init__(
        self, *, tell: Callable[[str], None], changed: Callable[[Sequence[Child]], None]
    ) -> None:
        """Begin without children."""
        self._tell = tell
        self._changed = changed
        self._stages: list[list[_Part]] = []

    @property
    def children(self) -> list[Child]:
        """The children that were started last, in order of start; some may have ended."""
        return [part.child for stage in self._stages for part in stage if part.child is not None]

    def start(self, specs: Sequence[ChildSpec]) -> None:
        """Start a stage and wait until all of it is ready. Raises ChildFailed."""
        stage: list[_Part] = []
        self._stages.append(stage)
        # One by one, so that a failure in the middle leaves none unknown to `stop`.
        for spec in specs:
            part = _Part(spec=spec, child=Child(spec), since=time.monotonic())
            stage.append(part)
        self._changed(self.children)
        for part in stage:
            assert part.child is not None
            part.child.wait_ready()
            part.is_ready, part.since = True, time.monotonic()

    def watch(self) -> None:
        """Look after the children until an exception, such as a signal's, ends it."""
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look at each child once, and do what has become due for it."""
        for stage in self._stages:
            for part in stage:
                self._look_at(part)

    def stop(self) -> None:
        """Stop the stages in reverse order; a child that does not end in time is killed."""
        for stage in reversed(self._stages):
            children = [part.child for part in stage if part.child is not None]
            for child in children:
                child.ask_to_stop()
            for child in children:
                child.stop()
        self._stages.clear()

    def kill(self) -> None:
        """Kill what still runs; fit for a signal handler while `stop` waits."""
        for child in self.children:
            child.kill_group()

    def _look_at(self, part: _Part) -> None:
        in_state_seconds = time.monotonic() - part.since
        if part.child is None:
            if in_state_seconds >= part.backoff_seconds():
                self._restart(part)
        elif (code := part.child.exit_code()) is not None:
            self._note_end(part, f"ended with exit code {code}")
        elif part.is_ready:
            if in_state_seconds >= HEALTHY_SECONDS:
                part.failures = 0
        elif part.spec.is_ready(part.child.pid):
            part.is_ready, part.since = True, time.monotonic()
            self._tell(f"{part.spec.name} is ready again")
        elif in_state_seconds >= part.spec.ready_seconds_max:
            part.child.kill()
            self._note_end(part, f"was not ready after {in_state_seconds:.0f} s")

    def _restart(self, part: _Part) -> None:
        part.child, part.since = Child(part.spec), time.monotonic()
        self._changed(self.children)

    def _note_end(self, part: _Part, what: str) -> None:
        part.failures += 1
        part.child, part.is_ready, part.since = None, False, time.monotonic()
        delay = part.backoff_seconds()
        self._tell(f"{part.spec.name} {what}; restarting in {delay:g} s ({part.spec.log})")
