"""What becomes of events: each that is handed in ends in exactly one outcome."""

from msgspec import Struct

from meterline_client.errors import EventError


class Receipt(Struct, frozen=True):
    """An event's place in the log.

    offset: None when the log said only that the event is in it.
    """

    partition: int
    offset: int | None


class Accepted(Struct, frozen=True):
    """The event is in the log and will be billed once, however often its key comes again.

    key: its idempotency key. event_ref: its name in the product.
    """

    key: str
    event_ref: str
    receipt: Receipt


class Rejected(Struct, frozen=True):
    """The event can't be taken as it is, and is not recorded: correct it and send it anew.

    body: the event as it was sent, JSON.
    """

    key: str
    errors: tuple[EventError, ...]
    body: bytes = b""


class Unknown(Struct, frozen=True):
    """No acknowledgement came in time. Sending `body` again is harmless: it has its key.

    body: the event as it was sent, JSON. may_be_recorded: False when it surely is not.
    """

    key: str
    reason: str
    may_be_recorded: bool
    body: bytes = b""


Outcome = Accepted | Rejected | Unknown


class Counts(Struct, frozen=True, kw_only=True):
    """A client's ledger: handed_in = accepted + rejected + unknown + unsettled, always.

    retries: requests that had to be repeated, whole or in part.
    """

    handed_in: int = 0
    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    retries: int = 0

    @property
    def settled(self) -> int:
        """Events that have their outcome."""
        return self.accepted + self.rejected + self.unknown

    @property
    def unsettled(self) -> int:
        """Events that wait or are under way."""
        return self.handed_in - self.settled


FAILURES_KEPT_MAX = 1_000
"""Rejected and unknown events that a report holds; it counts them all."""


class Report(Struct, kw_only=True):
    """What became of the events of one `send_many`.

    failures: those not accepted, in the events' order, at most FAILURES_KEPT_MAX of them.
    """

    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    failures: list[Rejected | Unknown]

    @property
    def is_good(self) -> bool:
        """Tell whether every event was accepted."""
        return self.rejected == self.unknown == 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and keep it if it is a failure."""
        match outcome:
            case Accepted():
                self.accepted += 1
                return
            case Rejected():
                self.rejected += 1
            case Unknown():
                self.unknown += 1
        if len(self.failures) < FAILURES_KEPT_MAX:
            self.failures.append(outcome)
