"""What the rater can be told. Each field is METERLINE_RATER_<NAME> in the environment."""

from typing import Annotated

from msgspec import Meta

from runtime.settings import CommonSettings


class RaterSettings(CommonSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds and addresses of one rater process."""

    #: Where /livez, /readyz and /metrics are served.
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8_081
    #: This process's name among the raters; a restarted one takes its partitions back at once.
    #: Unset: host and port, or a random name where the port is 0.
    member: str = ""
    #: How long the partitions of a process that says nothing stay with it.
    lease_seconds: Annotated[float, Meta(gt=0, le=600)] = 10.0
    #: How often a process says that it lives, and looks for changes whose notice was lost.
    heartbeat_seconds: Annotated[float, Meta(gt=0, le=600)] = 1.0
    #: Records of one partition in one transaction at most.
    poll_records_max: Annotated[int, Meta(ge=1, le=200_000)] = 50_000
    #: Bytes that Kafka sends at once of one partition.
    fetch_bytes_max: Annotated[int, Meta(ge=1_048_576, le=67_108_864)] = 8_388_608
    #: Transactions at the same time.
    transactions_max: Annotated[int, Meta(ge=1, le=64)] = 4
    #: Charges kept in memory for one partition.
    charges_max: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 200_000
    #: Events that one step of a back-fill reads.
    backfill_events_max: Annotated[int, Meta(ge=1, le=100_000)] = 5_000
    #: Amendments of one tenant that may wait for their events in one partition.
    pending_amendments_max: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    #: How long an amendment waits for its event, by the log's own clock: 7 days.
    pending_seconds_max: Annotated[float, Meta(gt=0, le=31_536_000)] = 604_800.0
    #: Lines that one step of a closing cuts; a period is never split.
    closing_lines_max: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    #: How long after its end a period closes by itself, where its tenant has chosen nothing.
    closing_grace_seconds: Annotated[float, Meta(ge=0, le=5_184_000)] = 3_600.0
    #: How often the schedule is looked at.
    closing_look_seconds: Annotated[float, Meta(gt=0, le=3_600)] = 5.0
    #: How long what comes late for a closed period is gathered before one more cut.
    late_seconds: Annotated[float, Meta(ge=0, le=2_592_000)] = 900.0
    #: Cuts whose digests are made side by side, and events that one step of it reads.
    digest_cuts_max: Annotated[int, Meta(ge=1, le=10_000)] = 500
    digest_events_max: Annotated[int, Meta(ge=1, le=200_000)] = 20_000
    #: How long what polls add to roll-ups of usage is gathered before it is folded into sums.
    rollup_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 60.0
    #: Events of a customer from which sums of their usage are kept; fewer are read one by one.
    rollup_events_min: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    #: Records that the outbox publishes at once.
    outbox_records_max: Annotated[int, Meta(ge=1, le=10_000)] = 500
    #: How long Kafka may give nothing of a log that has records before its client is replaced.
    stuck_seconds: Annotated[float, Meta(gt=0, le=3_600)] = 5.0
    #: How long a transaction may last before another rater ends it: that of a frozen owner.
    transaction_seconds_max: Annotated[float, Meta(gt=0, le=3_600)] = 120.0
