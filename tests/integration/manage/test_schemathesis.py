"""What is described is what happens: requests made from the description, and answers held to it.

Schemathesis reads `/openapi.json`, makes requests that fit it and requests that don't, and judges
every answer by the status, the headers, the form and the schema that are described.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import make_shop

SEED = 20_240_205

#: What the others would be tested with is at an end afterwards, or takes a password's time.
LEFT_OUT = ("/auth/login", "/auth/logout")

NOT_HELD = (
    "positive_data_acceptance",  # a schema can't say which refs there are
    "negative_data_rejection",  # null and an empty text count as left out, whatever the field
    "allow_header_conformance",  # /api/customers/names is also a /api/customers/{customer_ref}
    "unsupported_method",  # so is what is asked of it by another verb: it is no ref, 404
)


def run(client: Client, *options: str) -> int:
    """Let schemathesis loose on the gateway; how many requests it has judged and found right."""
    program = Path(sys.executable).with_name("schemathesis")
    left_out = [word for path in LEFT_OUT for word in ("--exclude-path", path)]
    headers = [f"--header={name}: {value}" for name, value in client.headers.items()]
    done = subprocess.run(
        [
            program, "run", f"{client.url}/openapi.json", *headers, *left_out,
            "--exclude-path-regex", "^/swagger", f"--exclude-checks={','.join(NOT_HELD)}",
            "--suppress-health-check=all", f"--seed={SEED}", "--no-color", *options,
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    metrics = requests.get(f"{client.url}/metrics", timeout=30).text
    assert "\ngateway_errors_total 0.0\n" in metrics
    judged = re.search(r"([\d,]+) generated", done.stdout)
    assert judged is not None, done.stdout
    return int(judged[1].replace(",", ""))


def test_some_hundred_requests_are_answered_as_described(client: Client) -> None:
    make_shop(client)
    options = ("--phases=examples,fuzzing", "--max-examples=3", "--generation-deterministic")
    assert run(client, *options) >= 200


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(
    ("phases", "least"),
    [
        ("examples,coverage,fuzzing", 20_000),
        ("stateful", 100),  # with a login of its own: the other one takes as long as a token lasts
    ],
)
def test_twenty_thousand_requests_are_answered_as_described(
    client: Client, phases: str, least: int
) -> None:
    make_shop(client)
    assert run(client, f"--phases={phases}", "--max-examples=400") >= least
