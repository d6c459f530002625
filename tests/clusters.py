"""Three Kafka brokers on one machine, each of which can be killed, stalled and started again."""

import base64
import secrets
import subprocess
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.children import Child, ChildSpec
from deploy.local.jvm import Jvm, find_jvm
from deploy.local.kafka import LOG_QUIETLY, LOGGING, PROPERTIES
from deploy.local.ports import LOOPBACK, free_port, is_free

NODES = 3

#: What differs from the broker that is alone; the later line of two wins.
CLUSTERED = """
node.id={node}
controller.quorum.voters={voters}
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
replica.lag.time.max.ms=5000
"""


class Cluster:
    """Brokers 1 to 3, each its own controller's peer; started with `start`."""

    def __init__(self, directory: Path) -> None:
        jvm = find_jvm()
        ports = [(free_port(), free_port()) for _ in range(NODES)]
        voters = ",".join(f"{n}@{LOOPBACK}:{port}" for n, (_, port) in enumerate(ports, 1))
        cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        self.bootstrap = ",".join(f"{LOOPBACK}:{port}" for port, _ in ports)
        self._specs = {
            node: _plan(
                directory / str(node),
                PROPERTIES.format(
                    host=LOOPBACK,
                    port=port,
                    controller_port=controller_port,
                    data=directory / str(node) / "data",
                )
                + CLUSTERED.format(node=node, voters=voters),
                cluster_id.replace("-", "_"),
                jvm,
                port,
            )
            for node, (port, controller_port) in enumerate(ports, 1)
        }
        self._children: dict[int, Child] = {}

    def start(self, *nodes: int) -> None:
        """Start some brokers, all unless they are named; wait until they listen."""
        chosen = nodes or tuple(self._specs)
        for node in chosen:
            self._children[node] = Child(self._specs[node])
        for node in chosen:
            self._children[node].wait_ready()

    def pid(self, node: int) -> int:
        """Return the process of a broker."""
        return self._children[node].pid

    def kill(self, *nodes: int) -> None:
        """End some brokers with SIGKILL, all unless they are named."""
        for node in nodes or tuple(self._children):
            self._children[node].kill()

    async def leaders(self, topic: str) -> dict[int, int]:
        """Return the leader of each partition; -1 where there is none."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            (description,) = await admin.describe_topics([topic])
        finally:
            await admin.close()
        return {part["partition"]: part["leader"] for part in description["partitions"]}


def _plan(directory: Path, properties: str, cluster_id: str, jvm: Jvm, port: int) -> ChildSpec:
    directory.mkdir(parents=True)
    file = directory / "server.properties"
    file.write_text(properties)
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(file))
    subprocess.run(jvm.command(LOG_QUIETLY, *tool), check=True, capture_output=True)
    return ChildSpec(
        name=f"kafka-{directory.name}",
        command=jvm.command(*LOGGING, "kafka.Kafka", str(file)),
        log=directory / "kafka.log",
        is_ready=lambda _: not is_free(port),
        ready_seconds_max=120.0,
        working_directory=directory,
    )
