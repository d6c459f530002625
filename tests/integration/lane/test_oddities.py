"""HTTP's odd corners: the lanes agree, in bytes where both answer and in refusal elsewhere."""

import asyncio
import json

import pytest

from tests.integration.lane.conftest import Lanes, LaneSite, comparable, status
from tests.rating import eventually

HANDED_OVER = "gateway_connections_handed_over_total"


async def test_plain_requests_stay_in_the_fast_lane(lanes: Lanes) -> None:
    lane = lanes.fast
    before = await lane.metric(HANDED_OVER)
    talk = await lane.talk()
    for quantity in range(20):
        talk.writer.write(lane.request(quantity=quantity))
        answer = await talk.answer()
        assert status(answer) == 202
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["quantity"] == quantity
    bulk = json.dumps([lane.site.event()] * 5).encode()
    talk.writer.write(lane.head(path="/api/usage/events", length=len(bulk)) + bulk)
    assert status(await talk.answer()) == 202
    await talk.close()
    # The two requests for the metrics went over a connection of the session, handed over once.
    assert await lane.metric(HANDED_OVER) - before <= 1


async def test_the_answers_are_the_same_bytes(lanes: Lanes) -> None:
    key = lanes.fast.request(idempotency_key="same")
    bad = lanes.fast.request(quantity="NaN")
    early = lanes.fast.head(length=200_000)
    forged = lanes.fast.request().replace(b"Bearer e", b"Bearer f")
    for sent in (bad, early, forged):
        fast, other = [await lane.answers(sent) for lane in (lanes.fast, lanes.aiohttp)]
        assert comparable(fast[0]) == comparable(other[0])
    taken = [await lane.answers(key) for lane in (lanes.fast, lanes.aiohttp)]
    heads = [comparable(answer).partition(b"\r\n\r\n")[0] for (answer,) in taken]
    assert heads[0] == heads[1]


async def test_pipelined_requests_are_answered_in_order(lane: LaneSite) -> None:
    sent = [lane.request(quantity=quantity) for quantity in range(10)]
    answers = await lane.answers(b"".join(sent), 10)
    bodies = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers]
    assert [body["quantity"] for body in bodies] == list(range(10))


async def test_a_pipeline_with_other_requests_keeps_its_order(lane: LaneSite) -> None:
    livez = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n"
    bad = lane.request(quantity="NaN")
    chunked = lane.head("Transfer-Encoding: chunked") + chunks(lane.site.event(quantity=7))
    sent = [lane.request(), bad, livez, lane.request(), chunked, livez, lane.request()]
    answers = await lane.answers(b"".join(sent), len(sent))
    assert [status(answer) for answer in answers] == [202, 422, 200, 202, 202, 200, 202]


def chunks(event: object) -> bytes:
    body = json.dumps(event).encode()
    return b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])


async def test_a_request_may_come_byte_by_byte(lane: LaneSite) -> None:
    async def is_taken() -> bool:
        """Send two so; on a loaded machine one may take longer than a slow client is allowed."""
        talk = await lane.talk()
        try:
            for byte in lane.request(quantity=3) + lane.request(quantity=4):
                talk.writer.write(bytes([byte]))
                await talk.writer.drain()
                await asyncio.sleep(0)
            found = [status(await talk.answer()) for _ in range(2)]
        except ConnectionError:
            return False
        finally:
            await talk.close()
        assert set(found) <= {202, 408, 0}
        return found == [202, 202]

    await eventually(is_taken, "two requests are taken")


async def test_the_body_is_asked_for_when_the_client_expects_that(lane: LaneSite) -> None:
    body = json.dumps(lane.site.event()).encode()
    talk = await lane.talk(lane.request() + lane.head("Expect: 100-continue", length=len(body)))
    assert status(await talk.answer()) == 202
    assert status(await talk.answer()) == 100
    talk.writer.write(body)
    assert status(await talk.answer()) == 202
    await talk.close()


async def test_the_fast_lane_answers_a_client_that_has_said_all(lanes: Lanes) -> None:
    talk = await lanes.fast.talk(lanes.fast.request() * 3)
    talk.writer.write_eof()
    assert [status(await talk.answer()) for _ in range(3)] == [202] * 3
    assert await talk.is_closed()
    await talk.close()


async def test_a_client_that_goes_away_is_no_matter(lane: LaneSite) -> None:
    before = await lane.site.log_size()
    for _ in range(20):
        await (await lane.talk(lane.request())).close()
    for cut in (10, 100, 300):
        await (await lane.talk(lane.request()[:cut])).close()
    await lane.site.take(lane.site.event())
    assert 1 <= await lane.site.log_size() - before <= 21


