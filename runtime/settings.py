"""Settings from the environment: read once at the start, typed, and misspelt names refused."""

import difflib
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta


class SettingsError(Exception):
    """The environment asks for something that can't be; the message names the variable."""


class CommonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service needs to know. Each field is METERLINE_<NAME> in the environment."""

    #: Kafka's bootstrap servers, comma separated.
    kafka: str
    #: Postgres as a URL.
    postgres: str
    #: Precedes the name of every topic, so that installations can share a cluster.
    topic_prefix: str = ""
    #: Where customers reach the gateway, for links to pages of documents, as https://bills.example.com
    #: (a path may follow). Empty: answers name the host that was asked, and mails have no link.
    public_url: Annotated[str, Meta(pattern=r"^(https?://[^/?#\s]+(/[^?#\s]*)?)?$")] = ""
    #: debug, info, warning or error.
    log_level: str = "info"


_Settings = TypeVar("_Settings", bound=CommonSettings)


def load(kind: type[_Settings], service: str, environment: Mapping[str, str]) -> _Settings:
    """Build a service's settings from METERLINE_<NAME> and METERLINE_<SERVICE>_<NAME>.

    Empty variables count as unset. Raises SettingsError naming every variable that is missing,
    unknown or out of range.
    """
    common = {name: f"METERLINE_{name.upper()}" for name in CommonSettings.__struct_fields__}
    prefix = f"METERLINE_{service.upper()}_"
    own = {name: prefix + name.upper() for name in kind.__struct_fields__ if name not in common}
    variables = common | own
    _refuse_unknown(prefix, set(own.values()), environment)
    values = {name: environment[var] for name, var in variables.items() if environment.get(var)}
    missing = [
        variables[field.name]
        for field in msgspec.structs.fields(kind)
        if field.required and field.name not in values
    ]
    if missing:
        raise SettingsError(f"not set: {', '.join(missing)}")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"METERLINE settings of the {service}: {error}") from error


def _refuse_unknown(prefix: str, known: set[str], environment: Mapping[str, str]) -> None:
    """Refuse METERLINE_<SERVICE>_… variables that nobody reads, with the nearest that is."""
    for variable in environment:
        if variable.startswith(prefix) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"unknown setting {variable}{hint}")
