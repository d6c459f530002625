"""Make servers ready for the services: the schema, the topics, the first tenant and its key.

Every step looks at what is there and adds what is missing, so all of it may be run again at any
time, by several processes at once.
"""

import secrets
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from deploy.local.errors import StackError
from runtime.migrations import MigrationError, migrate
from runtime.passwords import generate_password, hash_password
from runtime.postgres import Queries
from schemas.topics import (
    BILLING_ALERTS,
    BILLING_PERIODS,
    DEAD_EVENTS,
    TOPIC_SETTINGS,
    USAGE_EVENTS,
)

MIGRATIONS = Path(__file__).parents[2] / "schemas" / "sql" / "migrations"
PARTITIONS = 8
REPLICAS_MAX = 3
ADMIN_TIMEOUT_MS = 30_000
SCOPES = ("usage:write", "usage:read", "billing:read", "billing:write", "admin")
DEFAULT_NAME, DEFAULT_TIMEZONE, DEFAULT_CURRENCY = "Default", "UTC", "USD"

queries = Queries.beside(__file__, "bootstrap.sql")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """An API key, an admin, and their passwords, as they are sent to `POST /auth/login`."""

    api_key: str = field(default_factory=lambda: f"meterline-{secrets.token_hex(8)}")
    api_password: str = field(default_factory=generate_password, repr=False)
    admin_email: str = "admin@example.com"
    admin_password: str = field(default_factory=generate_password, repr=False)


async def prepare(
    kafka: str,
    postgres: str,
    topic_prefix: str = "",
    *,
    partitions: int = PARTITIONS,
    credentials: Credentials | None = None,
) -> Credentials | None:
    """Migrate the database, make the topics, and in an empty database the first tenant.

    partitions: of new topics; those of existing ones are never changed. credentials: what the
    first key shall be; made up when absent. Returns the key that this database knows, now or
    since an earlier call with the same one; None if its tenants have others. A key made up here
    is told by nothing but the answer. Raises StackError when what exists does not fit.
    """
    try:
        await migrate(postgres, MIGRATIONS)
    except MigrationError as error:
        raise StackError(str(error)) from error
    await prepare_log(kafka, postgres, topic_prefix, partitions=partitions)
    first = credentials or Credentials()
    is_usable = await add_first_tenant(postgres, first) or await _is_key(postgres, first.api_key)
    return first if is_usable else None


async def prepare_log(kafka: str, postgres: str, topic_prefix: str, *, partitions: int) -> None:
    """Make the topics, and the rows by which the database knows the log that it rates."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, request_timeout_ms=ADMIN_TIMEOUT_MS)
    await admin.start()
    try:
        connection = await asyncpg.connect(postgres)
        try:
            async with connection.transaction():
                await connection.execute(queries.lock_bootstrap)
                await _prepare_log(admin, connection, topic_prefix, partitions)
        finally:
            await connection.close()
    finally:
        await admin.close()


async def add_first_tenant(postgres: str, credentials: Credentials) -> bool:
    """Make a tenant with an entity, a key and an admin of every scope, unless there is one."""
    connection = await asyncpg.connect(postgres)
    try:
        async with connection.transaction():
            await connection.execute(queries.lock_bootstrap)
            if await connection.fetchval(queries.has_tenant):
                return False
            await _add_tenant(connection, credentials)
            return True
    finally:
        await connection.close()


async def _is_key(postgres: str, api_key: str) -> bool:
    connection = await asyncpg.connect(postgres)
    try:
        found: bool = await connection.fetchval(queries.has_api_key, api_key)
        return found
    finally:
        await connection.close()


async def _add_tenant(connection: asyncpg.Connection, credentials: Credentials) -> None:
    tenant_id = await connection.fetchval(queries.add_tenant, uuid.uuid4(), DEFAULT_NAME)
    entity = (uuid.uuid4(), DEFAULT_NAME, DEFAULT_TIMEZONE, DEFAULT_CURRENCY)
    await connection.execute(queries.add_default_entity, tenant_id, *entity)
    key = (uuid.uuid4(), credentials.api_key, hash_password(credentials.api_password))
    await connection.execute(queries.add_api_key, tenant_id, *key, list(SCOPES))
    admin = (uuid.uuid4(), credentials.admin_email, hash_password(credentials.admin_password))
    await connection.execute(queries.add_admin, tenant_id, *admin, list(SCOPES))


async def _prepare_log(
    admin: AIOKafkaAdminClient, connection: asyncpg.Connection, topic_prefix: str, partitions: int
) -> None:
    """Bring the topics and the database's word about them together."""
    topic = topic_prefix + USAGE_EVENTS
    known = await connection.fetchrow(queries.find_log)
    existing = await _partition_counts(admin)
    if known is None:
        await _create_topics(admin, topic_prefix, partitions, existing)
        log_id, count = uuid.uuid4(), existing.get(topic, partitions)
        await connection.execute(queries.add_log, log_id, topic, count)
        await connection.execute(queries.add_log_partitions, log_id, count)
        return
    if known["topic"] != topic:
        raise StackError(
            f"this database rates the topic {known['topic']}, not {topic}: "
            "use the topic prefix it was made with, or another database"
        )
    if existing.get(topic) != known["partitions"]:
        raise StackError(
            f"topic {topic} had {known['partitions']} partitions when this database was made and "
            f"now has {existing.get(topic, 0)}: it is not the log that was rated"
        )
    await _create_topics(admin, topic_prefix, known["partitions"], existing)


async def _create_topics(
    admin: AIOKafkaAdminClient, prefix: str, partitions: int, existing: dict[str, int]
) -> None:
    """Create the topics that do not exist, replicated as far as there are brokers."""
    brokers = len((await admin.describe_cluster())["brokers"])
    counts = {
        USAGE_EVENTS: partitions,
        BILLING_PERIODS: partitions,
        BILLING_ALERTS: 1,
        DEAD_EVENTS: 1,
    }
    missing = [
        NewTopic(
            name=prefix + name,
            num_partitions=count,
            replication_factor=min(brokers, REPLICAS_MAX),
            topic_configs=dict(TOPIC_SETTINGS[name]),
        )
        for name, count in counts.items()
        if prefix + name not in existing
    ]
    if not missing:
        return
    response = await admin.create_topics(missing, timeout_ms=ADMIN_TIMEOUT_MS)
    for name, code, *detail in response.topic_errors:
        error: type[KafkaError] = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:
            raise StackError(f"topic {name} could not be made: {error.__name__} {detail}")


async def _partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Return every topic of the cluster and how many partitions it has."""
    names = await admin.list_topics()
    topics = await admin.describe_topics(names) if names else []
    return {topic["topic"]: len(topic["partitions"]) for topic in topics}
