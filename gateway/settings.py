"""The gateway's settings, each METERLINE_GATEWAY_<NAME> in the environment."""

from typing import Annotated

from msgspec import Meta

from runtime.settings import CommonSettings

_Positive = Annotated[float, Meta(gt=0)]


class GatewaySettings(CommonSettings, frozen=True, kw_only=True):
    """What one gateway process listens on, and the bounds it keeps."""

    #: Address to listen on.
    host: str = "127.0.0.1"
    #: Port to listen on; 0 takes a free one.
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    #: Share the port with other gateway processes (SO_REUSEPORT).
    reuse_port: bool = False
    #: Processes that share the port; one that dies is replaced, and metrics are summed over them.
    processes: Annotated[int, Meta(ge=1, le=128)] = 1
    #: Answer plain requests for events without the HTTP framework.
    fast_lane: bool = True
    #: Connections to Postgres.
    postgres_connections: Annotated[int, Meta(ge=2, le=200)] = 10
    #: How long an event may wait for Kafka's acknowledgement before the answer is 503.
    publish_deadline_seconds: _Positive = 10.0
    #: How much longer the producer may try before it is thrown away and made anew.
    producer_patience_seconds: _Positive = 5.0
    #: A batch of records is sent at this size, uncompressed.
    batch_bytes: Annotated[int, Meta(ge=128 * 1024, le=16 * 1024 * 1024)] = 480 * 1024
    #: Bytes of requests whose events are not acknowledged yet, over all tenants.
    bytes_in_flight_max: Annotated[int, Meta(ge=16 * 1024 * 1024)] = 64 * 1024 * 1024
    #: Requests between their head and their answer, over all tenants.
    requests_in_flight_max: Annotated[int, Meta(ge=16)] = 4_096
    #: The part of both that one tenant may hold.
    tenant_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    #: Requests that wait for their events to be rated (`Prefer: wait`), over all tenants; one
    #: tenant's are at most its share of them.
    waits_max: Annotated[int, Meta(ge=1, le=100_000)] = 512
    #: Files of usage that are read at once, over all tenants; one tenant's are its share of them.
    uploads_max: Annotated[int, Meta(ge=1, le=1_000)] = 8
    #: How long a client that sends one may be silent.
    upload_idle_seconds: Annotated[float, Meta(gt=0, le=60)] = 30.0
    #: How long a client may take to send a request's head.
    head_read_seconds: _Positive = 10.0
    #: How long a client may take to send a body.
    body_read_seconds: _Positive = 10.0
    #: How far ahead of the clock an event may be stamped.
    time_ahead_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 3_600
    #: How long an access token is valid.
    token_seconds: Annotated[int, Meta(ge=60, le=86_400)] = 3_600
    #: How long an admin stays logged in.
    session_seconds: Annotated[int, Meta(ge=60, le=30 * 86_400)] = 12 * 3_600
    #: What a tenant may do a second, in each process, on average over ten: requests but for events,
    requests_per_second: _Positive = 1_000.0
    #: events,
    events_per_second: _Positive = 500_000.0
    #: and bytes of events.
    bytes_per_second: _Positive = 256.0 * 1024 * 1024
    #: Pages of documents that one address may open a second, in each process, on average over ten.
    pages_per_second: _Positive = 10.0
    #: Proxies of ours in front, each of which adds its caller to X-Forwarded-For.
    trusted_proxies: Annotated[int, Meta(ge=0, le=10)] = 0
    #: How long requests in hand may take to finish when the process is told to stop.
    stop_seconds: _Positive = 20.0
