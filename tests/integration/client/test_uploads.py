"""`meterline uploads` as a person runs it, and the client under it, on a real gateway."""

import asyncio
import csv
import gzip
import io
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from meterline_client import RequestRefused, Unavailable
from tests.integration.client.conftest import Shop

HEADER = ["ts", "customer_ref", "usage_product_ref", "quantity"]


async def run(shop: Shop, *arguments: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the command to its end; its exit code, and what it says on both outputs."""
    target = ["--url", shop.gateway.url, "--api-key", shop.credentials.api_key]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "deploy.cli", "uploads", *map(str, arguments), *target),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | {"METERLINE_PASSWORD": shop.credentials.api_password},
    )
    said, complaint = await asyncio.wait_for(process.communicate(stdin), 120)
    assert process.returncode is not None
    return process.returncode, said.decode(), complaint.decode()


def file_of(shop: Shop, *quantities: object) -> bytes:
    text = io.StringIO(newline="")
    rows = [["2024-02-05T12:00:00Z", shop.customer_ref, shop.meter_ref, q] for q in quantities]
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue().encode()


async def test_a_file_is_sent_listed_shown_and_its_rejected_rows_come_back(
    shop: Shop, tmp_path: Path
) -> None:
    file, rejects = tmp_path / "usage.csv.gz", tmp_path / "rejected.csv"
    file.write_bytes(gzip.compress(file_of(shop, 1, "many", 3)))
    mapped = ["--map", "timestamp=ts"]
    code, said, _ = await run(shop, "send", file, *mapped, "--json", "--rejects", rejects)
    report = json.loads(said)
    assert (code, report["state"], report["accepted"], report["rejected"]) == (1, "COMPLETED", 2, 1)
    assert report["idempotency_key"].startswith("sha256-")

    code, again, _ = await run(shop, "send", file, *mapped, "--json")
    assert (code, json.loads(again)) == (1, report), "the same file never counts twice"
    assert set((await shop.keys_in_log()).values()) == {1}

    ref = report["upload_ref"]
    code, said, _ = await run(shop, "list")
    assert code == 0
    assert ref in said
    code, said, _ = await run(shop, "show", ref)
    assert code == 0
    assert "row 2 (line 3), quantity" in said
    code, said, _ = await run(shop, "rejected", ref)
    assert (code, said.encode()) == (0, rejects.read_bytes())
    rejects.write_bytes(rejects.read_bytes().replace(b",many,", b",2,"))
    code, said, _ = await run(shop, "send", rejects, *mapped)
    assert code == 0, said
    assert sum((await shop.keys_in_log()).values()) == 3


async def test_a_pipe_is_sent_as_it_comes(shop: Shop) -> None:
    body = file_of(shop, *range(5_000))
    arguments = ["-", "--map", "timestamp=ts", "--key", f"pipe-{shop.mark}", "--json"]
    code, said, complaint = await run(shop, "send", *arguments, stdin=body)
    assert (code, json.loads(said)["accepted"]) == (0, 5_000), complaint


async def test_what_can_not_be_sent_is_told_in_a_sentence(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    file.write_bytes(file_of(shop, 1))
    code, _, complaint = await run(shop, "send", file)
    assert code == 2
    assert "?map=COLUMN:FIELD" in complaint
    code, _, complaint = await run(shop, "show", "00000000-0000-4000-8000-000000000000")
    assert code == 2
    assert "no upload of yours" in complaint


async def test_progress_is_told_and_a_refusal_is_final(shop: Shop) -> None:
    told: list[int] = []
    body = file_of(shop, *range(1_000))
    async with shop.client() as client:
        report = await client.upload(io.BytesIO(body), on_progress=told.append, map="ts:timestamp")
        assert report["accepted"] == 1_000
        assert told[-1] == len(body)
        with pytest.raises(RequestRefused) as refused:
            await client.upload(io.BytesIO(body))
        assert refused.value.status == 422


class Pipe(io.RawIOBase):
    """What can be read once."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return b"ts\n"


async def test_a_pipe_that_breaks_names_the_key_to_go_on_with(mortal_shop: Shop) -> None:
    shop = mortal_shop
    async with shop.client() as client:
        await client.login()
        shop.gateway.kill()
        with pytest.raises(Unavailable, match="sent again with the key abc"):
            await client.upload(io.BufferedReader(Pipe()), key="abc")
