"""The schema: one file says all of it, the migrations make the same, a table has one writer."""

import re
import uuid
from pathlib import Path

import asyncpg

from deploy.local.servers import Servers
from tests.conftest import temporary_database

SCHEMA = Path(__file__).parents[2] / "schemas" / "sql" / "schema.sql"

WRITERS = {"gateway", "rater", "invoicer", "migrate", "deploy"}

#: Everything that was made, one line each, in an order of its own.
INVENTORY = """
SELECT 'column', format('%s.%s %s %s %s %s', c.relname, a.attname,
       format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
       a.attidentity, pg_get_expr(d.adbin, d.adrelid)) AS line
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
  AND NOT a.attisdropped
UNION ALL
SELECT 'table', format('%s %s %s %s %s %s', relname, relkind, reloptions, relrowsecurity, relacl,
       obj_description(oid))
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
UNION ALL
SELECT 'constraint', format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class c ON c.oid = indexrelid
WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
UNION ALL
SELECT 'policy', format('%s %s %s %s %s', tablename, policyname, roles, cmd, qual)
FROM pg_policies WHERE schemaname = 'public'
ORDER BY 1, 2
"""

TABLES = """
SELECT c.relname AS name, obj_description(c.oid) AS comment
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition AND c.relname <> 'schema_migration'
ORDER BY 1
"""


async def inventory(dsn: str) -> list[str]:
    """List everything in a database, but the table by which migrations know themselves."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(INVENTORY)
    finally:
        await connection.close()
    return [row["line"] for row in rows if "schema_migration" not in row["line"]]


async def test_the_schema_is_what_the_migrations_make(servers: Servers, database: str) -> None:
    name = f"schema_{uuid.uuid4().hex}"
    async with temporary_database(servers.postgres, name, template="template1") as dsn:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(SCHEMA.read_text())
        finally:
            await connection.close()
        assert await inventory(dsn) == await inventory(database)


async def test_every_table_names_its_one_writer(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        tables = await connection.fetch(TABLES)
    finally:
        await connection.close()
    assert tables
    for table in tables:
        match = re.match(r"Writer: (\w+)", table["comment"] or "")
        assert match, f"{table['name']} does not say who writes it"
        assert match[1] in WRITERS, f"{table['name']} is written by {match[1]}"


async def test_every_table_with_a_tenant_shows_a_tenant_its_own_rows_alone(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        unguarded = await connection.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') "
            "AND NOT c.relispartition AND a.attname = 'tenant_id' AND NOT a.attisdropped "
            "AND NOT (c.relrowsecurity AND EXISTS (SELECT FROM pg_policy p "
            "WHERE p.polrelid = c.oid))"
        )
    finally:
        await connection.close()
    assert [row["relname"] for row in unguarded] == []
