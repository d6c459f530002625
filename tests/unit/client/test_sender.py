"""Every event ends in exactly one outcome, whatever the server says or fails to say."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from meterline_client import (
    Accepted,
    AsyncClient,
    ClientClosed,
    Counts,
    Delivery,
    Limits,
    LoginFailed,
    Outcome,
    QueueFull,
    Rejected,
    Unknown,
)
from tests.unit.client.stub import Reply, accepts, always, answer_each, problem, stub

#: Quick to try again, and never too late for a busy machine.
QUICK: dict[str, float] = {"backoff_seconds": 0.001, "backoff_seconds_max": 0.01}
SHORT: dict[str, float] = {**QUICK, "deadline_seconds": 0.3}


def limits_of(given: Mapping[str, float]) -> Limits:
    return msgspec.convert({**QUICK, **given}, Limits)


def client_of(url: str, **limits: float) -> AsyncClient:
    return AsyncClient(url, "key", "password", limits=limits_of(limits))


def event(number: int, **fields: object) -> dict[str, object]:
    return {"quantity": number, "idempotency_key": f"key-{number}", **fields}


def events(count: int) -> list[dict[str, object]]:
    return [event(number) for number in range(count)]


def keys(count: int) -> list[str]:
    return [f"key-{number}" for number in range(count)]


async def outcomes_of(client: AsyncClient, count: int) -> list[Outcome]:
    return [outcome async for outcome in client.stream(events(count))]


async def test_an_event_is_accepted_with_its_ref_and_receipt() -> None:
    async with stub() as server, client_of(server.url) as client:
        outcome = await (await client.send(event(7)))
        assert isinstance(outcome, Accepted)
        assert (outcome.key, outcome.event_ref, outcome.receipt.offset) == ("key-7", "ref-0", 0)
        assert client.counts == Counts(handed_in=1, accepted=1)


async def test_an_event_without_a_key_gets_one_and_keeps_it_through_all_tries() -> None:
    cut = always(Reply(0))
    async with stub(cut, cut, cut) as server, client_of(server.url) as client:
        delivery = await client.send({"quantity": Decimal("0.1")})
        assert (await delivery).key == delivery.key
        assert server.sent == [[delivery.key]] * 4
        assert len(set(server.bodies)) == 1, "each time the same bytes"
        assert json.loads(server.bodies[0])[0]["quantity"] == "0.1"


async def test_events_travel_in_batches_within_both_bounds() -> None:
    async with stub() as server, client_of(server.url, batch_events=10) as client:
        await client.send_many(events(95))
        assert max(map(len, server.sent)) == 10
        assert sorted(key for batch in server.sent for key in batch) == sorted(keys(95))
    async with stub() as server, client_of(server.url, batch_bytes=1_000) as client:
        await client.send_many(event(n, note="x" * 300) for n in range(20))
        await client.send(event(99, note="y" * 5_000))
        await client.flush()
        assert max(len(body) for body in server.bodies[:-1]) <= 1_000
        assert server.sent[-1] == ["key-99"], "a large one goes alone"


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    async with (
        stub() as server,
        client_of(server.url, batch_events=5, requests_at_once=3) as client,
    ):
        await client.send_many(events(300))
        assert 1 <= server.under_way_max <= 3


async def test_only_what_is_unknown_is_sent_again() -> None:
    first = always(answer_each(503, [0, 2], count=4, unknown=[1, 3], may_be_recorded=True))
    async with stub(first) as server, client_of(server.url) as client:
        outcomes = await outcomes_of(client, 4)
        assert server.sent == [keys(4), ["key-1", "key-3"]]
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 4
        assert [outcome.key for outcome in outcomes] == keys(4), "in the events' order"
        assert client.counts == Counts(handed_in=4, accepted=4, retries=1)


async def test_a_bad_event_is_rejected_with_every_reason_and_its_neighbours_are_not() -> None:
    wrong = [
        {"index": 1, "pointer": "/quantity", "detail": "must be a number", "code": "number"},
        {"index": 1, "pointer": "/timestamp", "detail": "is needed", "code": "required"},
    ]
    reply = always(answer_each(202, [0, 2], count=3, errors=wrong))
    async with stub(reply) as server, client_of(server.url) as client:
        first, second, third = await outcomes_of(client, 3)
        assert isinstance(first, Accepted)
        assert isinstance(third, Accepted)
        assert isinstance(second, Rejected)
        assert [error.pointer for error in second.errors] == ["/quantity", "/timestamp"]
        assert json.loads(second.body) == event(1), "as it was sent, to be corrected"


@pytest.mark.parametrize(
    "reply",
    [
        problem(503, "log_unavailable"),
        problem(429, "tenant_over_share"),
        problem(500, "internal_error"),
        Reply(502, b"<html>"),
        Reply(202, b"not what was asked for"),
        Reply(202, {"event_refs": [], "receipts": [], "errors": []}),
        answer_each(202, [], count=1),
        Reply(0),
    ],
    ids=["503", "429", "500", "502", "odd 202", "short 202", "silent 202", "cut"],
)
async def test_what_may_pass_is_tried_again(reply: Reply) -> None:
    async with stub(*[always(reply)] * 3) as server, client_of(server.url) as client:
        assert isinstance(await (await client.send(event(0))), Accepted)
        assert server.sent == [["key-0"]] * 4


async def test_the_server_is_left_alone_for_as_long_as_it_asks() -> None:
    busy = problem(503, "log_unavailable")
    busy.headers["Retry-After"] = "1"
    async with stub(always(busy)) as server, client_of(server.url) as client:
        await (await client.send(event(0)))
        assert server.came_at[1] - server.came_at[0] >= 1.0


@pytest.mark.parametrize(
    ("reply", "may_be_recorded"),
    [
        (problem(503, "log_unavailable"), False),
        (problem(503, "outcome_unknown", may_be_recorded=True), True),
        (answer_each(503, [], count=1, unknown=[0], may_be_recorded=False), False),
        (answer_each(503, [], count=1, unknown=[0], may_be_recorded=True), True),
        (problem(429, "tenant_over_share"), False),
        (Reply(502, b"<html>"), True),
        (Reply(0), True),
    ],
    ids=["503", "503 unknown", "503 listed", "503 listed, unknown", "429", "502", "cut"],
)
async def test_past_its_deadline_an_event_is_unknown_and_says_if_it_may_be_recorded(
    reply: Reply, may_be_recorded: bool
) -> None:
    async with stub(*[always(reply)] * 10_000) as server, client_of(server.url, **SHORT) as client:
        outcome = await (await client.send(event(0)))
        assert isinstance(outcome, Unknown)
        assert outcome.may_be_recorded == may_be_recorded
        assert json.loads(outcome.body) == event(0), "to be sent again with its key"
        assert client.counts.unknown == 1


async def test_a_refusal_after_a_try_of_unknown_outcome_is_not_called_a_rejection() -> None:
    wrong = [{"index": 0, "pointer": "", "detail": "no", "code": "no"}]
    refused = always(answer_each(202, [], count=1, errors=wrong))
    async with stub(always(Reply(0)), refused) as server, client_of(server.url) as client:
        outcome = await (await client.send(event(0)))
        assert isinstance(outcome, Unknown)
        assert outcome.may_be_recorded


async def test_without_a_server_events_are_surely_not_recorded() -> None:
    async with stub() as server:
        pass
    async with client_of(server.url, **SHORT) as client:
        outcome = await (await client.send(event(0)))
        assert isinstance(outcome, Unknown)
        assert not outcome.may_be_recorded


async def test_a_request_too_large_for_someone_on_the_way_is_halved() -> None:
    def small_gate(sent: list[Any]) -> Reply:
        return accepts(sent) if len(sent) <= 2 else Reply(413, b"too large")

    async with stub(*[small_gate] * 50) as server, client_of(server.url) as client:
        outcomes = await outcomes_of(client, 9)
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 9
        assert min(map(len, server.sent)) <= 2


async def test_a_single_event_too_large_is_rejected() -> None:
    async with stub(always(Reply(413, b"too large"))) as server, client_of(server.url) as client:
        assert isinstance(await (await client.send(event(0))), Rejected)


async def test_a_refused_request_is_given_up_at_once() -> None:
    refusal = problem(403, "scope_missing")
    async with stub(always(refusal)) as server, client_of(server.url) as client:
        outcome = await (await client.send(event(0)))
        assert isinstance(outcome, Unknown)
        assert not outcome.may_be_recorded
        assert "scope_missing" in outcome.reason
        assert len(server.sent) == 1


async def test_a_token_that_is_no_longer_taken_is_renewed_once() -> None:
    expired = always(problem(401, "token_expired"))
    async with stub(expired) as server, client_of(server.url) as client:
        assert isinstance(await (await client.send(event(0))), Accepted)
        assert server.logged_in == 2
        assert len(set(server.tokens)) == 2
    async with stub(expired, expired) as server, client_of(server.url) as client:
        assert isinstance(await (await client.send(event(0))), Unknown)
        assert server.logged_in == 2, "a second refusal is meant"


async def test_a_token_is_renewed_before_it_ends() -> None:
    async with stub() as server, client_of(server.url) as client:
        for _ in range(3):
            await (await client.send(event(0)))
        assert server.logged_in == 1
    async with stub() as server, client_of(server.url) as client:
        server.token_seconds = 0
        for _ in range(3):
            await (await client.send(event(0)))
        assert server.logged_in == 3


async def test_a_wrong_password_is_told_and_not_tried_over_and_over() -> None:
    async with stub() as server, client_of(server.url) as client:
        server.logins = [problem(401, "login_failed")] * 9
        with pytest.raises(LoginFailed, match="login_failed"):
            await client.login()
        outcomes = await outcomes_of(client, 3)
        assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
        assert server.logged_in == 1


async def test_a_login_that_is_busy_is_tried_again() -> None:
    async with stub() as server, client_of(server.url) as client:
        server.logins = [problem(429, "login_busy"), Reply(0)]
        assert isinstance(await (await client.send(event(0))), Accepted)
        assert server.logged_in == 3


async def test_a_full_queue_refuses_or_makes_wait() -> None:
    gate = asyncio.Event()
    held = answer_each(202, [0, 1])
    held.gate = gate
    async with stub(always(held)) as server, client_of(server.url, queue_events=2) as client:
        first, second = client.send_nowait(event(0)), client.send_nowait(event(1))
        with pytest.raises(QueueFull):
            client.send_nowait(event(2))
        waiting = asyncio.create_task(client.send(event(2)))
        with pytest.raises(TimeoutError):
            await client.flush(0.05)
        assert not waiting.done()
        gate.set()
        third = await waiting
        outcomes = [await first, await second, await third]
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 3


async def test_the_queue_is_bounded_in_bytes_but_takes_a_lone_event_of_any_size() -> None:
    gate = asyncio.Event()
    held = answer_each(202, [0])
    held.gate = gate
    async with stub(always(held)) as server, client_of(server.url, queue_bytes=100) as client:
        large = client.send_nowait(event(0, note="x" * 500))
        with pytest.raises(QueueFull):
            client.send_nowait(event(1))
        gate.set()
        assert isinstance(await large, Accepted)
        client.send_nowait(event(1))


async def test_a_stream_of_any_length_holds_a_bounded_number_of_events() -> None:
    read = 0

    def source() -> Iterator[dict[str, object]]:
        nonlocal read
        for number in range(3_000):
            read += 1
            yield event(number)

    async with stub() as server, client_of(server.url, queue_events=50, batch_events=20) as client:
        ahead_max = count = 0
        async for _ in client.stream(source()):
            count += 1
            ahead_max = max(ahead_max, read - count)
        assert count == 3_000
        assert ahead_max <= 50 + 2 * 500, "the queue, a chunk, and a chunk's outcomes"


async def test_closing_waits_and_then_every_event_left_is_unknown() -> None:
    never = Reply(202, b"", gate=asyncio.Event())
    async with stub(always(never)) as server:
        client = client_of(server.url, batch_events=1, requests_at_once=1)
        await client.open()
        under_way, waiting = await client.send(event(0)), await client.send(event(1))
        async with asyncio.timeout(10):
            while not server.bodies:  # noqa: ASYNC110 - what it asks about has no event
                await asyncio.sleep(0.001)
        counts = await client.close(0.05)
        assert counts == Counts(handed_in=2, unknown=2)
        first, second = await under_way, await waiting
        assert isinstance(first, Unknown)
        assert isinstance(second, Unknown)
        assert (first.may_be_recorded, second.may_be_recorded) == (True, False)
        with pytest.raises(ClientClosed):
            await client.send(event(2))
        assert await client.close() == counts, "closing twice does nothing more"


async def test_leaving_the_block_waits_for_what_is_under_way() -> None:
    async with stub() as server:
        async with client_of(server.url) as client:
            deliveries = [await client.send(one) for one in events(50)]
        assert all(isinstance(delivery.result(0), Accepted) for delivery in deliveries)


async def test_one_who_stops_waiting_does_not_stop_the_event() -> None:
    gate = asyncio.Event()
    held = answer_each(202, [0])
    held.gate = gate
    async with stub(always(held)) as server, client_of(server.url) as client:
        delivery = await client.send(event(0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_outcome(delivery), 0.01)
        gate.set()
        assert isinstance(await delivery, Accepted)


async def _outcome(delivery: Delivery) -> Outcome:
    return await delivery


async def test_progress_is_reported_and_its_mistakes_cost_nothing() -> None:
    seen: list[Counts] = []

    def report(counts: Counts) -> None:
        seen.append(counts)
        raise RuntimeError("a mistake of the caller")

    async with stub() as server:
        client = AsyncClient(server.url, "key", "password", on_progress=report)
        async with client:
            await client.send_many(events(30))
    assert seen[-1] == Counts(handed_in=30, accepted=30)
    assert all(counts.handed_in >= counts.settled for counts in seen)


async def test_what_its_caller_has_rejected_comes_out_in_its_place() -> None:
    bad = Rejected("key-x", ())
    async with stub() as server, client_of(server.url) as client:
        outcomes = [o async for o in client.stream([event(0), bad, event(1)])]
        assert [type(o) for o in outcomes] == [Accepted, Rejected, Accepted]
