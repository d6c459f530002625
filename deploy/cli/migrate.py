"""`meterline migrate`: make the servers ready for the services."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from deploy.local.bootstrap import PARTITIONS, prepare
from deploy.local.find import find_stack


def migrate(
    *,
    state: Annotated[Path | None, Parameter(name="--state")] = None,
    partitions: Annotated[int, Parameter(name="--partitions")] = PARTITIONS,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Migrate the database, make missing topics, and in an empty database the first tenant.

    May be run at any time, by several at once; what exists is left as it is. The servers are
    those of METERLINE_KAFKA and METERLINE_POSTGRES, or of the stack that runs on --state.

    For example:

        METERLINE_KAFKA=... METERLINE_POSTGRES=... meterline migrate
        meterline migrate --partitions 32 --json

    Parameters
    ----------
    state
        Directory of a running stack.
    partitions
        Of the topic of usage events, when it is made now; the number never changes after.
    as_json
        Print one JSON line: api_key, api_password, admin_email and admin_password, null unless
        they were made now.
    """
    address = find_stack(state, os.environ)
    made = asyncio.run(
        prepare(address.kafka, address.postgres, address.topic_prefix, partitions=partitions)
    )
    if as_json:
        names = ("api_key", "api_password", "admin_email", "admin_password")
        line = msgspec.json.encode({name: getattr(made, name, None) for name in names})
        sys.stdout.write(line.decode() + "\n")
        return
    sys.stdout.write("The database and the topics are ready.\n")
    if made:
        sys.stdout.write(
            f"api key   {made.api_key}\npassword  {made.api_password}\n"
            f"admin     {made.admin_email}\npassword  {made.admin_password}\n"
            "Shown this once: keep them.\n"
        )
