"""The two servers alone, Postgres and Kafka: for tests, and for a developer who keeps them running.

`python -m deploy.local.servers [DIRECTORY]` starts them, prints the two variables with which
tests and commands find them, and stays until it is interrupted.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.children import Child
from deploy.local.kafka import plan_kafka
from deploy.local.postgres import create_database, plan_postgres

KAFKA_VARIABLE = "METERLINE_KAFKA"
POSTGRES_VARIABLE = "METERLINE_POSTGRES"
TOPIC_PREFIX_VARIABLE = "METERLINE_TOPIC_PREFIX"


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where the two servers are."""

    #: host:port of the broker.
    kafka: str
    #: Connection string of the product's database.
    postgres: str

    def env(self) -> dict[str, str]:
        """Return the variables by which services and commands find the servers."""
        return {KAFKA_VARIABLE: self.kafka, POSTGRES_VARIABLE: self.postgres}


def servers_in_environment() -> Servers | None:
    """Return the servers that the two variables name, None unless both are set."""
    kafka, postgres = os.environ.get(KAFKA_VARIABLE), os.environ.get(POSTGRES_VARIABLE)
    return Servers(kafka=kafka, postgres=postgres) if kafka and postgres else None


@contextmanager
def running_servers(directory: Path) -> Iterator[Servers]:
    """Run both servers on the data in `directory`; on leaving, stop them in reverse order."""
    with ExitStack() as stops:
        postgres = plan_postgres(directory / "postgres")
        kafka = plan_kafka(directory / "kafka")
        children = []
        for spec in (postgres.spec, kafka.spec):
            children.append(Child(spec))
            stops.callback(children[-1].stop)
        for child in children:
            child.wait_ready()
        asyncio.run(create_database(postgres))
        yield Servers(kafka=kafka.bootstrap, postgres=postgres.dsn)


def main() -> None:
    """Run both servers until SIGINT or SIGTERM."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "var/servers")
    stops = {signal.SIGINT, signal.SIGTERM}
    with running_servers(directory) as servers:
        signal.pthread_sigmask(signal.SIG_BLOCK, stops)
        for name, value in servers.env().items():
            sys.stdout.write(f"export {name}={value}\n")
        sys.stdout.flush()
        signal.sigwait(stops)


if __name__ == "__main__":
    main()
