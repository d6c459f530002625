"""Files of usage: streamed in, every row with its outcome, the rejected ones given back."""

import asyncio
import csv
import gzip
import io
import json
from typing import Any
from urllib.parse import quote

import pytest
import requests
from backports import zstd

from tests.integration.gateway.conftest import Site
from tests.integration.gateway.files import HEADER, PATH, get, keys, row, table, upload


async def test_a_file_is_taken_and_told_row_by_row(reader: Site) -> None:
    rows = [
        row(reader, "1.50"),
        row(reader, "many"),
        row(reader, 2)[:3],
        row(reader, 3, at="2024-02-05T12:00:00"),
        row(reader, "=1+1"),
        row(reader, 4),
    ]
    status, answer = await upload(reader, table(rows), Idempotency_Key="february")
    assert status == 202, answer
    assert (answer["state"], answer["rows"]) == ("COMPLETED", 6)
    assert (answer["accepted"], answer["rejected"], answer["rejected_kept"]) == (2, 4, 4)
    assert [(error["row"], error["line"], error["pointer"]) for error in answer["errors"]] == [
        (2, 3, "/quantity"),
        (3, 4, ""),
        (4, 5, "/timestamp"),
        (5, 6, "/quantity"),
    ]
    assert sum(answer["reasons"].values()) == 4
    assert sorted(await keys(reader, 2)) == ["february/row/1", "february/row/6"]

    status, shown = await get(reader, f"{PATH}/{answer['upload_ref']}")
    assert (status, shown) == (200, answer)
    status, listed = await get(reader, PATH)
    del shown["errors"]
    assert (status, listed) == (200, {"uploads": [shown], "next_cursor": None})


async def test_rejected_rows_come_back_safe_to_open_and_can_be_sent_again_corrected(
    reader: Site,
) -> None:
    header = [*HEADER, "additional_report_data.note"]
    rows = [
        [*row(reader, -5), "=HYPERLINK(1)"],
        [*row(reader, "x"), "@cmd"],
        [*row(reader, "-6y"), "'+1 as it was"],
    ]
    _, answer = await upload(reader, table(rows, header))
    assert (answer["accepted"], answer["rejected"]) == (1, 2)
    status, text = await get(reader, answer["rejected_csv"])
    assert status == 200
    names, *returned = list(csv.reader(io.StringIO(text, newline="")))
    assert names == [*header, "rejected_row", "rejected_because"]
    assert [cells[3:6] for cells in returned] == [
        ["x", "'@cmd", "2"],
        ["'-6y", "''+1 as it was", "3"],
    ]
    assert "quantity: " in returned[0][6]

    corrected = text.replace(",x,", ",7,").replace(",'-6y,", ",-6,").encode()
    _, again = await upload(reader, corrected)
    assert (again["accepted"], again["rejected"]) == (2, 0), again
    notes = {
        (float(record["quantity"]), record["additional_report_data"]["note"])
        for record in await reader.own_records()
    }
    assert notes == {(-5, "=HYPERLINK(1)"), (7, "@cmd"), (-6, "'+1 as it was")}


