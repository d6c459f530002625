"""`meterline contracts`, as a shell calls it."""

import json
import os
import subprocess
import sys

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import contract_body, make_shop


def run(client: Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "METERLINE_KAFKA": "127.0.0.1:1",
        "METERLINE_POSTGRES": client.postgres,
        "PYTHONUTF8": "1",
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", *arguments],
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_a_history_is_shown_to_people_and_to_programs(client: Client) -> None:
    shop = make_shop(client)
    ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    client.ok("POST", f"/api/contracts/edit/{ref}", {"po_number": "PO-77"})
    done = run(client, "contracts", "history", ref)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"Contract {ref}: ACTIVE, ENDED"
    assert [line.split()[-3:] for line in lines if "PO-77" in line] == [
        ["edited", "po_number", '"PO-77"']
    ]
    as_json = json.loads(run(client, "contracts", "history", ref, "--json").stdout)
    answer = client.ok("GET", f"/api/contracts/history/{ref}")
    assert as_json["entries"] == answer["entries"]


def test_what_is_no_contract_is_told_in_one_line(client: Client) -> None:
    for name in ("x", "00000000-0000-4000-8000-00000000dead"):
        done = run(client, "contracts", "history", name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("meterline: ")
        assert done.stderr.count("\n") == 1
