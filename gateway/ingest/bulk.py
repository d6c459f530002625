"""Many events of one request: each is judged by itself, all are published together."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import count, repeat
from typing import Final

import msgspec
from msgspec import Raw

from gateway import metrics
from gateway.answer import Answer
from gateway.ingest.batching import NO_OFFSET, Batch, Lane
from gateway.ingest.columns import NotPlain, PlainEvents
from gateway.ingest.parsing import ParsedEvent, parse_event
from gateway.ingest.validation import AcceptedEvent
from gateway.problems import http_problem
from schemas.additional_data import check_key
from schemas.errors import InvalidInput, InvalidUsageEvent, Problem
from schemas.event_ref import partition_of

EVENTS_A_TURN: Final = 250
"""Events that are read before other requests get their turn on the loop."""

EVENTS_A_PART: Final = 25
"""Events that are tried together once those of a turn were not plain all."""

BYTES_A_TURN: Final = 128 * 1024
"""Bytes of them: large events take longer."""

REFUSED_A_TURN: Final = 5
"""What was refused while the body was taken apart; nobody says how large it was."""

READS_A_TURN: Final = 50
"""Events that are read each by itself, and may have much that is wrong."""

PROBLEMS_AN_EVENT_MAX: Final = 8


Blame = Callable[[Sequence[Problem]], Sequence[Problem]]


class Placed(msgspec.Struct, gc=False):
    """An event in its batch: where it will be is known when the batch settles."""

    event: AcceptedEvent
    partition: int
    batch: Batch
    index: int

    def offset(self) -> int | None:
        """Return its offset, NO_OFFSET when only that it is there is known, None otherwise.

        Without a key an event that is just somewhere can't be named: that is unknown, too.
        """
        base = self.batch.base_offset
        if base is None or (base == NO_OFFSET and self.event.digest is None):
            return None
        return base if base == NO_OFFSET else base + self.index


class Run(msgspec.Struct, gc=False):
    """Events of a request that lie one behind the other in a batch.

    first: the place of the first in the batch. indexes: their places in the request.
    """

    partition: int
    batch: Batch
    first: int
    indexes: list[int]


class ItemError(msgspec.Struct, frozen=True):
    """One thing that is wrong, or strange, with one event of a request."""

    index: int
    pointer: str
    detail: str
    code: str


class Bulk:
    """The events of one request on their way. The lists keep the request's order.

    parsed: None where the event was refused, or accepted without a second look.
    accepted: None where the event was refused.
    """

    def __init__(
        self,
        *,
        key: str | None,
        prefix: str = "",
        first: int = 0,
        blame: Blame | None = None,
        size: int = 0,
    ) -> None:
        """key: the request's Idempotency-Key; events without one of their own get key/number.

        prefix: of the pointers into an event. first: the number of the first event.
        blame: says of problems where in an event with fields of its own they are.
        size: of the whole, in bytes, when it comes at once.
        """
        self.size = size
        self._blame = blame
        self._key = key
        self._first = first
        self._prefix = prefix
        self._is_mostly_plain = True
        self.errors: list[ItemError] = []
        self.warnings: list[ItemError] = []
        self.parsed: list[ParsedEvent | None] = []
        self.accepted: list[AcceptedEvent | None] = []
        self._runs: list[Run] = []

    async def parse(self, elements: Iterable[bytes | InvalidInput], plain: PlainEvents) -> None:
        """Read every event and accept those that are plain; one that is an error is refused."""
        for turn in _turns(elements):
            reads = 0
            for element, accepted in zip(turn, self._accept_plain(turn, plain), strict=True):
                parsed = self._read(element) if accepted is None else None
                self.parsed.append(parsed)
                self.accepted.append(accepted)
                reads += accepted is None
                if reads == READS_A_TURN:
                    reads = 0
                    await asyncio.sleep(0)
            await asyncio.sleep(0)

    def _accept_plain(
        self, elements: Sequence[bytes | InvalidInput], plain: PlainEvents
    ) -> Sequence[AcceptedEvent | None]:
        """Accept what is plain: all at once, or part by part when something is not."""
        if not self._is_mostly_plain:
            return [None] * len(elements)
        begin = self._first + len(self.parsed)
        accepted = self._accept_all(elements, plain, begin)
        if accepted is not None:
            return accepted
        found: list[AcceptedEvent | None] = []
        for at in range(0, len(elements), EVENTS_A_PART):
            part = elements[at : at + EVENTS_A_PART]
            found += self._accept_all(part, plain, begin + at) or [None] * len(part)
        self._is_mostly_plain = 2 * found.count(None) < len(found)
        return found

    def _accept_all(
        self, elements: Sequence[bytes | InvalidInput], plain: PlainEvents, begin: int
    ) -> list[AcceptedEvent] | None:
        events = [element for element in elements if isinstance(element, bytes)]
        if len(events) < len(elements):
            return None
        numbers = range(begin, begin + len(events))
        spare_keys = [None if self._key is None else f"{self._key}/{n}" for n in numbers]
        try:
            return plain.accept(events, spare_keys)
        except NotPlain:
            return None

    def _read(self, element: bytes | InvalidInput) -> ParsedEvent | None:
        """Read the next event the careful way."""
        index = len(self.parsed)
        if isinstance(element, InvalidInput):
            self._refuse(index, element, "")
            return None
        try:
            event = parse_event(element)
            if event.idempotency_key is None and self._key is not None:
                event.idempotency_key = checked_key(f"{self._key}/{self._first + index}")
        except InvalidInput as error:
            self._refuse(index, self._told(error), self._prefix)
            return None
        return event

    def _told(self, error: InvalidInput) -> InvalidInput:
        """Return what is wrong with a usage event as its sender understands it."""
        return error if self._blame is None else InvalidInput.of(self._blame(error.problems))

    async def accept(self, accept: Callable[[ParsedEvent], AcceptedEvent]) -> None:
        """Judge every event that was read the careful way."""
        for index, parsed in enumerate(self.parsed):
            if parsed is None:
                continue
            try:
                self.accepted[index] = accept(parsed)
            except InvalidUsageEvent as error:
                self._refuse(index, self._told(error), self._prefix)
            if index % EVENTS_A_TURN == EVENTS_A_TURN - 1:
                await asyncio.sleep(0)

    def _refuse(self, index: int, error: InvalidInput, prefix: str) -> None:
        metrics.EVENTS_REJECTED.labels(error.code).inc()
        self.errors.extend(_item_errors(index, error.problems[:PROBLEMS_AN_EVENT_MAX], prefix))

    def check_atomic(self) -> None:
        """Raise InvalidInput unless every event is good and has a key to be repeated by."""
        problems = [
            Problem(error.code, error.detail, f"/{error.index}{error.pointer}")
            for error in sorted(self.errors, key=lambda error: error.index)
        ]
        problems += [
            Problem("required", "is needed in an atomic request", f"/{index}/idempotency_key")
            for index in range(len(self.parsed))
            if self._has_no_key(index)
        ]
        if problems:
            raise InvalidInput.of(problems)

    def _has_no_key(self, index: int) -> bool:
        """Tell whether an event that could be read has no key."""
        parsed, accepted = self.parsed[index], self.accepted[index]
        if parsed is not None:
            return parsed.idempotency_key is None
        return accepted is not None and accepted.digest is None

    def warn(self, warnings_of: Callable[[ParsedEvent], Sequence[Problem]]) -> None:
        """Note what is strange about good events that have names."""
        for index, (parsed, accepted) in enumerate(zip(self.parsed, self.accepted, strict=True)):
            if parsed is None or accepted is None:
                continue
            if parsed.customer_name or parsed.usage_product_name:
                warnings = warnings_of(parsed)
                if self._blame is not None:
                    warnings = self._blame(warnings)
                self.warnings.extend(_item_errors(index, warnings, self._prefix))

    def place(self, lanes: Sequence[Lane]) -> None:
        """Add every good event to its partition's batch, all in one turn of the loop."""
        partitions = len(lanes)
        shares: defaultdict[int, tuple[list[int], list[tuple[bytes, bytes]]]]
        shares = defaultdict(lambda: ([], []))
        for index, event in enumerate(self.accepted):
            if event is not None:
                customer = event.customer
                indexes, records = shares[partition_of(customer.shard_key, partitions)]
                indexes.append(index)
                records.append((customer.record_key, event.record))
        for partition, (indexes, records) in shares.items():
            taken = 0
            for batch, first, number in lanes[partition].add_all(records):
                run = Run(partition, batch, first, indexes[taken : taken + number])
                self._runs.append(run)
                taken += number

    async def settled(self) -> None:
        """Wait until every batch that holds one of the events is settled."""
        for run in self._runs:
            await run.batch.settled

    def is_acknowledged(self) -> bool:
        """Tell whether Kafka has every good event; each has a key, so that its ref is known."""
        return all(run.batch.base_offset is not None for run in self._runs)

    def answer(self, log_id: str, instance: str, *, is_minimal: bool) -> Answer:
        """Tell what became of every event: 202, or 503 when Kafka has not said so of all."""
        unknown = sorted(index for run in self._runs for index in self._unknown_of(run))
        rejected = self.accepted.count(None)
        content: dict[str, object] = {
            "accepted": len(self.accepted) - rejected - len(unknown),
            "rejected": rejected,
            "errors": sorted(self.errors, key=lambda error: error.index),
        }
        if self.warnings:
            content["warnings"] = self.warnings
        if not is_minimal:
            content["event_refs"], content["receipts"] = self._receipts(log_id, set(unknown))
        if not unknown:
            return Answer(202, msgspec.json.encode(content))
        content |= {"unknown": unknown, "may_be_recorded": self._may_be_recorded()}
        detail = "Kafka did not acknowledge every event in time"
        return http_problem(503, "outcome_unknown", detail, instance, members=content)

    def _unknown_of(self, run: Run) -> Iterable[int]:
        """Return which events of a run may not be in the log, or can't be named.

        An event without a key is named by its place.
        """
        base = run.batch.base_offset
        if base is None:
            return run.indexes
        if base == NO_OFFSET:
            return [index for index in run.indexes if not self._has_digest(index)]
        return ()

    def _has_digest(self, index: int) -> bool:
        event = self.accepted[index]
        return event is not None and event.digest is not None

    def _receipts(self, log_id: str, unknown: Set[int]) -> tuple[Raw, Raw]:
        """Write the lists of refs and of places in the log, null where there is none."""
        refs = ["null"] * len(self.accepted)
        receipts = refs.copy()
        for run in self._runs:
            base, partition = run.batch.base_offset, run.partition
            if base is None:
                continue
            offsets = repeat(NO_OFFSET) if base == NO_OFFSET else count(base + run.first)
            for index, offset in zip(run.indexes, offsets, strict=False):
                event = self.accepted[index]
                if event is not None and index not in unknown:
                    refs[index] = f'"{event.ref_at(log_id, partition, offset)}"'
                    receipts[index] = f"{{{place_json(partition, offset)}}}"
        return Raw(f"[{','.join(refs)}]".encode()), Raw(f"[{','.join(receipts)}]".encode())

    def _may_be_recorded(self) -> bool:
        return any(
            run.batch.settled.result().may_be_recorded
            for run in self._runs
            if any(True for _ in self._unknown_of(run))
        )