async def test_columns_of_any_layout_are_mapped(reader: Site) -> None:
    header = ["When", "Konto", "Quantity", "Region", "Leer", "Produkt"]
    rows = [["2024-02-05T12:00:00Z", " northwind ", "1", "eu", "x", "calls"]]
    body = table(rows, header, delimiter=";")
    status, refusal = await upload(reader, body)
    assert status == 422
    assert {error["pointer"]: error["code"] for error in refusal["errors"]} == {
        "/When": "unknown_field",
        "/Konto": "unknown_field",
        "/Region": "unknown_field",
        "/Leer": "unknown_field",
        "/Produkt": "unknown_field",
        "/timestamp": "required",
        "/customer_ref": "required",
        "/usage_product_ref": "required",
    }
    assert "?map=COLUMN:FIELD" in refusal["errors"][0]["detail"]
    query = "?map=When:timestamp,Konto:customer_name,Produkt:usage_product_name,Leer:"
    status, answer = await upload(reader, body, query + "&other_columns=data")
    assert (status, answer["accepted"]) == (202, 1), answer
    (record,) = await reader.own_records()
    assert record["additional_report_data"] == {"Region": "eu"}
    assert record["customer_ref"] == reader.customer.ref

    pairs = {"When": "timestamp", "Konto": "customer_name", "Produkt": "usage_product_name"}
    as_json = quote(json.dumps(pairs))
    status, answer = await upload(reader, body, f"?map={as_json}&other_columns=ignore")
    assert (status, answer["accepted"]) == (202, 1), answer
    status, refusal = await upload(reader, body, "?map=Wen:timestamp&other_columns=ignore")
    assert refusal["errors"][0]["pointer"] == "/map"
    assert "did you mean 'When'" in refusal["errors"][0]["detail"]


