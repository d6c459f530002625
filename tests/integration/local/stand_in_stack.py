"""A program for the tests here: the stack with stand-ins for the services.

`stand_in_stack.py STATE [GATEWAY_PORT]` runs the stack; BROKEN_SERVICE in the environment names a
service that ends at once. `stand_in_stack.py --serve PORT` is such a stand-in.
"""

import os
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from deploy.cli.up import JsonReport
from deploy.local.children import ChildSpec
from deploy.local.errors import StackError
from deploy.local.servers import Servers
from deploy.local.stack import meterline_services, run_stack


class Ready(BaseHTTPRequestHandler):
    """Ready for whoever asks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def stand_ins(servers: Servers, ports: dict[str, int], logs: Path) -> list[ChildSpec]:
    """Keep the services' specs, all but their programs."""
    return [
        replace(spec, command=stand_in(spec.name, ports[spec.name]))
        for spec in meterline_services(servers, ports, logs)
    ]


def stand_in(name: str, port: int) -> tuple[str, ...]:
    if name == os.environ.get("BROKEN_SERVICE"):
        return (sys.executable, "-c", "raise SystemExit('no such meter')")
    return (sys.executable, __file__, "--serve", str(port))


def main(arguments: list[str]) -> None:
    if arguments[0] == "--serve":
        HTTPServer(("127.0.0.1", int(arguments[1])), Ready).serve_forever()
    port = int(arguments[1]) if len(arguments) > 1 else None
    try:
        run_stack(Path(arguments[0]), JsonReport(), gateway_port=port, services=stand_ins)
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
