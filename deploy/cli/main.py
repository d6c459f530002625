"""The `meterline` command: one file a group of commands, joined here, each imported when used."""

import sys
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Final

from cyclopts import App

from deploy.local.errors import StackError
from schemas.errors import BillingError

COMMANDS: Final = {
    "up": "deploy.cli.up:up",
    "demo": "deploy.cli.demo:demo",
    "close": "deploy.cli.close:close",
    "verify": "deploy.cli.verify:verify",
    "explain": "deploy.cli.explain:explain",
    "journal": "deploy.cli.journal:journal",
    "documents": "deploy.cli.documents:documents",
    "contracts": "deploy.cli.contracts:contracts",
    "migrate": "deploy.cli.migrate:migrate",
    "gateway": "deploy.cli.services:gateway",
    "rater": "deploy.cli.services:rater",
    "invoicer": "deploy.cli.services:invoicer",
    "admin": "deploy.cli.admin:admin",
    "bench": "deploy.cli.bench:bench",
    "events": "deploy.cli.events:events",
    "uploads": "deploy.cli.uploads:uploads",
    "archive": "deploy.cli.archive:archive",
    "dead": "deploy.cli.dead:dead",
    "simulate": "deploy.cli.simulate:simulate_command",
    "periods": "deploy.cli.periods:periods_command",
}


def make_app(arguments: Sequence[str]) -> App:
    """Join the commands. One that is named is imported alone; for the list of them, all are."""
    app = App(
        name="meterline",
        help="Usage-based billing, from the event to the paid invoice.",
        help_format="markdown",
    )
    is_named = bool(arguments) and arguments[0] in COMMANDS
    for name, place in COMMANDS.items():
        app.command(place if is_named else resolve_name(place), name=name)
    return app


def main() -> None:
    """Run the command line; an error that a person can act on is one message and an exit code."""
    try:
        arguments = sys.argv[1:]
        make_app(arguments)(arguments)
    except StackError as error:
        sys.stderr.write(f"meterline: {error}\n")
        sys.exit(error.exit_code)
    except BillingError as error:
        sys.stderr.write(f"meterline: {error.detail}\n")
        sys.exit(1)
