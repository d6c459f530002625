"""Ways to spoil the books that a full replay must notice. See `corruptions.py`.

Some are such that nothing else notices: what is stored is consistent in itself, and only the log
knows better.
"""

from tests.integration.verify.corruptions import spoil

REPLAY_CORRUPTIONS = (
    spoil(
        "an event is dropped",
        "DELETE FROM usage_event USING the_event e WHERE usage_event.event_ref = e.event_ref",
        "replay-events",
    ),
    spoil(
        "an event is doubled",
        "INSERT INTO usage_event_row SELECT (left(event_ref::text, 35) || "
        "to_hex((('x' || right(event_ref::text, 1))::bit(4)::int + 1) % 16))::uuid, occurred_at, "
        "fingerprint, rated_at, shard_key, tenant_id, customer_id, meter_id, quantity, "
        "coalesce(additional_data, '') FROM the_event",
        "replay-events",
    ),
    spoil(
        "an event says more than was sent",
        "UPDATE usage_event u SET quantity = u.quantity + 1 FROM the_event e "
        "WHERE u.event_ref = e.event_ref",
        "replay-events",
    ),
    spoil(
        "a quantity is the same in other digits",
        "UPDATE usage_event u SET quantity = u.quantity + 0.0000000000000000000 FROM the_event e "
        "WHERE u.event_ref = e.event_ref",
        "replay-events",
    ),
    spoil(
        "an event's data is written otherwise",
        "UPDATE usage_event_row u SET additional_data = u.additional_data || ' ' "
        "WHERE event_ref = (SELECT event_ref FROM usage_event WHERE additional_data IS NOT NULL "
        "LIMIT 1)",
        "replay-events",
    ),
    spoil(
        "an event's fingerprint is forged, so that its conflict passes for a copy",
        "UPDATE usage_event u SET fingerprint = u.fingerprint + 1 FROM the_event e "
        "WHERE u.event_ref = e.event_ref",
        "replay-events",
    ),
    spoil(
        "an event says that it was first at another place of the log",
        "INSERT INTO usage_event_origin (shard_key, event_ref, tenant_id, origin_offset, "
        "origin_partition) SELECT shard_key, event_ref, tenant_id, rated_at, "
        "(origin_partition + 1) % 4 FROM the_event",
        "replay-events",
    ),
    spoil(
        "an event is given to another customer",
        "UPDATE usage_event u SET customer_id = (SELECT customer_id FROM customer c "
        "WHERE c.customer_id <> u.customer_id LIMIT 1) FROM the_event e "
        "WHERE u.event_ref = e.event_ref",
        "replay-events",
    ),
    spoil(
        "an amendment is dropped, and not counted",
        "WITH gone AS (DELETE FROM usage_event_version v USING the_update u "
        "WHERE v.event_ref = u.event_ref RETURNING v.shard_key) "
        "UPDATE rater_partition SET amendments = amendments - 1, duplicates = duplicates + 1 "
        "WHERE partition = (SELECT shard_key % 4 FROM gone)",
        "replay-events",
        "replay-counters",
    ),
    spoil(
        "an amendment is made by somebody else",
        "UPDATE usage_event_version v SET made_by = 'nobody' FROM the_update u "
        "WHERE v.event_ref = u.event_ref",
        "replay-events",
    ),
    spoil(
        "an amendment that waits says something else",
        "UPDATE pending_amendment SET value = value || ' ' "
        "WHERE ctid = (SELECT ctid FROM pending_amendment LIMIT 1)",
        "replay-events",
    ),
    spoil(
        "a conflict shows other bytes than came",
        "UPDATE usage_conflict SET value = value || ' ' "
        "WHERE ctid = (SELECT ctid FROM usage_conflict LIMIT 1)",
        "replay-events",
    ),
    spoil(
        "a conflict passes for a duplicate",
        "WITH gone AS (DELETE FROM usage_conflict WHERE ctid = (SELECT ctid FROM usage_conflict "
        "LIMIT 1) RETURNING partition) UPDATE rater_partition r SET conflicts = conflicts - 1, "
        "duplicates = duplicates + 1 FROM gone WHERE r.partition = gone.partition",
        "replay-events",
        "replay-counters",
    ),
    spoil(
        "a duplicate passes for a skipped offset",
        "UPDATE rater_partition SET duplicates = duplicates - 1, skipped = skipped + 1 "
        "WHERE partition = (SELECT partition FROM rater_partition WHERE duplicates > 0 LIMIT 1)",
        "replay-counters",
    ),
    spoil(
        "a counter counts one more",
        "UPDATE rater_partition SET rated = rated + 1 "
        "WHERE partition = (SELECT min(partition) FROM rater_partition)",
        "replay-counters",
    ),
    spoil(
        "a skipped range is forgotten",
        "DELETE FROM skipped_range WHERE ctid = (SELECT ctid FROM skipped_range LIMIT 1)",
        "replay-counters",
    ),
    spoil(
        "an event is buried as a dead letter",
        "WITH gone AS (DELETE FROM usage_event u USING the_event e "
        "WHERE u.event_ref = e.event_ref RETURNING u.shard_key, u.rated_at, u.tenant_id) "
        "INSERT INTO dead_letter (shard_key, partition, record_offset, tenant_id, reason, detail, "
        "appended_at) SELECT shard_key, shard_key % 4, rated_at, tenant_id, 'INVALID_JSON', 'x', "
        "now() FROM gone",
        "replay-events",
        "replay-counters",
        "replay-charges",
        "replay-cuts",
    ),
    spoil(
        "a dead letter is thrown away",
        "DELETE FROM dead_letter WHERE ctid = (SELECT ctid FROM dead_letter LIMIT 1)",
        "replay-events",
        "replay-counters",
    ),
    spoil(
        "a dead letter shows other bytes than came",
        "UPDATE dead_letter SET value = value || ' ' "
        "WHERE ctid = (SELECT ctid FROM dead_letter LIMIT 1)",
        "replay-events",
    ),
    spoil(
        "a rated event is put on the unrated ones' list",
        "INSERT INTO unrated_usage SELECT shard_key, event_ref, tenant_id, customer_id, meter_id "
        "FROM the_event",
        "replay-events",
    ),
    spoil(
        "a charge's total is altered in the ninth decimal, and priced",
        "UPDATE charge c SET quantity = c.quantity + 1e-9 FROM the_event e "
        "WHERE c.charge_ref = e.charge_ref",
        "replay-charges",
    ),
    spoil(
        "a charge's amount is off by a billionth",
        "UPDATE charge c SET amount = amount + 1e-9 FROM the_event e "
        "WHERE c.charge_ref = e.charge_ref",
        "replay-charges",
    ),
    spoil(
        "a charge is moved to another line",
        "UPDATE charge c SET contract_line_ref = (SELECT contract_line_ref FROM contract_line l "
        "WHERE l.shard_key = c.shard_key AND l.contract_line_ref <> c.contract_line_ref LIMIT 1) "
        "FROM the_event e WHERE c.charge_ref = e.charge_ref",
        "replay-charges",
    ),
    spoil(
        "a charge counts one event more",
        "UPDATE charge c SET event_count = event_count + 1 FROM the_event e "
        "WHERE c.charge_ref = e.charge_ref",
        "replay-charges",
    ),
    spoil(
        "a charge is lost",
        "DELETE FROM charge c USING the_event e WHERE c.charge_ref = e.charge_ref",
        "replay-charges",
    ),
    spoil(
        "a running mean has got elsewhere",
        "UPDATE charge SET progress = progress || '0' WHERE charge_ref = (SELECT charge_ref "
        "FROM charge WHERE progress LIKE '% %' AND event_count > 0 LIMIT 1)",
        "replay-charges",
    ),
    spoil(
        "a user is counted once more",
        "UPDATE charge_value SET event_count = event_count + 1 "
        "WHERE ctid = (SELECT ctid FROM charge_value LIMIT 1)",
        "replay-charges",
    ),
    spoil(
        "a cut line's total and amount are off together",
        "UPDATE charge_cut c SET quantity = c.quantity + 1e-9, amount = c.amount + 1e-9 "
        "FROM the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "replay-cuts",
    ),
    spoil(
        "a cut line is moved to another line",
        "UPDATE charge_cut c SET contract_line_ref = gen_random_uuid() FROM the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "replay-cuts",
    ),
    spoil(
        "a cut line is lost",
        "DELETE FROM charge_cut c USING the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "replay-cuts",
    ),
)