def _turns(
    elements: Iterable[bytes | InvalidInput],
) -> Iterator[list[bytes | InvalidInput]]:
    """Group a request's events into what is read before others get their turn."""
    turn: list[bytes | InvalidInput] = []
    size = 0
    for element in elements:
        turn.append(element)
        size += len(element) if isinstance(element, bytes) else BYTES_A_TURN // REFUSED_A_TURN
        if size >= BYTES_A_TURN or len(turn) == EVENTS_A_TURN:
            yield turn
            turn = []
            size = 0
    if turn:
        yield turn


def _item_errors(index: int, problems: Sequence[Problem], prefix: str) -> Iterator[ItemError]:
    return (ItemError(index, prefix + p.pointer, p.detail, p.code) for p in problems)


def checked_key(key: str) -> str:
    """Return a key that came in a header, if it is one. Raises InvalidUsageEvent."""
    try:
        check_key(key)
    except InvalidInput as error:
        detail = f"the Idempotency-Key {error.detail}"
        raise InvalidUsageEvent(error.code, detail, "/idempotency_key") from None
    return key


def place_json(partition: int, offset: int) -> str:
    """Write an event's place in the log; its offset is null when nobody knows it."""
    return f'"partition":{partition},"offset":{"null" if offset == NO_OFFSET else offset}'
