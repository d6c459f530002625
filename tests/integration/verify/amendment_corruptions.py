"""Ways to spoil amendments: versions of events, and what waits. See `corruptions.py`."""

from tests.integration.verify.corruptions import spoil

AMENDMENT_CORRUPTIONS = (
    spoil(
        "an update is dropped",
        "DELETE FROM usage_event_version v USING the_update u WHERE v.event_ref = u.event_ref",
        "counters",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "an update's quantity is altered in the ninth decimal",
        "UPDATE usage_event_version v SET quantity = v.quantity + 1e-9 FROM the_update u "
        "WHERE v.event_ref = u.event_ref",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "an update moves its event out of every period",
        "UPDATE usage_event_version v SET occurred_at = v.occurred_at - interval '20 years' "
        "FROM the_update u WHERE v.event_ref = u.event_ref",
        "charges",
        "coverage",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "an update is doubled",
        "INSERT INTO usage_event_version (shard_key, event_ref, rated_at, origin_offset, "
        "occurred_at, recorded_at, origin_partition, tenant_id, customer_id, meter_id, kind, "
        "quantity) SELECT u.shard_key, event_ref, next_offset, next_offset, occurred_at, "
        "recorded_at, origin_partition, tenant_id, customer_id, meter_id, kind, quantity "
        "FROM the_update u JOIN rater_partition ON partition = u.shard_key % 4",
        "counters",
        "places",
    ),
    spoil(
        "an update takes effect before the cut that it came after",
        "UPDATE period_cut c SET cut_offset = u.rated_at FROM the_update u "
        "JOIN billing_period b ON b.shard_key = u.shard_key AND u.occurred_at >= b.start_at "
        "AND u.occurred_at < b.end_at WHERE c.period_ref = b.period_ref",
        "cuts",
        "digests",
    ),
    spoil(
        "a deleted event is brought back to life",
        "DELETE FROM usage_event_version v USING the_deletion d WHERE v.event_ref = d.event_ref",
        "counters",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "a deletion passes for an update",
        "UPDATE usage_event_version v SET kind = 'UPDATE' FROM the_deletion d "
        "WHERE v.event_ref = d.event_ref",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "a deletion alters what it deletes",
        "UPDATE usage_event_version v SET quantity = v.quantity + 1 FROM the_deletion d "
        "WHERE v.event_ref = d.event_ref",
        "amendments",
    ),
    spoil(
        "a deleted event is put on the unrated ones' list",
        "INSERT INTO unrated_usage SELECT shard_key, event_ref, tenant_id, customer_id, meter_id "
        "FROM the_deletion",
        "counters",
        "amendments",
        "coverage",
    ),
    spoil(
        "a version is of an event that nobody knows",
        "UPDATE usage_event_version v SET event_ref = (left(v.event_ref::text, 35) || "
        "to_hex((('x' || right(v.event_ref::text, 1))::bit(4)::int + 1) % 16))::uuid "
        "FROM the_update u WHERE v.event_ref = u.event_ref",
        "charges",
        "cuts",
        "tenants",
        "digests",
        "rollups",
    ),
    spoil(
        "an amendment that waits is thrown away",
        "DELETE FROM pending_amendment WHERE ctid = (SELECT ctid FROM pending_amendment LIMIT 1)",
        "counters",
    ),
    spoil(
        "an amendment waits for an event that came long ago",
        "UPDATE pending_amendment p SET event_ref = e.event_ref FROM usage_event e "
        "WHERE p.ctid = (SELECT w.ctid FROM pending_amendment w LIMIT 1) "
        "AND e.event_ref = (SELECT o.event_ref FROM usage_event o WHERE o.shard_key = p.shard_key "
        "AND o.tenant_id = p.tenant_id LIMIT 1)",
        "amendments",
    ),
)
