"""What both demonstrations need to tell their story: a console, a stack, a client of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.cli.demo_tables import print_conservation, step
from deploy.cli.verify import print_report
from deploy.demo.load import Names, Sent
from deploy.demo.story import LIMITS, fetch_pdf
from deploy.local.find import StackAddress
from deploy.verify.report import Report, run_checks
from meterline_client import AsyncClient

CURL = """\
Send an event of your own ({about}), from another terminal:
  TOKEN=$(curl -s {url}/auth/login \\
    -d '{{"api_key": "{api_key}", "password": "{api_password}"}}' | tr -d '"')
  curl -s {url}/api/usage/event -H "Authorization: Bearer $TOKEN" -H 'Version: V0' -d '{{
    "timestamp": "{now}", "customer_ref": "{customer_ref}",
    "usage_product_ref": "{meter_ref}", "quantity": 250, "idempotency_key": "my-first"}}'"""


@dataclass(frozen=True)
class Telling:
    """Where a story is told, and of which stack. folder: for its PDFs."""

    console: Console
    address: StackAddress
    folder: Path

    def client(self) -> AsyncClient:
        """Return a client of the stack's gateway."""
        address = self.address
        assert address.gateway_url
        assert address.api_key
        assert address.api_password
        return AsyncClient(
            address.gateway_url, address.api_key, address.api_password, limits=LIMITS
        )

    async def save_pdfs(
        self, client: AsyncClient, documents: Sequence[Mapping[str, Any]]
    ) -> list[Path]:
        """Wait until documents are drawn, and keep their PDFs; the paths in the same order."""
        paths = []
        with step(self.console, "PDFs drawn"):
            for document in documents:
                path = self.folder / f"{document['document_number']}.pdf"
                path.write_bytes(await fetch_pdf(client, document))
                paths.append(path)
        return paths

    async def prove(self, sent: Sent) -> Report:
        """Check every invariant, and set the sender's own ledger against the books."""
        report = await run_checks(self.address)
        print_report(self.console, report)
        print_conservation(self.console, report, sent)
        return report

    def curl(self, names: Names, customer: str, meter: str) -> str:
        """Return a command that sends one more event."""
        return CURL.format(
            url=self.address.gateway_url,
            api_key=self.address.api_key,
            api_password=self.address.api_password,
            customer_ref=names.customers[customer],
            meter_ref=names.meters[meter],
            about=f"250 {meter} of {customer}",
            now=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )
