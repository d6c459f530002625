"""`meterline up`: the whole stack on this machine, for evaluation."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from deploy.local.jars import Progress
from deploy.local.progress import fetch_progress
from deploy.local.stack import run_stack
from deploy.local.state import DEFAULT_STATE, StackRecord

CURL = """\
[bold]Log in[/] (the token lasts an hour)
  TOKEN=$(curl -s {url}/auth/login -H 'Content-Type: application/json' \\
    -d '{{"api_key": "{api_key}", "password": "{api_password}"}}' | tr -d '"')

[bold]Send an event[/] of a customer and a meter that you made
  curl -s {url}/api/usage/event -H "Authorization: Bearer $TOKEN" -H 'Version: V0' \\
    -d '{{"timestamp": "{now}", "customer_ref": "'$CUSTOMER'", \\
         "usage_product_ref": "'$METER'", "quantity": 1, "idempotency_key": "first"}}'
"""


def up(
    *,
    state: Annotated[Path, Parameter(name="--state")] = DEFAULT_STATE,
    gateway_port: Annotated[int | None, Parameter(name="--gateway-port")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Start Kafka, PostgreSQL, the gateway, the rater and the invoicer; stop all with Ctrl-C.

    Needs neither Docker nor anything installed beside the Python packages. The first start
    fetches Kafka (45 MB) from Maven Central. All data is in the state directory: a second start
    goes on where the first stopped. With METERLINE_KAFKA and METERLINE_POSTGRES set, those
    servers are used and only the services are started.

    For evaluation, not for production: one broker, one disk, loopback only.

    For example:

        meterline up
        meterline up --state /tmp/trial --gateway-port 8080
        meterline up --json

    Parameters
    ----------
    state
        Directory of the stack's data, logs and key. One stack at a time can use it.
    gateway_port
        The HTTP port, which must be free; without it the last one used, else any.
    as_json
        Print one JSON line when ready: gateway_url, kafka, postgres, api_key, api_password,
        admin_email, admin_password. What happens later goes to standard error.
    """
    run_stack(state, JsonReport() if as_json else TerminalReport(), gateway_port=gateway_port)


class JsonReport:
    """One line for a program on standard output; sentences for people on standard error."""

    progress: Progress | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say nothing of a step."""
        yield

    def tell(self, sentence: str) -> None:
        """Write the sentence to standard error."""
        sys.stderr.write(f"meterline: {sentence}\n")
        sys.stderr.flush()

    def ready(self, record: StackRecord, state: Path) -> None:
        """Print the line."""
        addresses, secrets = ("gateway_url", "kafka", "postgres"), ("api_key", "api_password")
        fields = (*addresses, *secrets, "admin_email", "admin_password")
        line = msgspec.json.encode({name: getattr(record, name) for name in fields})
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()


class TerminalReport:
    """A checklist, then a box that says where everything is."""

    progress: Progress | None

    def __init__(self) -> None:
        """Show progress only where it can be drawn over."""
        self._console = Console(highlight=False)
        self.progress = fetch_progress(self._console)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tick the step off with the time it took, or cross it."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._console.print(f"[red]✗[/] {name}")
            raise
        self._console.print(f"[green]✓[/] {name} [dim]{time.monotonic() - began:.1f} s[/]")

    def tell(self, sentence: str) -> None:
        """Print the sentence below the box."""
        self._console.print(f"[yellow]•[/] {escape(sentence)}", soft_wrap=True)

    def ready(self, record: StackRecord, state: Path) -> None:
        """Print the addresses, the key, and how to send an event."""
        warning = "For evaluation, not for production: one broker, loopback only."
        self._console.print(Panel(warning, border_style="yellow", expand=False))
        rows = {
            "gateway": record.gateway_url,
            "kafka": record.kafka,
            "postgres": record.postgres,
            "api key": record.api_key or "this database had tenants before: use a key of theirs",
            "password": record.api_password or "",
            "admin": record.admin_email or "",
            "admin's": record.admin_password or "",
            "state": str(state),
        }
        for name, value in rows.items():
            if value:
                self._console.print(f"  [bold]{name:<9}[/] {escape(value)}", soft_wrap=True)
        self._console.print()
        if record.api_key is not None:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            curl = CURL.format(
                url=record.gateway_url,
                api_key=record.api_key,
                api_password=record.api_password,
                now=now,
            )
            self._console.print(curl, soft_wrap=True)
        self._console.print("Ctrl-C stops everything; the data stays.")
