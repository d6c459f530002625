"""Where a running stack is: how every command that talks to one finds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackNotFound
from deploy.local.servers import KAFKA_VARIABLE, POSTGRES_VARIABLE, TOPIC_PREFIX_VARIABLE
from deploy.local.state import DEFAULT_STATE, is_held, read_record


@dataclass(frozen=True, kw_only=True)
class StackAddress:
    """A running stack, as a command needs it."""

    kafka: str
    postgres: str
    topic_prefix: str = ""
    #: None for servers named by the environment: their gateway is not ours to know.
    gateway_url: str | None = None
    api_key: str | None = None
    api_password: str | None = None


def find_stack(state: Path | None, env: Mapping[str, str]) -> StackAddress:
    """Find the stack of a state directory, or the servers that the environment names.

    state: what `--state` said; without it the two variables decide, then the default directory.
    Raises StackNotFound, saying what was looked at.
    """
    if state is None and env.get(KAFKA_VARIABLE) and env.get(POSTGRES_VARIABLE):
        return StackAddress(
            kafka=env[KAFKA_VARIABLE],
            postgres=env[POSTGRES_VARIABLE],
            topic_prefix=env.get(TOPIC_PREFIX_VARIABLE, ""),
        )
    directory = (state or DEFAULT_STATE).resolve()
    record = read_record(directory)
    if not is_held(directory) or not record.gateway_url:
        raise StackNotFound(
            f"no stack runs in {directory}: start one with `meterline up --state {directory}`, "
            f"or name servers that run with {KAFKA_VARIABLE} and {POSTGRES_VARIABLE}"
        )
    return StackAddress(
        kafka=record.kafka,
        postgres=record.postgres,
        topic_prefix=record.topic_prefix,
        gateway_url=record.gateway_url,
        api_key=record.api_key,
        api_password=record.api_password,
    )
