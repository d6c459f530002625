"""Whatever goes wrong: the input at fault stands aside, the others go on, nothing is lost."""

import asyncio
from datetime import date, datetime
from uuid import uuid4

import asyncpg
import pytest

from invoicer.consumer import scan_once
from invoicer.inputs import InputKey, input_key
from invoicer.intake import Intake, Stopping
from runtime.clock import system_clock
from runtime.postgres import open_pool
from schemas.periods import periods
from tests.closed_periods import CLOSED_AT, PER_UNIT, Books, Line, Product
from tests.integration.invoicer.conftest import make_intake


async def parked(connection: asyncpg.Connection) -> dict[InputKey, str]:
    rows = await connection.fetch(
        "SELECT shard_key, contract_product_ref, period_ref, trigger, cut_number, error "
        "FROM parked_input"
    )
    return {InputKey(*tuple(row)[:5]): row["error"] for row in rows}


async def numbers(connection: asyncpg.Connection) -> list[int]:
    rows = await connection.fetch("SELECT number FROM document ORDER BY number")
    return [row["number"] for row in rows]


async def test_an_input_at_fault_is_parked_and_its_neighbours_are_billed(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    issuer = books.issuer()
    good = [books.contract(issuer) for _ in range(9)]
    foreign = Line("API calls", {**PER_UNIT, "currency": "EUR"}, "100")
    bad = books.contract(issuer, Product(lines=[foreign]))
    keys = [key for contract in (*good, bad) for key in books.close(*contract.products)]
    await books.write(connection)

    await intake.take(keys)

    assert await numbers(connection) == list(range(1, 10))
    assert list(await parked(connection)) == [keys[-1]]
    assert "currency_mismatch" in (await parked(connection))[keys[-1]]


async def test_an_input_that_names_no_cut_is_parked(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer())
    [key] = books.close(*contract.products)
    await books.write(connection)
    unknown = [key._replace(cut_number=7), input_key(uuid4(), uuid4(), 1)]
    await intake.take([*unknown, key])
    assert set(await parked(connection)) == set(unknown)
    assert await numbers(connection) == [1]


async def test_a_parked_input_that_comes_again_is_tried_again(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), Product(), Product(net_terms="14"))
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)
    assert len(await parked(connection)) == 2
    await connection.execute("UPDATE contract_product SET net_terms = '30'")
    await intake.take(keys)
    assert await parked(connection) == {}
    assert await numbers(connection) == [1]


async def test_an_older_cut_that_comes_late_is_taken_and_changes_nothing(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer())
    [product] = contract.products
    [period] = periods(product.terms)
    first = books.cut(product, period)
    second = books.cut(product, period, 2, quantity="150")
    await books.write(connection)
    await intake.take([second])
    await intake.take([first])
    assert await parked(connection) == {}
    assert await connection.fetchval("SELECT total FROM document") == 150
    assert await connection.fetchval("SELECT count(*) FROM document_input") == 2


async def test_intakes_side_by_side_bill_each_period_once_without_a_gap(
    connection: asyncpg.Connection, books: Books, pool: asyncpg.Pool
) -> None:
    issuer = books.issuer()
    three_months = Product(start=date(2026, 6, 1))
    contracts = [books.contract(issuer, three_months, Product()) for _ in range(12)]
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    await books.write(connection)

    orders = (keys, keys[::-1], keys[1::2] + keys[::2], keys[::2] + keys[1::2])
    await asyncio.gather(*(make_intake(pool).take(order) for order in orders))

    assert await numbers(connection) == list(range(1, 37))
    rows = await connection.fetch(
        "SELECT array_agg(number_in_contract ORDER BY number) AS numbers, "
        "max(total_in_contract) AS total FROM document GROUP BY contract_ref"
    )
    assert [(row["numbers"], row["total"]) for row in rows] == [([1, 2, 3], 400)] * 12


