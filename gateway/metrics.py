"""Every metric of the gateway. Labels come from small fixed sets."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EVENTS_ACCEPTED: Final = Counter(
    "gateway_events_accepted_total", "Events that Kafka has acknowledged."
)
EVENTS_REJECTED: Final = Counter(
    "gateway_events_rejected_total", "Events refused at the edge, by the first reason.", ["reason"]
)
UPLOADS: Final = Counter(
    "gateway_uploads_total", "Requests that brought a file of usage, by how they ended.", ["state"]
)
UPLOADS_UNDER_WAY: Final = Gauge(
    "gateway_uploads_under_way",
    "Files of usage that are being read.",
    multiprocess_mode="livesum",
)
UPLOAD_ROWS: Final = Counter(
    "gateway_upload_rows_total", "Rows of uploads that have their outcome.", ["outcome"]
)
NAMES_DIFFERING: Final = Counter(
    "gateway_names_differing_total",
    "Names that came beside a ref and were not its own; the ref counted.",
)
EVENTS_UNKNOWN: Final = Counter(
    "gateway_events_unknown_total", "Events whose outcome was unknown at the deadline."
)
PUBLISH_FAILURES: Final = Counter(
    "gateway_publish_failures_total", "Batches that Kafka did not acknowledge."
)
PUBLISH_SECONDS: Final = Histogram(
    "gateway_publish_duration_seconds",
    "From the first event of a batch to Kafka's acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
PRODUCERS_REBUILT: Final = Counter(
    "gateway_producers_rebuilt_total", "Producers thrown away after an error or a stall."
)
BATCHES_REFUSED: Final = Counter(
    "gateway_batches_refused_total", "Batches that were too large for the topic as it is set now."
)
OFFSETS_MISSING: Final = Counter(
    "gateway_acknowledgements_without_offset_total",
    "Batches acknowledged as already there, without their place in the log.",
)
IN_FLIGHT_BYTES: Final = Gauge(
    "gateway_in_flight_bytes",
    "Bytes of requests whose events are not acknowledged yet.",
    multiprocess_mode="livesum",
)
IN_FLIGHT_REQUESTS: Final = Gauge(
    "gateway_in_flight_requests",
    "Requests between their head and their answer.",
    multiprocess_mode="livesum",
)
REQUESTS_SHED: Final = Counter(
    "gateway_requests_shed_total", "Requests refused because a bound was reached.", ["bound"]
)
REQUESTS_TIMED_OUT: Final = Counter(
    "gateway_requests_timed_out_total",
    "Requests that were not sent in time, by the part that was missing.",
    ["part"],
)
CONNECTIONS_HANDED_OVER: Final = Counter(
    "gateway_connections_handed_over_total",
    "Connections that left the fast lane at a request that it doesn't answer.",
)
WAITS: Final = Counter(
    "gateway_waits_total",
    "Requests that waited for rating to pass a record: it did in_time, came late, or the wait was "
    "refused because a bound was reached or the process stops.",
    ["outcome"],
)
LOGINS: Final = Counter("gateway_logins_total", "Attempts to log in.", ["outcome"])
ERRORS: Final = Counter("gateway_errors_total", "Requests that ended in an error of ours.")
REFERENCE_REFRESHES: Final = Counter(
    "gateway_reference_refreshes_total", "Refreshes of reference data in memory.", ["outcome"]
)
REFERENCE_LOOKUPS: Final = Counter(
    "gateway_reference_lookups_total", "Refs that memory lacked and Postgres was asked for."
)