ODD_LINES = [
    "Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, identity", "Transfer-Encoding: xchunked",
    "Content-Length: 5", "Content-Length: 0", "content-length: 5", "Host: other",
    "Content-Length : 5", " folded: line", "\tfolded", "X-Bad\x00: 1", "X-Bad: \x00", "X-Bad: \r",
    "X-Bad: a\nX-Other: b", "X Bad: 1", ": empty", "no colon", "X-Long: " + "a" * 9_000,
    "X-Bad: \x7f", "X-Fine: \u00e9", "Upgrade: websocket", "Connection: close",
    "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    "Version: V1", "Authorization: Bearer other", "Content-Type: text/csv",
    "Content-Encoding: br", "Trailer: X", "TE: trailers", "Keep-Alive: timeout=5",
    *("\r\n".join(f"X-Many-{n}: {n}" for n in range(count)) for count in (50, 129, 2_000)),
]  # fmt: skip

REFUSED = {
    "Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Content-Length: 5",
    "Content-Length: 0", "content-length: 5", "Host: other", "Content-Length : 5", "X Bad: 1",
    "X-Bad: \x00", ": empty", "no colon", "X-Bad: a\nX-Other: b",
}  # fmt: skip
"""What neither lane may take: two lengths, two hosts, lines that others read otherwise."""


@pytest.mark.parametrize("line", ODD_LINES, ids=lambda line: repr(line)[:40])
async def test_an_odd_header_is_judged_alike(lanes: Lanes, line: str) -> None:
    sent = lanes.fast.request(line, idempotency_key="odd")
    fast = (await lanes.fast.answers(sent))[0]
    other = (await lanes.aiohttp.answers(sent))[0]
    assert status(fast) == status(other)
    assert status(fast) < 500
    if line in REFUSED:
        assert status(fast) in (0, 400)
    if status(fast) != 202:
        assert comparable(fast) == comparable(other)


ODD_LENGTHS = [
    "+5",
    "-1",
    "0x5",
    "5,5",
    "5 5",
    "1e2",
    "",
    " ",
    "00000000000000005",
    "9" * 30,
    "\u0665",
]


@pytest.mark.parametrize("length", ODD_LENGTHS)
async def test_an_odd_length_is_judged_alike(lanes: Lanes, length: str) -> None:
    sent = lanes.fast.head(f"Content-Length: {length}") + b"12345"
    fast, other = [(await lane.answers(sent))[0] for lane in (lanes.fast, lanes.aiohttp)]
    assert comparable(fast) == comparable(other)
    assert status(fast) in (0, 400, 413, 422)


ODD_FIRST_LINES = [
    "POST /api/usage/event HTTP/1.0", "post /api/usage/event HTTP/1.1",
    "POST  /api/usage/event HTTP/1.1", "POST /api/usage/event  HTTP/1.1",
    "POST /api/usage/event HTTP/1.2", "POST /api/usage/event HTTP/2.0", "POST /api/usage/event",
    "POST http://gateway/api/usage/event HTTP/1.1", "POST /api/usage/event?x=1 HTTP/1.1",
    "POST /api/usage/%65vent HTTP/1.1", "POST //api/usage/event HTTP/1.1",
    "POST /api/usage/event/../event HTTP/1.1", "POST /api/usage/event# HTTP/1.1",
    "POST /api/usage/eventss HTTP/1.1", "POST /api/usage/event// HTTP/1.1",
    "POST /api/usage/event/ HTTP/1.1", "PUT /api/usage/event HTTP/1.1",
    "\r\nPOST /api/usage/event HTTP/1.1",
    "POST /api/usage/event\x00 HTTP/1.1", "PRI * HTTP/2.0", "GET / HTTP/1.1", "\x16\x03\x01",
]  # fmt: skip


@pytest.mark.parametrize("line", ODD_FIRST_LINES)
async def test_an_odd_first_line_is_judged_alike(lanes: Lanes, line: str) -> None:
    _, _, rest = lanes.fast.request(idempotency_key="first").partition(b"\r\n")
    sent = line.encode() + b"\r\n" + rest
    fast, other = [(await lane.answers(sent))[0] for lane in (lanes.fast, lanes.aiohttp)]
    assert status(fast) == status(other)
    if status(fast) != 202:
        assert comparable(fast) == comparable(other)


async def test_a_request_hidden_in_a_body_is_never_seen(lane: LaneSite) -> None:
    before = await lane.site.log_size()
    hidden = lane.request(quantity=666)
    outer = json.dumps(lane.site.event(additional_report_data={"a": hidden.decode()})).encode()
    sent = lane.head(length=len(outer)) + outer + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = await lane.answers(sent, 2)
    assert [status(answer) for answer in answers] == [202, 200]
    assert await lane.site.log_size() == before + 1


async def test_nothing_after_a_request_with_two_lengths_is_answered(lane: LaneSite) -> None:
    before = await lane.site.log_size()
    body = b"0\r\n\r\n" + lane.request()
    both = lane.head("Transfer-Encoding: chunked", length=len(body)) + body
    talk = await lane.talk(both)
    assert status(await talk.answer()) in (0, 400)
    assert await talk.is_closed()
    await talk.close()
    assert await lane.site.log_size() == before
