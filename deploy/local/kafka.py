"""Apache Kafka from its own jars, as our child: one broker that is its own controller (KRaft)."""

import asyncio
import base64
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local.children import ChildSpec
from deploy.local.errors import StackError
from deploy.local.jars import Progress
from deploy.local.jvm import Jvm, find_jvm
from deploy.local.ports import LOOPBACK, free_port, is_free

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
ASK_TIMEOUT_MS = 2_000

LOG_QUIETLY = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
LOGGING = (
    LOG_QUIETLY,
    "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

#: The session is short because a broker that was killed is let in again only after it.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
log.retention.ms=-1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
"""


@dataclass(frozen=True, kw_only=True)
class Kafka:
    """A broker that is ready to be started."""

    spec: ChildSpec
    port: int

    @property
    def bootstrap(self) -> str:
        """host:port, as clients take it."""
        return f"{LOOPBACK}:{self.port}"


def plan_kafka(
    directory: Path,
    *,
    port: int | None = None,
    progress: Progress | None = None,
    jvm_options: tuple[str, ...] = (),
) -> Kafka:
    """Make ready the broker whose log is under `directory`, making it the first time.

    port: used if it is free; another is chosen otherwise. progress: told about jars fetched.
    jvm_options: beside our own. Raises JarsMissing, JarsRefused, and StackError if the log
    cannot be made.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    jvm = find_jvm(progress)
    chosen = free_port(port)
    properties = _write_properties(directory, chosen)
    cluster_id = _format_once(directory, properties, jvm)
    spec = ChildSpec(
        name="kafka",
        command=jvm.command(*jvm_options, *LOGGING, "kafka.Kafka", str(properties)),
        log=directory / "kafka.log",
        is_ready=lambda _: _is_ready(chosen, cluster_id),
        ready_seconds_max=START_SECONDS_MAX,
        working_directory=directory,
        stop_seconds_max=STOP_SECONDS_MAX,
    )
    return Kafka(spec=spec, port=chosen)


def _write_properties(directory: Path, port: int) -> Path:
    """Write the configuration of this start; the ports may differ from the last one's."""
    controller_port = free_port()
    data = directory / "data"
    file = directory / "server.properties"
    file.write_text(
        PROPERTIES.format(host=LOOPBACK, port=port, controller_port=controller_port, data=data)
    )
    return file


def _format_once(directory: Path, properties: Path, jvm: Jvm) -> str:
    """Format the log directory unless it is, and return the id of the cluster it belongs to."""
    meta = directory / "data" / "meta.properties"
    if not meta.exists():
        cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id.replace("-", "_"))
        result = subprocess.run(
            jvm.command(LOG_QUIETLY, *tool, "-c", str(properties)),
            check=False,
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise StackError(f"Kafka's log could not be formatted:\n{result.stderr}")
    lines = dict(line.split("=", 1) for line in meta.read_text().splitlines() if "=" in line)
    return lines["cluster.id"]


def _is_ready(port: int, cluster_id: str) -> bool:
    """Tell whether the broker with this cluster id answers: another one may hold the port."""
    return not is_free(port) and asyncio.run(_answering_cluster(port)) == cluster_id


async def _answering_cluster(port: int) -> str | None:
    """Ask the broker on the port for its cluster's id; None if it does not say."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=f"{LOOPBACK}:{port}", request_timeout_ms=ASK_TIMEOUT_MS
    )
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except (KafkaError, OSError):
        return None
    finally:
        await admin.close()
    found: str | None = cluster["cluster_id"]
    return found
