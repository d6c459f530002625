"""Takes events in: from a request's bytes to Kafka's acknowledgement and the answer.

Knows nothing of the HTTP library around it: bytes and claims in, an `Answer` out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from uuid import UUID

import msgspec

from gateway import metrics
from gateway.answer import Answer
from gateway.coverage import Coverage
from gateway.formats.mapping import FormatName, find_mapper
from gateway.ingest.authentication import Claims
from gateway.ingest.batching import NO_OFFSET, Batch
from gateway.ingest.budget import Budget
from gateway.ingest.bulk import Bulk, Placed, checked_key
from gateway.ingest.bulk_forms import split
from gateway.ingest.columns import PlainEvents
from gateway.ingest.parsing import ParsedEvent, parse_single
from gateway.ingest.plain_event import accept_plain
from gateway.ingest.publisher import Publisher
from gateway.ingest.single_answer import write_answer_to_one
from gateway.ingest.validation import (
    AcceptedEvent,
    accept_event,
    find_by_name,
    knows_refs,
    name_warnings,
)
from gateway.limits import Limits
from gateway.problems import OutcomeUnknown
from gateway.reference import Reference
from gateway.reports.outcomes import Outcomes, Sent
from gateway.tenant import Tenant
from runtime.crashpoints import crashpoint
from schemas.errors import InvalidInput, Problem, TransientError
from schemas.event_ref import partition_of
from schemas.usage_event import check_time

SCOPE: Final = "usage:write"

_decode_answer: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Log(msgspec.Struct, frozen=True):
    """The topic of usage events: its name and identity."""

    topic: str
    log_id: str


class Options(msgspec.Struct, frozen=True):
    """What a request asks for besides its body.

    is_strict: refuse unknown fields. is_minimal: leave the lists of refs and receipts out.
    is_atomic: all events or none. key: the request's Idempotency-Key.
    media_type: of a body of many events, in lower case and without parameters.
    wait_seconds: how long the answer for one event may wait for its rating.
    form: the format that many events are in, None for the API's own fields.
    """

    is_strict: bool = False
    is_minimal: bool = False
    is_atomic: bool = False
    key: str | None = None
    media_type: str = ""
    wait_seconds: int = 0
    form: FormatName | None = None


DEFAULTS: Final = Options()


class Read(msgspec.Struct, gc=False):
    """One event as it was read, whose refs may be unknown to memory."""

    parsed: ParsedEvent
    warnings: Sequence[Problem]
    tenant: Tenant


class Started(msgspec.Struct, gc=False):
    """One event in its batch, its bytes held in the budget."""

    read: Read
    placed: Placed


class Ingest:
    """The two routes that take events."""

    def __init__(
        self,
        *,
        reference: Reference,
        publisher: Publisher,
        outcomes: Outcomes,
        budget: Budget,
        limits: Limits,
        log: Log,
        now_micros: Callable[[], int],
        ahead_max_micros: int,
    ) -> None:
        """now_micros: the clock, microseconds since 1970 in UTC."""
        self._reference = reference
        self._publisher = publisher
        self.outcomes = outcomes
        self._add_to = publisher.add_to
        self._partitions = len(publisher.add_to)
        self.budget = budget
        self._limits = limits
        self._log = log
        self._topic_json = msgspec.json.encode(log.topic).decode()
        self._now_micros = now_micros
        self._ahead_max_micros = ahead_max_micros

    @property
    def publisher(self) -> Publisher:
        """What sends records."""
        return self._publisher

    @property
    def reference(self) -> Reference:
        """What is known of tenants."""
        return self._reference

    def enter(self, claims: Claims, size: int) -> Tenant:
        """Let a request whose events are still to be counted in; its tenant.

        size: of its body. Raises NotAllowed, TransientError.
        """
        claims.require(SCOPE)
        self._publisher.check_open()
        self._limits.take_events(claims.tenant_id, 0, size)
        return self._reference.tenants[claims.tenant_id]

    async def judge(self, parsed: ParsedEvent, tenant: Tenant) -> AcceptedEvent:
        """Look up what an event names and judge it, without publishing it.

        Raises InvalidUsageEvent, TransientError.
        """
        await self._look_up(tenant, [parsed])
        return self._accept(parsed, tenant)

    # ------------------------------------------------------------------ one event

    async def handle_event(
        self, body: bytes, claims: Claims, options: Options = DEFAULTS
    ) -> Answer:
        """Take one event; 202 once Kafka has it, or when it is rated if the client prefers so.

        Raises InvalidInput, NotAllowed, TransientError; OutcomeUnknown past the deadline.
        """
        started = self.start_event(body, claims, options)
        if isinstance(started, Read):
            await self._look_up(started.tenant, [started.parsed])
            started = self._start(started)
        try:
            await started.placed.batch.settled
        finally:
            self.give_back(started)
        answer = self.finish_event(started)
        if options.wait_seconds:
            return await self._when_rated(started, answer, options.wait_seconds)
        return answer

    def start_event(
        self, body: bytes, claims: Claims, options: Options = DEFAULTS
    ) -> Started | Read:
        """Take one event as far as its batch, without waiting for anything.

        Returns it as it was read when memory lacks a ref of it: then `handle_event` is needed.
        What was started must be given back once its batch is settled.
        Raises InvalidInput, NotAllowed, TransientError.
        """
        claims.require(SCOPE)
        self._publisher.check_open()
        self._limits.take_events(claims.tenant_id, 1, len(body))
        tenant = self._reference.tenants[claims.tenant_id]
        plain = accept_plain(body, options.key, tenant, self._now_micros(), self._ahead_max_micros)
        if plain is not None:
            event, accepted = plain
            return self._add(Read(event, (), tenant), accepted)
        is_strict = options.is_strict or tenant.settings.refuses_unknown_fields
        parsed, warnings = parse_single(body, is_strict=is_strict)
        if parsed.idempotency_key is None and options.key is not None:
            parsed.idempotency_key = checked_key(options.key)
        read = Read(parsed, warnings, tenant)
        return self._start(read) if knows_refs(parsed, tenant) else read

    def _start(self, read: Read) -> Started:
        return self._add(read, self._accept(read.parsed, read.tenant))

    def _add(self, read: Read, accepted: AcceptedEvent) -> Started:
        """Hold an event's bytes in the budget, and add it to its batch. Raises TransientError."""
        self.budget.take(read.tenant.tenant_id, len(accepted.record))
        return Started(read, self._place(accepted))

    def give_back(self, started: Started) -> None:
        """End the hold of an event's bytes in the budget."""
        self.budget.give_back(started.read.tenant.tenant_id, len(started.placed.event.record))

    def finish_event(self, started: Started) -> Answer:
        """Answer for an event whose batch is settled. Raises TransientError, OutcomeUnknown."""
        crashpoint("gateway.after_ack")
        read, parsed = started.read, started.read.parsed
        warnings = read.warnings
        if parsed.customer_name or parsed.usage_product_name:
            warnings = [*warnings, *self._compare_names(parsed, read.tenant)]
        return self._answer_one(started.placed, parsed, read.tenant, warnings)

    async def _when_rated(self, started: Started, answer: Answer, seconds: int) -> Answer:
        """Add to an answer what became of its event, when that comes in time."""
        placed = started.placed
        offset = placed.offset()
        if offset is None or offset == NO_OFFSET:
            return answer  # it is in the log, and nobody knows where
        fields = _decode_answer(answer.body)
        event_ref = msgspec.json.decode(fields["event_ref"], type=UUID)
        sent = Sent(started.read.tenant.tenant_id, event_ref, placed.partition, offset)
        found = await self.outcomes.wait_for(sent, seconds)
        if found is None:
            return answer
        headers = {**answer.headers, "Preference-Applied": f"wait={seconds}"}
        return msgspec.structs.replace(
            answer, body=msgspec.json.encode({**fields, **found}), headers=headers
        )

    def _compare_names(self, parsed: ParsedEvent, tenant: Tenant) -> Sequence[Problem]:
        """Return the warnings of an accepted event's names, counted."""
        warnings = name_warnings(parsed, tenant)
        metrics.NAMES_DIFFERING.inc(len(warnings))
        return warnings

    def _accept(self, parsed: ParsedEvent, tenant: Tenant) -> AcceptedEvent:
        return accept_event(
            parsed,
            tenant,
            now_micros=self._now_micros(),
            ahead_max_micros=self._ahead_max_micros,
        )

    def _place(self, accepted: AcceptedEvent) -> Placed:
        """Add an event to the batch of its partition."""
        customer = accepted.customer
        partition = partition_of(customer.shard_key, self._partitions)
        batch, index = self._add_to[partition](customer.record_key, accepted.record)
        return Placed(accepted, partition, batch, index)

    def _answer_one(
        self, placed: Placed, parsed: ParsedEvent, tenant: Tenant, warnings: Sequence[Problem]
    ) -> Answer:
        offset = placed.offset()
        if offset is None:
            raise _not_acknowledged(placed.batch)
        ref = placed.event.ref_at(self._log.log_id, placed.partition, offset)
        topic = self._topic_json
        body = write_answer_to_one(
            placed, parsed, tenant, warnings, event_ref=ref, topic_json=topic, offset=offset
        )
        return Answer(202, body, headers=self._limits.events_left(tenant.tenant_id))

    # ------------------------------------------------------------------ changes of events

    async def append(
        self, tenant_id: int, shard_key: int, key: bytes, record: bytes
    ) -> dict[str, object]:
        """Append a record to its customer's partition; its receipt once Kafka has it.

        Raises TransientError; OutcomeUnknown past the deadline.
        """
        self._publisher.check_open()
        self._limits.take_events(tenant_id, 1, len(record))
        partition = partition_of(shard_key, self._partitions)
        self.budget.take(tenant_id, len(record))
        try:
            batch, index = self._add_to[partition](key, record)
            base = (await batch.settled).base_offset
        finally:
            self.budget.give_back(tenant_id, len(record))
        if base is None:
            raise _not_acknowledged(batch)
        offset = base if base == NO_OFFSET else base + index
        return {"topic": self._log.topic, "partition": partition, "offset": offset}

    def check_time(self, tenant_id: int, occurred_at_micros: int) -> None:
        """Refuse a timestamp that no event may have now. Raises InvalidUsageEvent."""
        now = self._now_micros()
        earliest = self._reference.tenants[tenant_id].earliest(now)
        check_time(occurred_at_micros, now, self._ahead_max_micros, earliest=earliest)

    def covering(
        self, tenant_id: int, use: tuple[str, str], occurred_at_micros: int
    ) -> tuple[Coverage, str] | None:
        """Return what covers a use (customer, meter) at an instant, and its document's ref."""
        return self._reference.tenants[tenant_id].covering(*use, occurred_at_micros)

    def partition_of(self, shard_key: int) -> int:
        """Return the partition of a customer."""
        return partition_of(shard_key, self._partitions)

    # ------------------------------------------------------------------ many events

    async def handle_events(
        self, body: bytes, claims: Claims, instance: str, options: Options = DEFAULTS
    ) -> Answer:
        """Take many events; 202 once Kafka has every good one, 503 when it may not.

        A bad event never sinks its neighbours, unless the request is atomic.
        instance: the request's id, for a problem. The caller holds the body in the budget.
        Raises InvalidInput when the whole can't be read, NotAllowed, TransientError.
        """
        tenant = self.enter(claims, len(body))
        mapper = await find_mapper(self._reference, tenant, options.form)
        blame = None if mapper is None else mapper.blame
        elements = split(body, options.media_type, has_own_fields=mapper is not None)
        bulk = Bulk(key=options.key, prefix=elements.prefix, blame=blame, size=len(body))
        events = elements.events
        if mapper is not None:
            events = iter(await mapper.make_all(events, self._reference))
        await self._judge(bulk, events, tenant)
        if options.is_atomic:
            bulk.check_atomic()
        await self._publish(bulk, tenant)
        answer = bulk.answer(self._log.log_id, instance, is_minimal=options.is_minimal)
        left = {**answer.headers, **self._limits.events_left(claims.tenant_id)}
        return msgspec.structs.replace(answer, headers=left)

    async def take_rows(
        self, bulk: Bulk, elements: Iterable[bytes | InvalidInput], tenant_id: int
    ) -> None:
        """Take some of the events of an upload, until Kafka has them or the deadline passes.

        What became of each is in the bulk. Raises TransientError.
        """
        self._publisher.check_open()
        tenant = self._reference.tenants[tenant_id]
        await self._judge(bulk, elements, tenant)
        await self._publish(bulk, tenant)

    async def _judge(
        self, bulk: Bulk, elements: Iterable[bytes | InvalidInput], tenant: Tenant
    ) -> None:
        """Read every event and hold it against what the tenant has."""
        plain = PlainEvents(
            tenant, now_micros=self._now_micros(), ahead_max_micros=self._ahead_max_micros
        )
        async with self.budget.turn_of(bulk.size):
            await bulk.parse(elements, plain)
        self._limits.events.charge(tenant.tenant_id, len(bulk.parsed))
        await self._look_up(tenant, bulk.parsed)
        await bulk.accept(lambda parsed: self._accept(parsed, tenant))

    async def _publish(self, bulk: Bulk, tenant: Tenant) -> None:
        """Hand the good events to the log, and wait until it has said what it knows of them."""
        self._publisher.check_open()
        bulk.warn(lambda parsed: self._compare_names(parsed, tenant))
        bulk.place(self._publisher.lanes)
        await bulk.settled()
        crashpoint("gateway.after_ack")

    async def _look_up(self, tenant: Tenant, events: Sequence[ParsedEvent | None]) -> None:
        """Fill in the refs of what is only named, and ask Postgres once for what memory lacks."""
        customers, meters = tenant.customers, tenant.meters
        strange = [
            event
            for event in events
            if event is not None
            and (event.customer_ref not in customers or event.usage_product_ref not in meters)
        ]
        if not strange:
            return
        await self._find_by_name(tenant, strange)
        lacking = {event.customer_ref for event in strange} - customers.keys() - {""}
        unknown = {event.usage_product_ref for event in strange} - meters.keys() - {""}
        if lacking or unknown:
            await self._reference.look_up(tenant, lacking, unknown)

    async def _find_by_name(self, tenant: Tenant, events: Sequence[ParsedEvent]) -> None:
        """Fill in the refs of what is only named; Postgres is asked once what is new."""
        left = [event for event in events if not find_by_name(event, tenant)]
        if left:
            await self._reference.catch_up()
            for event in left:
                find_by_name(event, tenant)


def _not_acknowledged(batch: Batch) -> TransientError:
    """Say what is known of an event that Kafka has not acknowledged in time."""
    if batch.settled.result().may_be_recorded:
        detail = "Kafka did not acknowledge in time: the event may be recorded"
        return OutcomeUnknown("outcome_unknown", detail)
    return TransientError("not_published", "the log did not take the event in time")
