"""Preparing servers: again and again, and never over something that does not fit."""

import asyncpg
import pytest

from deploy.local.bootstrap import SCOPES, Credentials, add_first_tenant, prepare, prepare_log
from deploy.local.errors import StackError
from deploy.local.servers import Servers
from runtime.passwords import match_password


async def test_the_database_knows_its_log_and_every_partition(
    database: str, topic_prefix: str
) -> None:
    connection = await asyncpg.connect(database)
    try:
        log = await connection.fetchrow("SELECT topic, partitions FROM event_log")
        partitions = await connection.fetch("SELECT partition FROM rater_partition ORDER BY 1")
    finally:
        await connection.close()
    assert log is not None
    assert tuple(log) == (topic_prefix + "usage.events.v1", 4)
    assert [row["partition"] for row in partitions] == [0, 1, 2, 3]


async def test_preparing_again_changes_nothing(
    servers: Servers, database: str, topic_prefix: str
) -> None:
    first = Credentials()
    for _ in range(2):
        assert await prepare(servers.kafka, database, topic_prefix, credentials=first) == first


async def test_where_there_is_a_tenant_no_key_is_added(
    servers: Servers, database: str, topic_prefix: str
) -> None:
    assert await prepare(servers.kafka, database, topic_prefix) is not None
    assert await prepare(servers.kafka, database, topic_prefix) is None


async def test_the_first_key_has_every_scope_in_a_tenant_with_one_entity(database: str) -> None:
    credentials = Credentials()
    assert await add_first_tenant(database, credentials)
    connection = await asyncpg.connect(database)
    try:
        key = await connection.fetchrow(
            "SELECT k.password_hash, k.scopes FROM api_key k JOIN tenant t USING (tenant_id) "
            "JOIN entity e ON (e.tenant_id, e.entity_id) = (t.tenant_id, t.default_entity_id) "
            "WHERE k.api_key = $1",
            credentials.api_key,
        )
    finally:
        await connection.close()
    assert key is not None
    assert match_password(credentials.api_password, [key["password_hash"]], "") == 0
    assert key["scopes"] == list(SCOPES)


async def test_a_database_that_rates_another_topic_is_refused(
    servers: Servers, database: str, topic_prefix: str
) -> None:
    with pytest.raises(StackError, match="use the topic prefix it was made with"):
        await prepare_log(servers.kafka, database, topic_prefix + "other.", partitions=1)
