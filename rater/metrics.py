"""Every metric of the rater."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter(
    "rater_events_total",
    "What became of records: rated, unrated, duplicate, conflict, amendment, dead, skipped.",
    ["outcome"],
)
LATE_EVENTS = Counter(
    "rater_late_events_total", "Events added to a charge whose period was closed already."
)
LATE_AMENDMENTS = Counter(
    "rater_late_amendments_total",
    "Amendments that moved a charge whose period was closed already.",
)
AMENDMENTS_WAITING = Gauge(
    "rater_pending_amendments", "Amendments that wait for their event, by partition.", ["partition"]
)
BATCH_SECONDS = Histogram(
    "rater_batch_duration_seconds", "One poll, from its decoded records to its commit."
)
FENCED = Counter(
    "rater_fenced_total", "Transactions given up because somebody else had moved the partition."
)
RETRIES = Counter(
    "rater_retries_total", "Partitions opened again after the database or Kafka went away."
)
READERS_STUCK = Counter(
    "rater_readers_stuck_total", "Kafka clients replaced since they gave no records that are there."
)
STALLED_ENDED = Counter(
    "rater_stalled_transactions_ended_total",
    "Transactions of other raters ended since they lasted too long: a frozen owner's.",
)
LAG = Gauge("rater_lag_events", "Readable offsets not rated yet, by partition.", ["partition"])
PARTITIONS_OWNED = Gauge("rater_partitions_owned", "Partitions that this process takes care of.")
PARTITIONS_STOPPED = Gauge(
    "rater_partitions_stopped", "Partitions that wait for a person; the log says why."
)
BACKFILLED_EVENTS = Counter("rater_backfilled_events_total", "Past events added by back-fills.")
PERIODS_CLOSED = Counter("rater_periods_closed_total", "Cuts made.")
PERIODS_OPENED = Counter("rater_periods_opened_total", "Periods of which part was billed ahead.")
CLOSINGS_HELD = Counter(
    "rater_closings_held_total",
    "Looks at a period that was due and not cut: dead letters or amendments were not settled.",
)
DIGESTED_EVENTS = Counter("rater_digested_events_total", "Events read for the digests of cuts.")
OUTBOX_PUBLISHED = Counter("rater_outbox_published_total", "Records published and acknowledged.")
OUTBOX_FAILURES = Counter("rater_outbox_failures_total", "Attempts to publish that failed.")
OUTBOX_AGE_SECONDS = Gauge("rater_outbox_age_seconds", "Age of the oldest record not published.")
