"""`meterline events send` as a person runs it, on a real gateway; and killed on its way."""

import asyncio
import csv
import gzip
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.client.conftest import Shop

ROWS = 40_000
PATIENCE = "6"
"""In seconds: what a batch may take of a gateway that has to share its cores, and short to wait."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def command(shop: Shop, *arguments: str | Path) -> list[str]:
    target = ["--url", shop.gateway.url, "--api-key", shop.credentials.api_key]
    program = [sys.executable, "-P", "-m", "deploy.cli"]
    return [*program, "events", "send", *map(str, arguments), *target]


async def send(
    shop: Shop, *arguments: str | Path, stdin: bytes = b""
) -> tuple[int, dict[str, Any]]:
    """Run the command to its end; its exit code, and the summary that it prints as JSON."""
    async with started(shop, *arguments, "--json") as process:
        said, complaint = await asyncio.wait_for(process.communicate(stdin), 120)
    assert said, complaint.decode()
    assert process.returncode is not None
    return process.returncode, json.loads(said)


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def many_rows(shop: Shop, path: Path, count: int = ROWS) -> Path:
    """Write rows without keys that differ in nothing but their number."""
    good = ["2024-02-05T12:00:00Z", shop.customer_ref, shop.meter_ref, "1"]
    header = ["timestamp", "customer_ref", "usage_product_ref", "quantity"]
    return write_csv(path, [header, *[good] * count])


async def test_names_and_columns_are_mapped_and_bad_rows_come_back_with_reasons(
    shop: Shop, folder: Path
) -> None:
    name, meter = f"northwind {shop.mark}", f"CALLS {shop.mark}"
    rows = [
        ["ts", "account", "sku", "units", "id", "region", "internal"],
        ["2024-02-05T12:00:00Z", name, meter, "1.5", f"{shop.mark}-a", "eu", "x"],
        ["2024-02-05T12:00:00", name, meter, "1", f"{shop.mark}-b", "eu", "x"],
        ["2024-02-05T12:00:00Z", "nobody", meter, "1", f"{shop.mark}-c", "eu", "x"],
        ["2024-02-05T12:00:00Z", shop.customer_ref, shop.meter_ref, "2", f"{shop.mark}-d", "", "x"],
        ["too", "short"],
    ]
    file, rejects = write_csv(folder / "usage.csv", rows), folder / "rejected.csv"
    maps = ["--map", "timestamp=ts,customer=account,meter=sku", "--map", "quantity=units,key=id"]
    code, summary = await send(
        shop, file, *maps, "--map", "data.region=region", "--rejects", rejects
    )

    assert (code, summary["rows"], summary["accepted"], summary["rejected"]) == (1, 5, 2, 3)
    assert set(await shop.keys_in_log()) == {f"{shop.mark}-a", f"{shop.mark}-d"}
    with rejects.open(newline="") as text:
        header, *rejected = list(csv.reader(text))
    assert header == [*rows[0], "rejected_row", "rejected_because"]
    assert [row[-2] for row in rejected] == ["2", "3", "5"]
    assert rejected[0][:-2] == rows[2], "as it was, to be corrected and sent again"
    assert "offset" in rejected[0][-1]
    assert "no customer is named 'nobody'" in rejected[1][-1]
    assert "2 cells, the header 7" in rejected[2][-1]


async def test_every_form_of_the_same_events_is_read(shop: Shop, folder: Path) -> None:
    lines = [json.dumps(shop.event(number)).encode() for number in range(20)]
    ndjson = b"\n".join(lines)
    array = b"[" + b",\n".join(lines) + b"]"
    (folder / "usage.ndjson").write_bytes(ndjson)
    (folder / "usage.json").write_bytes(array)
    (folder / "usage.gz").write_bytes(gzip.compress(ndjson))
    for name in ("usage.ndjson", "usage.json", "usage.gz"):
        code, summary = await send(shop, folder / name)
        assert (code, summary["accepted"]) == (0, 20), name
    code, summary = await send(shop, "-", stdin=ndjson)
    assert (code, summary["accepted"]) == (0, 20)
    found = await shop.keys_in_log()
    assert set(found) == shop.keys(20)
    assert set(found.values()) == {4}


async def test_a_run_killed_on_its_way_goes_on_exactly_where_it_was(
    mortal_shop: Shop, folder: Path
) -> None:
    shop = mortal_shop
    file, resume = many_rows(shop, folder / "usage.csv"), folder / "usage.resume"
    die_on_the_way(shop)
    async with started(shop, file, "--resume", resume) as process:
        await asyncio.to_thread(shop.gateway.wait_killed)
        await until_some_are_sent(resume)
        process.kill()
        assert await process.wait() == -9
    rows_before = rows_sent(resume)
    assert 0 < rows_before < ROWS
    shop.gateway.start()

    code, summary = await send(shop, file, "--resume", resume)
    assert code == 0
    assert (summary["earlier"], summary["rows"], summary["accepted"]) == (rows_before, ROWS, ROWS)
    keys = await shop.keys_in_log()
    numbers = sorted(int(key.rpartition("/")[2]) for key in keys)
    assert numbers == list(range(1, ROWS + 1)), "each row once, whoever sent it"
    assert len({key.partition("/")[0] for key in keys}) == 1

    code, summary = await send(shop, file, "--resume", resume)
    assert (code, summary["earlier"], summary["rows"]) == (0, ROWS, ROWS), "nothing is left"
    many_rows(shop, file, ROWS + 1)
    async with started(shop, file, "--resume", resume) as process:
        _, complaint = await process.communicate()
    assert process.returncode == 2
    assert b"belongs to another file" in complaint


async def test_without_a_gateway_it_gives_up_in_time_and_the_next_run_goes_on(
    mortal_shop: Shop, folder: Path
) -> None:
    shop = mortal_shop
    file, resume = many_rows(shop, folder / "usage.csv"), folder / "usage.resume"
    die_on_the_way(shop)
    async with started(shop, file, "--resume", resume, "--patience", PATIENCE) as process:
        await asyncio.to_thread(shop.gateway.wait_killed)
        assert await asyncio.wait_for(process.wait(), 60) == 2
    assert 0 < rows_sent(resume) < ROWS
    shop.gateway.start()
    code, summary = await send(shop, file, "--resume", resume)
    assert (code, summary["accepted"], summary["stopped"]) == (0, ROWS, None)
    assert len(await shop.keys_in_log()) == ROWS


@asynccontextmanager
async def started(shop: Shop, *arguments: str | Path) -> AsyncIterator[Process]:
    """Start the command; end it if it still runs when the block is left."""
    process = await asyncio.create_subprocess_exec(
        *command(shop, *arguments),
        env=os.environ | {"METERLINE_PASSWORD": shop.credentials.api_password},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def die_on_the_way(shop: Shop) -> None:
    """Have the gateway die by itself when some of a file's batches are answered, and not all.

    A test that looked and then killed might look too late: the file is sent in seconds.
    """
    shop.gateway.stop()
    shop.gateway.start(METERLINE_CRASHPOINT="gateway.after_ack:10")


async def until_some_are_sent(resume: Path) -> None:
    """Wait until a resume file says that some rows have their outcomes."""
    async with asyncio.timeout(60):
        while not rows_sent(resume):  # noqa: ASYNC110 - a file has no event to wait for
            await asyncio.sleep(0.01)


def rows_sent(resume: Path) -> int:
    """Return how many rows a resume file counts."""
    return int(json.loads(resume.read_bytes())["rows"]) if resume.exists() else 0
