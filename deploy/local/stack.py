"""The whole stack, from nothing to ready: two servers, the schema, three services."""

import asyncio
import http.client
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Protocol

from deploy.local.bootstrap import Credentials, prepare
from deploy.local.children import Child, ChildSpec
from deploy.local.errors import PortTaken
from deploy.local.jars import Progress
from deploy.local.kafka import plan_kafka
from deploy.local.ports import LOOPBACK, free_port, is_free
from deploy.local.postgres import create_database, plan_postgres
from deploy.local.servers import TOPIC_PREFIX_VARIABLE, Servers, servers_in_environment
from deploy.local.state import ProcessId, StackRecord, StateDirectory, hold
from deploy.local.supervisor import Supervisor

SERVICES = ("gateway", "rater", "invoicer")
GATEWAY_PORT = 8080
PROBE_SECONDS_MAX = 2.0
SERVICE_STOP_SECONDS_MAX = 30.0  # a gateway takes 20 to finish the requests in hand
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Report(Protocol):
    """How a person or a program is told what happens."""

    #: Told about files fetched; None where nobody looks.
    progress: Progress | None

    def step(self, name: str) -> AbstractContextManager[None]:
        """Enclose one step of the start."""

    def tell(self, sentence: str) -> None:
        """Say that something happened by itself: a service died, or is back."""

    def ready(self, record: StackRecord, state: Path) -> None:
        """Say that the stack is ready, and where."""


#: Makes the services' specs from the servers, their ports by name, and the directory for logs.
ServiceSpecs = Callable[[Servers, dict[str, int], Path], Sequence[ChildSpec]]


class StopRequested(BaseException):
    """SIGINT or SIGTERM came."""


def meterline_services(servers: Servers, ports: dict[str, int], logs: Path) -> list[ChildSpec]:
    """Specify the three services, each told its servers and its HTTP port."""
    return [_service(name, servers, ports[name], logs) for name in SERVICES]


def run_stack(
    state: Path,
    report: Report,
    *,
    gateway_port: int | None = None,
    services: ServiceSpecs = meterline_services,
) -> None:
    """Run the stack on a state directory until SIGINT or SIGTERM; return once all has stopped.

    gateway_port: exactly this one; None takes the last one used, or any. Raises StackError when
    it cannot start, with everything stopped again.
    """
    if gateway_port is not None and not is_free(gateway_port):
        raise PortTaken(f"port {gateway_port} is taken; stop what listens on it or pass another")
    with hold(state) as held:
        for name in held.end_stale_processes():
            report.tell(f"ended {name}, which an earlier stack left running")
        held.update(gateway_url="")
        supervisor = Supervisor(tell=report.tell, changed=lambda now: _note_children(held, now))
        with _StopSignals(supervisor) as signals:
            try:
                _start(supervisor, held, report, gateway_port, services)
                report.ready(held.record, held.path)
                supervisor.watch()
            except StopRequested:
                report.tell("stopping")
            finally:
                signals.is_stopping = True
                supervisor.stop()
                held.update(processes=(), gateway_url="")


def _start(
    supervisor: Supervisor,
    held: StateDirectory,
    report: Report,
    gateway_port: int | None,
    services: ServiceSpecs,
) -> None:
    servers = servers_in_environment() or _start_servers(supervisor, held, report)
    prefix = os.environ.get(TOPIC_PREFIX_VARIABLE, "")
    wanted = _credentials(held)
    with report.step("schema, topics and first key"):
        usable = asyncio.run(prepare(servers.kafka, servers.postgres, prefix, credentials=wanted))
    ports = _service_ports(held, gateway_port)
    with report.step(", ".join(SERVICES)):
        supervisor.start(services(servers, ports, held.path / "logs"))
    held.update(
        kafka=servers.kafka,
        postgres=servers.postgres,
        topic_prefix=prefix,
        api_key=usable.api_key if usable else None,
        api_password=usable.api_password if usable else None,
        admin_email=usable.admin_email if usable else None,
        admin_password=usable.admin_password if usable else None,
        gateway_url=f"http://{LOOPBACK}:{ports['gateway']}",
    )


def _start_servers(supervisor: Supervisor, held: StateDirectory, report: Report) -> Servers:
    """Start Postgres and Kafka on the ports of last time where they are free."""
    ports = held.record.ports
    with report.step("PostgreSQL"):
        postgres = plan_postgres(held.path / "postgres", port=ports.get("postgres"))
        supervisor.start([postgres.spec])
        asyncio.run(create_database(postgres))
    with report.step("Apache Kafka"):
        kafka = plan_kafka(held.path / "kafka", port=ports.get("kafka"), progress=report.progress)
        supervisor.start([kafka.spec])
    held.update(ports={**ports, "postgres": postgres.port, "kafka": kafka.port})
    return Servers(kafka=kafka.bootstrap, postgres=postgres.dsn)


def _credentials(held: StateDirectory) -> Credentials:
    """Return the first key and admin that are to be, written down before they are made."""
    names = ("api_key", "api_password", "admin_email", "admin_password")
    known = {name: getattr(held.record, name) for name in names}
    if all(known.values()):
        return Credentials(**known)
    made = Credentials()
    held.update(**{name: getattr(made, name) for name in names})
    return made


def _service_ports(held: StateDirectory, gateway_port: int | None) -> dict[str, int]:
    """Choose the services' ports, the same as last time where they are free."""
    last = held.record.ports
    ports = {name: free_port(last.get(name)) for name in SERVICES}
    ports["gateway"] = gateway_port or free_port(last.get("gateway", GATEWAY_PORT))
    held.update(ports={**last, **ports})
    return ports


def _service(name: str, servers: Servers, port: int, logs: Path) -> ChildSpec:
    return ChildSpec(
        name=name,
        # -P: a directory named like a service, where the person stands, is not imported.
        command=(sys.executable, "-P", "-m", name),
        env={**servers.env(), f"METERLINE_{name.upper()}_PORT": str(port)},
        log=logs / f"{name}.log",
        is_ready=lambda _: answers_ready(port),
        stop_seconds_max=SERVICE_STOP_SECONDS_MAX,
    )


def answers_ready(port: int) -> bool:
    """Tell whether GET /readyz on the port says 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_SECONDS_MAX)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _note_children(held: StateDirectory, children: Sequence[Child]) -> None:
    """Write down what runs, so that the next start finds what we may leave behind."""
    found = (ProcessId.of(child.spec.name, child.pid) for child in children)
    held.update(processes=tuple(process for process in found if process is not None))


class _StopSignals:
    """Turns the first SIGINT or SIGTERM into StopRequested; a later one hurries the stop."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        #: Set when the stop has begun, for whatever reason.
        self.is_stopping = False

    def __enter__(self) -> "_StopSignals":
        self._before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_stopping:
            self._supervisor.kill()
            return
        self.is_stopping = True
        raise StopRequested
