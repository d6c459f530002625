"""`meterline gateway|rater|invoicer`: one service in the foreground, configured by METERLINE_*."""

import os
import runpy


def gateway(*, processes: int | None = None, fast_lane: bool | None = None) -> None:
    """Run the HTTP service: usage events in, reference data, documents.

    Reads METERLINE_KAFKA, METERLINE_POSTGRES, METERLINE_TOPIC_PREFIX and METERLINE_GATEWAY_*.

    For example:

        METERLINE_GATEWAY_PORT=8080 meterline gateway --processes 4

    Parameters
    ----------
    processes:
        How many share the port; METERLINE_GATEWAY_PROCESSES otherwise.
    fast_lane:
        Answer plain requests for events without the HTTP framework, as METERLINE_GATEWAY_FAST_LANE.
    """
    if processes is not None:
        os.environ["METERLINE_GATEWAY_PROCESSES"] = str(processes)
    if fast_lane is not None:
        os.environ["METERLINE_GATEWAY_FAST_LANE"] = str(fast_lane).lower()
    runpy.run_module("gateway", run_name="__main__")


def rater() -> None:
    """Run the consumer that folds usage events into charges.

    Reads METERLINE_KAFKA, METERLINE_POSTGRES, METERLINE_TOPIC_PREFIX and METERLINE_RATER_*.

    For example:

        METERLINE_RATER_PORT=8081 meterline rater
    """
    runpy.run_module("rater", run_name="__main__")


def invoicer() -> None:
    """Run the consumer that turns closed periods into issued documents.

    Reads METERLINE_KAFKA, METERLINE_POSTGRES, METERLINE_TOPIC_PREFIX and METERLINE_INVOICER_*.

    For example:

        METERLINE_INVOICER_PORT=8082 meterline invoicer
    """
    runpy.run_module("invoicer", run_name="__main__")
