"""Logs: one JSON line a unit of work on standard output, readable lines on a terminal.

An event's name is constant and in the past tense (`batch_saved`), facts are fields, ids among
them; never keys, passwords, addresses of people, or bodies.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final


@contextmanager
def _without(library: str) -> Iterator[None]:
    """Let what is imported in the block find that a library is absent, unless it is there already.

    For an optional one that a service never uses: structlog would load rich and pygments, 3 MiB
    and a tenth of a second of CPU at each start, for tracebacks that JSON lines don't have.
    """
    if library in sys.modules:
        yield
        return
    sys.modules[library] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[library]


with _without("rich"):
    import structlog

get_logger: Final = structlog.get_logger
"""Everybody's way to a logger: who imported structlog first would decide what comes with it."""


def configure_logging(service: str, level: str = "info") -> None:
    """Set up structlog and the standard library's loggers for this process."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if sys.stdout.isatty()
        else structlog.processors.JSONRenderer()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # The libraries' own progress is noise below warning, whatever level ours has.
    root.setLevel(max(number, logging.WARNING))
