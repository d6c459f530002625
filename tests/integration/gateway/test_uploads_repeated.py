"""Files of usage that break off and come again: every row counts once, whatever happened."""

import asyncio

from tests.integration.gateway.conftest import Site
from tests.integration.gateway.files import (
    HEADER,
    PATH,
    Slow,
    get,
    is_begun,
    keys,
    newest,
    row,
    table,
    upload,
)
from tests.rating import eventually


async def test_a_file_that_ends_in_doubt_counts_up_to_there_and_goes_on_when_mended(
    reader: Site,
) -> None:
    good = [row(reader, number) for number in range(10)]
    broken = table(good) + b"2024,M\xfcller\n"
    status, refusal = await upload(reader, broken, Idempotency_Key="mended")
    assert (status, refusal["code"]) == (400, "not_utf8")
    assert "line 12" in refusal["detail"]
    assert [error["code"] for error in refusal["errors"]] == ["not_utf8"]
    shown = refusal["upload"]
    assert (shown["state"], shown["rows"], shown["accepted"]) == ("ABORTED", 10, 10)
    assert shown["problem"]["code"] == "not_utf8"
    mended = table([*good, row(reader, 11), row(reader, "x")])
    status, answer = await upload(reader, mended, Idempotency_Key="mended")
    assert (status, answer["state"]) == (202, "COMPLETED")
    assert answer["upload_ref"] == shown["upload_ref"]
    assert (answer["rows"], answer["accepted"], answer["rejected"]) == (12, 11, 1)
    assert len(set(await keys(reader, 11))) == 11


async def test_one_key_names_one_file(reader: Site) -> None:
    rows = [row(reader, number) for number in range(5)]
    status, first = await upload(reader, table(rows), Idempotency_Key="one")
    assert status == 202
    for body, query in [
        (table(rows[:4]), ""),
        (table([*rows, row(reader)]), ""),
        (table([*rows[:2], row(reader, 9), *rows[3:]]), ""),
        (table(rows), "?other_columns=data"),
        (table([[*r, ""] for r in rows], [*HEADER, "idempotency_key"]), ""),
    ]:
        status, refusal = await upload(reader, body, query, Idempotency_Key="one")
        assert (status, refusal["code"]) == (422, "idempotency_key_reused")
    assert (await get(reader, f"{PATH}/{first['upload_ref']}"))[1] == first
    await keys(reader, 5)


async def test_an_upload_without_an_accepted_row_begins_anew(reader: Site) -> None:
    body = table([row(reader, 1), row(reader, 2)], ["timestamp", "customer_ref", "product", "n"])
    wrong = "?map=product:customer_ref,customer_ref:usage_product_ref,n:quantity"
    _, first = await upload(reader, body, wrong, Idempotency_Key="anew")
    assert (first["accepted"], first["rejected"]) == (0, 2)
    right = "?map=product:usage_product_ref,n:quantity"
    status, again = await upload(reader, body, right, Idempotency_Key="anew")
    assert (status, again["upload_ref"]) == (202, first["upload_ref"])
    assert (again["rows"], again["accepted"], again["rejected"]) == (2, 2, 0)
    assert (again["rejected_csv"], again["errors"]) == (None, [])
    assert sorted(await keys(reader, 2)) == ["anew/row/1", "anew/row/2"]
    status, _ = await upload(reader, body, wrong, Idempotency_Key="anew")
    assert status == 422, "now it has accepted rows"


async def test_without_a_key_the_uploads_ref_is_the_key(reader: Site) -> None:
    body = table([row(reader, 1), row(reader, 1)])
    _, first = await upload(reader, body)
    ref = first["upload_ref"]
    assert first["idempotency_key"] == ref
    assert sorted(await keys(reader, 2)) == [f"{ref}/row/1", f"{ref}/row/2"]
    _, again = await upload(reader, body, Idempotency_Key=ref)
    assert again == first
    _, other = await upload(reader, body)
    assert other["upload_ref"] != ref, "another upload is other usage"
    await keys(reader, 4)


async def test_rows_with_keys_of_their_own_keep_them(reader: Site) -> None:
    body = table([[*row(reader), "mine"], [*row(reader), ""]], [*HEADER, "idempotency_key"])
    await upload(reader, body, Idempotency_Key="u")
    assert sorted(await keys(reader, 2)) == ["mine", "u/row/2"]


async def test_progress_is_seen_before_the_end(reader: Site) -> None:
    body = table([row(reader, number) for number in range(100)])
    slow, sent = Slow(body[:5_000]), 5_000
    sending = asyncio.create_task(upload(reader, slow, Idempotency_Key="slow"))
    await eventually(lambda: is_begun(reader), "the upload is begun")

    async def shows_progress() -> bool:
        nonlocal sent
        slow.parts.put_nowait(body[sent : sent + 1])
        sent += 1
        shown = await newest(reader)
        assert shown["state"] == "RUNNING"
        return bool(0 < shown["accepted"] < 100)

    await eventually(shows_progress, "rows are told of before the end")
    slow.parts.put_nowait(body[sent:])
    slow.parts.put_nowait(None)
    status, answer = await sending
    assert (status, answer["accepted"]) == (202, 100)
    await keys(reader, 100)


async def test_the_latest_request_takes_the_upload_over(reader: Site) -> None:
    body = table([row(reader, number) for number in range(100)])
    slow = Slow(body[:5_000])
    sending = asyncio.create_task(upload(reader, slow, Idempotency_Key="twice"))
    await eventually(lambda: is_begun(reader), "the upload is begun")
    status, answer = await upload(reader, body, Idempotency_Key="twice")
    assert (status, answer["state"], answer["accepted"]) == (202, "COMPLETED", 100)
    slow.parts.put_nowait(body[5_000:])
    slow.parts.put_nowait(None)
    status, refusal = await sending
    assert (status, refusal["code"]) == (409, "upload_taken_over")
    assert (await get(reader, f"{PATH}/{answer['upload_ref']}"))[1] == answer
    found = [record["idempotency_key"] for record in await reader.own_records()]
    assert set(found) == {f"twice/row/{number}" for number in range(1, 101)}


async def test_a_connection_that_breaks_leaves_how_far_it_got_and_the_file_goes_on(
    reader: Site,
) -> None:
    body = table([row(reader, number) for number in range(1_000)])
    slow = Slow(body[: len(body) // 2])
    sending = asyncio.create_task(upload(reader, slow, Idempotency_Key="broken"))

    async def has_records() -> bool:
        return bool(await reader.own_records())

    async def is_aborted() -> bool:
        return bool((await newest(reader))["state"] == "ABORTED")

    await eventually(has_records, "the first rows are in the log")
    sending.cancel()
    await eventually(is_aborted, "the upload is over")
    shown = await newest(reader)
    assert shown["problem"]["code"] == "connection_lost"
    assert 0 < shown["accepted"] < 1_000
    await keys(reader, shown["accepted"])
    status, answer = await upload(reader, body, Idempotency_Key="broken")
    assert (status, answer["state"], answer["accepted"]) == (202, "COMPLETED", 1_000)
    assert len(set(await keys(reader, 1_000))) == 1_000, "no row was sent twice"
