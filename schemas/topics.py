"""The topics, and what each must be set to. Names are preceded by the installation's prefix."""

from collections.abc import Mapping

#: Usage events, from the gateway and from Kafka-native producers: a public contract.
USAGE_EVENTS = "usage.events.v1"
#: Periods that are ready to be invoiced: keys alone, read from Postgres.
BILLING_PERIODS = "billing.periods.v1"
#: What can't be rated, for those who want to be told; the rows in Postgres are the truth.
DEAD_EVENTS = "usage.events.dead.v1"

#: Thresholds of tenants that were reached: figures and keys, for whoever tells people.
BILLING_ALERTS = "billing.alerts.v1"

#: Everything is kept, and the broker's clock stamps what arrives: the time limits of an event are
#: judged by it, and no producer's clock can make a record old enough to be deleted.
TOPIC_SETTINGS: Mapping[str, Mapping[str, str]] = {
    USAGE_EVENTS: {
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "1048588",
    },
    BILLING_PERIODS: {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
    BILLING_ALERTS: {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
    DEAD_EVENTS: {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
}
