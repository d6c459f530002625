"""A gateway that dies while a file comes in: the file comes again, every row is billed once."""

import asyncio
import csv
import io
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from deploy.local.bootstrap import Credentials
from meterline_client import AsyncClient
from schemas.topics import USAGE_EVENTS
from tests.integration.gateway.conftest import count_records
from tests.processes import Service, running
from tests.rating import await_offsets, counters

ROWS = 10_000
HEADER = ("timestamp", "customer_ref", "usage_product_ref", "quantity")
POINT = "gateway.after_upload_rows:5"


async def make_file(client: AsyncClient) -> bytes:
    """Write a file whose rows have no keys and differ in nothing but their quantity."""
    customer = await client.request("POST", "/api/customers", {"name": "N", "email": "a@b.example"})
    meter = await client.request("POST", "/api/usage/products", {"name": "Calls"})
    refs = [customer["customer_ref"], meter["usage_product_ref"]]
    text = io.StringIO(newline="")
    rows = [["2024-02-05T12:00:00Z", *refs, number % 3] for number in range(ROWS)]
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue().encode()


async def test_a_file_that_comes_again_after_a_kill_is_billed_once(
    stack_env: Mapping[str, str], credentials: Credentials, tmp_path: Path
) -> None:
    gateway = Service("gateway", stack_env, tmp_path)
    rater = Service("rater", stack_env, tmp_path)
    with running(gateway, rater):
        gateway.start(METERLINE_CRASHPOINT=POINT)
        rater.start()
        names = (credentials.api_key, credentials.api_password)
        async with AsyncClient(gateway.url, *names) as client:
            body = await make_file(client)
            sending = asyncio.create_task(client.upload(io.BytesIO(body)))
            await asyncio.to_thread(gateway.wait_killed)
            assert not sending.done()
            gateway.start()
            report = await sending
        assert (report["state"], report["rows"], report["accepted"]) == ("COMPLETED", ROWS, ROWS)

        topic = stack_env["METERLINE_TOPIC_PREFIX"] + USAGE_EVENTS
        records = await count_records(stack_env["METERLINE_KAFKA"], topic)
        assert records > ROWS, "rows between the last note and the death came twice"
        connection = await asyncpg.connect(stack_env["METERLINE_POSTGRES"])
        try:
            await await_offsets(connection, records)
            found = await counters(connection)
            assert found == {"unrated": ROWS, "duplicates": records - ROWS}
            total = await connection.fetchval("SELECT sum(quantity) FROM usage_event")
            assert total == sum(number % 3 for number in range(ROWS))
        finally:
            await connection.close()