async def test_every_coding_and_form_brings_the_same_rows(reader: Site) -> None:
    body = table([row(reader, number) for number in range(50)])
    sent = {"Version": "V0", "Authorization": reader.headers["Authorization"]}

    def post(**arguments: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        headers = sent | arguments.pop("headers", {}) | {"Idempotency-Key": "same"}
        url = reader.url + PATH
        return requests.post(url, headers=headers, timeout=60, **arguments)

    first = await asyncio.to_thread(post, data=body)
    assert first.status_code == 202, first.text
    assert first.json()["accepted"] == 50
    others: list[dict[str, Any]] = [
        {"data": gzip.compress(body), "headers": {"Content-Encoding": "gzip"}},
        {"data": gzip.compress(body)},
        {"data": zstd.compress(body), "headers": {"Content-Type": "application/zstd"}},
        {"data": iter([body[:100], body[100:101], body[101:]])},
        {"files": {"file": ("usage.csv", body, "text/csv")}},
        {"files": {"file": ("usage.csv.gz", gzip.compress(body))}},
        {"data": body.replace(b"\r\n", b"\n"), "headers": {"Content-Type": "text/csv"}},
        {"data": b"\xef\xbb\xbf" + body},
    ]
    for other in others:
        answer = await asyncio.to_thread(post, **other)
        assert answer.status_code == 202, answer.text
        assert answer.headers["Idempotent-Replayed"] == "true"
        assert answer.json() == first.json()
    await keys(reader, 50)


async def test_curl_sends_what_it_reads_from_a_pipe(reader: Site) -> None:
    body = table([row(reader, number) for number in range(2_000)])
    headers = [part for pair in reader.headers.items() for part in ("-H", ": ".join(pair))]
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-T", "-", "-X", "POST", *headers, reader.url + PATH),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(curl.communicate(body), 60)
    assert json.loads(said)["accepted"] == 2_000


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "body_malformed"),
        (b"\n\n", {}, 400, "body_malformed"),
        (b"[{}]", {"Content_Type": "application/json"}, 415, "media_type_unsupported"),
        (b"a,b\n", {"Content_Encoding": "br"}, 415, "encoding_unsupported"),
        (b"a,b\n", {"Content_Type": "multipart/form-data"}, 400, "body_malformed"),
        (b"a,b\n", {"Content_Type": "multipart/form-data; boundary=x"}, 400, "body_malformed"),
        (b"quantity\xe9\n", {}, 400, "not_utf8"),
        (b"quantity,quantity\n", {}, 400, "json_duplicate_key"),
        (b"a,b\n", {"Idempotency_Key": "k" * 201}, 400, "idempotency_key_malformed"),
    ],
)
async def test_what_is_no_file_of_usage_is_refused_before_anything_begins(
    reader: Site, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    found, refusal = await upload(reader, body, **headers)
    assert (found, refusal["code"]) == (status, code), refusal
    assert (await get(reader, PATH))[1]["uploads"] == []


async def test_options_that_nobody_knows_are_refused(reader: Site) -> None:
    body = table([row(reader)])
    for query in ("?mapp=a:b", "?map=a", "?other_columns=keep", "?delimiter=,"):
        status, refusal = await upload(reader, body, query)
        assert status == 422, refusal


async def test_a_stranger_sees_nothing_of_it(reader: Site, stranger: Site) -> None:
    body = table([row(reader, "x")])
    _, answer = await upload(reader, body, Idempotency_Key="shared")
    for path in (f"{PATH}/{answer['upload_ref']}", answer["rejected_csv"]):
        assert (await get(reader, path))[0] == 200
        assert (await get(stranger, path))[0] == 404
    assert (await get(stranger, PATH))[1]["uploads"] == []
    _, theirs = await upload(stranger, table([row(reader)]), Idempotency_Key="shared")
    assert theirs["upload_ref"] != answer["upload_ref"]
    assert theirs["reasons"] == {"customer_unknown": 1}, "a customer of another tenant is none"


async def test_scopes_are_asked_for(site: Site) -> None:
    assert (await upload(site, table([row(site)])))[0] == 202
    assert (await get(site, PATH))[0] == 403


async def test_the_list_comes_in_pages(reader: Site) -> None:
    refs = [(await upload(reader, table([row(reader)])))[1]["upload_ref"] for _ in range(3)]
    found = []
    cursor = ""
    while True:
        _, page = await get(reader, f"{PATH}?limit=2{cursor}")
        found += [shown["upload_ref"] for shown in page["uploads"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == refs[::-1]


async def test_rows_that_are_too_long_are_rejected_alone(reader: Site) -> None:
    long = row(reader, "1" * 70_000)
    _, answer = await upload(reader, table([row(reader), long, row(reader)]))
    assert (answer["accepted"], answer["reasons"]) == (2, {"row_too_long": 1})
    _, text = await get(reader, answer["rejected_csv"])
    assert list(csv.reader(io.StringIO(text)))[1][:5] == ["", "", "", "", "2"]


def strange_bodies() -> list[tuple[bytes, dict[str, str]]]:
    """What nobody would send on purpose, or only to see what happens."""
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="file"\r\n'
    header = ",".join(HEADER).encode() + b"\n"
    packed = gzip.compress(header * 100)
    return [
        (part + b"\r\n" + header, form),
        (part + b"\r\n" + header + b"\r\n--b", form),
        (part + b"Broken header\r\n\r\n" + header + b"\r\n--b--\r\n", form),
        (part + b"X: " + b"y" * 20_000 + b"\r\n\r\n" + header + b"\r\n--b--\r\n", form),
        (part + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n", form),
        (part + b"\r\n" + header + b"\r\n" + part + b"\r\n1\r\n--b--\r\n", form),
        (b"--b--\r\n", form),
        (header, {"Content-Type": "multipart/form-data; boundary=" + "b" * 200}),
        (packed[:-4], {}),
        (packed + b"\x1f\x8b", {}),
        (b"\x28\xb5\x2f\xfd" + b"?" * 50, {}),
        (header + b'"' * 99_999, {}),
        (header + b"\0,\0,\0,\0\n" + b'"\n', {}),
        (b'"' + b"a," * 40_000, {}),
        (b"a," * 40_000 + b"\n", {}),
        (header, {"Content-Encoding": "gzip, zstd"}),
        (header, {"Idempotency-Key": "e\u0301"}),
    ]


async def test_strange_bodies_are_refused_in_a_sentence_and_never_an_error_of_ours(
    reader: Site,
) -> None:
    for body, headers in strange_bodies():
        status, refusal = await upload(reader, body, **headers)
        assert status in (400, 415, 422), (body[:80], headers, refusal)
        assert refusal["detail"], refusal
    status, answer = await upload(reader, table([row(reader, "\0"), ["\0", "=", "\t", "-"]]))
    assert (status, answer["rejected"]) == (202, 2)
    status, text = await get(reader, answer["rejected_csv"])
    assert (status, text.count("\ufffd")) == (200, 2)