async def test_batches_under_way_at_once_keep_a_contracts_years_in_order(
    connection: asyncpg.Connection, books: Books, pool: asyncpg.Pool
) -> None:
    tenant = books.issuer()
    issuers = [tenant, books.entity(tenant, name="Southwind", number_format="{number}")]
    whole = [{"amount": "1500", "over": "CONTRACT"}]
    year = Product(start=date(2025, 9, 1), commitments=whole)
    keys = []
    for issuer in issuers * 20:
        contract = books.contract(issuer, year)
        keys += books.close(*contract.products)
    await books.write(connection)

    intake = make_intake(pool, batches_at_once=4)
    await intake.take(keys)

    assert await parked(connection) == {}, "a true-up needs the documents of all months before"
    rows = await connection.fetch(
        "SELECT array_agg(number_in_contract ORDER BY issue_date) AS numbers, "
        "sum(total) AS total FROM document GROUP BY contract_ref"
    )
    assert [(row["numbers"], row["total"]) for row in rows] == [(list(range(1, 13)), 1500)] * 40
    series = await connection.fetch(
        "SELECT array_agg(number ORDER BY number) AS numbers FROM document "
        "GROUP BY entity_id, series ORDER BY entity_id, series"
    )
    assert [row["numbers"] for row in series] == [
        list(range(1, count + 1)) for count in (20 * 3, 20 * 9, 20 * 12)
    ]


async def test_plans_follow_the_size_that_tables_have_come_to(
    connection: asyncpg.Connection, database: str
) -> None:
    """A statement planned while its table is empty, and again once it is not."""
    await connection.execute("CREATE TABLE growing (key integer PRIMARY KEY); ANALYZE growing")
    look = "SELECT * FROM unnest($1::integer[]) AS k JOIN growing ON key = k"
    async with open_pool(database, service="test", size_max=1, plans="FRESH") as fresh:
        for _ in range(8):
            await fresh.fetch(look, [1, 2])
        await connection.execute("INSERT INTO growing SELECT generate_series(1, 200000)")
        await fresh.fetch(look, [1, 2])
        await fresh.execute("SELECT pg_stat_force_next_flush()")
    read = await connection.fetchval(
        "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'growing'"
    )
    assert read == 0


async def test_a_database_that_went_away_is_waited_for(
    connection: asyncpg.Connection, books: Books, database: str
) -> None:
    contract = books.contract(books.issuer())
    keys = books.close(*contract.products)
    await books.write(connection)
    async with open_pool(database, service="cut-off") as pool:
        await pool.fetchval("SELECT 1")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'meterline-cut-off'"
        )
        await make_intake(pool).take(keys)
    assert await numbers(connection) == [1]


async def test_stopping_ends_the_wait_with_nothing_done(
    connection: asyncpg.Connection, books: Books, database: str
) -> None:
    contract = books.contract(books.issuer())
    keys = books.close(*contract.products)
    await books.write(connection)
    stopping = asyncio.Event()
    stopping.set()
    async with open_pool(database, service="test") as pool:
        pass
    with pytest.raises(Stopping):
        await make_intake(pool, stopping).take(keys)
    assert await numbers(connection) == []


async def test_a_missing_table_is_no_inputs_fault(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer())
    keys = books.close(*contract.products)
    await books.write(connection)
    await connection.execute("ALTER TABLE document_line RENAME TO elsewhere")
    with pytest.raises(asyncpg.UndefinedTableError):
        await intake.take(keys)
    assert await parked(connection) == {}


async def test_a_scan_finds_cuts_whose_message_was_lost(
    connection: asyncpg.Connection, books: Books, intake: Intake, pool: asyncpg.Pool
) -> None:
    issuer = books.issuer()
    contracts = [books.contract(issuer) for _ in range(5)]
    foreign = Line("API calls", {**PER_UNIT, "currency": "EUR"}, "100")
    contracts.append(books.contract(issuer, Product(lines=[foreign])))
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    await books.write(connection)
    await intake.take(keys[:2])

    async def scanned(since: datetime, before: datetime) -> int:
        return await scan_once(pool, intake, since, before, 2)

    assert await scanned(CLOSED_AT, CLOSED_AT) == 0, "what was just cut is still on its way"
    assert await scanned(CLOSED_AT, system_clock()) == 4
    assert await numbers(connection) == [1, 2, 3, 4, 5]
    assert list(await parked(connection)) == [keys[-1]]
    assert await scanned(CLOSED_AT, system_clock()) == 0, "what is parked is left to a person"
