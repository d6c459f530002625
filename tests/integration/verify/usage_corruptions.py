"""Ways to spoil usage: the log, partitions, events, charges and cuts. See `corruptions.py`."""

from tests.integration.verify.corruptions import spoil

USAGE_CORRUPTIONS = (
    # The log and the partitions.
    spoil(
        "a duplicate is not counted",
        "UPDATE rater_partition SET duplicates = duplicates - 1 "
        "WHERE partition = (SELECT partition FROM rater_partition WHERE duplicates > 0 LIMIT 1)",
        "conservation",
    ),
    spoil(
        "an unrated event is counted as rated",
        "UPDATE rater_partition SET rated = rated + 1, unrated = unrated - 1 "
        "WHERE partition = (SELECT partition FROM rater_partition WHERE unrated > 0 LIMIT 1)",
        "counters",
    ),
    spoil(
        "a dead letter is thrown away",
        "DELETE FROM dead_letter WHERE ctid = (SELECT ctid FROM dead_letter LIMIT 1)",
        "counters",
    ),
    spoil(
        "a conflict is hushed up",
        "DELETE FROM usage_conflict WHERE ctid = (SELECT ctid FROM usage_conflict LIMIT 1)",
        "counters",
    ),
    spoil(
        "a skipped range is forgotten",
        "DELETE FROM skipped_range WHERE ctid = (SELECT ctid FROM skipped_range LIMIT 1)",
        "counters",
    ),
    spoil(
        "a skipped range is as long elsewhere, over records that were duplicates",
        "WITH free AS (SELECT partition, record_offset FROM rater_partition, "
        "LATERAL generate_series(first_offset, next_offset - 1) AS record_offset "
        "EXCEPT SELECT shard_key % 4, rated_at FROM usage_event "
        "EXCEPT SELECT shard_key % 4, rated_at FROM usage_event_version "
        "EXCEPT SELECT partition, record_offset FROM pending_amendment "
        "EXCEPT SELECT partition, record_offset FROM usage_conflict "
        "EXCEPT SELECT partition, record_offset FROM dead_letter "
        "EXCEPT SELECT partition, o FROM skipped_range, "
        "LATERAL generate_series(first_offset, end_offset - 1) AS o), "
        "one AS (SELECT s.ctid AS place, f.record_offset FROM skipped_range s "
        "JOIN free f USING (partition) WHERE s.end_offset - s.first_offset = 1 LIMIT 1) "
        "UPDATE skipped_range s SET first_offset = record_offset, end_offset = record_offset + 1 "
        "FROM one WHERE s.ctid = place",
        "skipped",
    ),
    spoil(
        "a skipped range swallows the record behind it",
        "WITH one AS (SELECT s.ctid AS place, s.partition FROM skipped_range s "
        "JOIN usage_event e ON (e.shard_key % 4, e.rated_at) = (s.partition, s.end_offset) "
        "LIMIT 1), longer AS (UPDATE skipped_range s SET end_offset = end_offset + 1 FROM one "
        "WHERE s.ctid = place RETURNING s.partition) "
        "UPDATE rater_partition SET skipped = skipped + 1, duplicates = duplicates - 1 "
        "FROM longer WHERE rater_partition.partition = longer.partition",
        "places",
        "skipped",
    ),
    spoil(
        "rating claims to be ahead of the log",
        "UPDATE rater_partition SET next_offset = next_offset + 5, duplicates = duplicates + 5 "
        "WHERE partition = (SELECT min(partition) FROM rater_partition)",
        "log-end",
    ),
    spoil(
        "the log was rated from another topic",
        "UPDATE rater_partition SET last_record_digest = sha256(last_record_digest) "
        "WHERE partition = (SELECT min(partition) FROM rater_partition "
        "WHERE last_record_offset IS NOT NULL)",
        "log-digest",
    ),
    spoil(
        "an event claims a place that was never rated",
        "UPDATE usage_event e SET rated_at = next_offset FROM rater_partition r "
        "WHERE (e.shard_key % 4) = r.partition AND e.event_ref = (SELECT event_ref "
        "FROM unrated_usage WHERE event_ref NOT IN (SELECT event_ref FROM usage_event_version) "
        "ORDER BY event_ref LIMIT 1)",
        "places",
    ),
    spoil(
        "a message has been waiting for hours",
        "INSERT INTO rater_outbox (shard_key, topic, record_key, value, created_at) "
        "VALUES (1, 'usage.events.dead.v1', 'k', '{}', now() - interval '3 hours')",
        "work",
    ),
    spoil(
        "a closing was asked for hours ago",
        "UPDATE partition_change SET requested_at = now() - interval '3 hours' "
        "WHERE kind = 'CLOSE'; UPDATE partition_task SET state = 'PENDING' WHERE kind = 'CLOSE'",
        "work",
    ),
    # Events, charges and cuts.
    spoil(
        "an event is dropped",
        "DELETE FROM usage_event USING the_event e WHERE usage_event.event_ref = e.event_ref",
        "counters",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "an event is doubled",
        "INSERT INTO usage_event_row SELECT (left(event_ref::text, 35) || "
        "to_hex((('x' || right(event_ref::text, 1))::bit(4)::int + 1) % 16))::uuid, occurred_at, "
        "fingerprint, rated_at, shard_key, tenant_id, customer_id, meter_id, quantity, "
        "coalesce(additional_data, '') FROM the_event",
        "counters",
        "places",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "an event is dropped and another doubled in its place",
        "DELETE FROM usage_event USING the_twin t WHERE usage_event.event_ref = t.event_ref; "
        "INSERT INTO usage_event_row SELECT (left(e.event_ref::text, 35) || "
        "to_hex((('x' || right(e.event_ref::text, 1))::bit(4)::int + 1) % 16))::uuid, "
        "e.occurred_at, e.fingerprint, t.rated_at, e.shard_key, e.tenant_id, "
        "e.customer_id, e.meter_id, e.quantity, coalesce(e.additional_data, '') "
        "FROM the_event e, the_twin t",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "an event's quantity is altered in the ninth decimal",
        "UPDATE usage_event u SET quantity = u.quantity + 1e-9 FROM the_event e "
        "WHERE u.event_ref = e.event_ref",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "an event is moved out of its period",
        "UPDATE usage_event u SET occurred_at = u.occurred_at - interval '70 years' "
        "FROM the_event e WHERE u.event_ref = e.event_ref",
        "charges",
        "coverage",
        "cuts",
        "months",
        "digests",
        "rollups",
    ),
    spoil(
        "an event is counted again in the month before",
        "WITH late AS (SELECT e.* FROM usage_event e JOIN pricing_line p USING (meter_id) "
        "JOIN charge_cut c ON (c.shard_key, c.pricing_line_id) = (e.shard_key, p.pricing_line_id) "
        "JOIN billing_period b ON (b.shard_key, b.period_ref) = (c.shard_key, c.period_ref) "
        "AND date_trunc('month', occurred_at) - interval '1 day' >= start_at "
        "AND date_trunc('month', occurred_at) - interval '1 day' < end_at "
        "WHERE occurred_at - date_trunc('month', occurred_at) < interval '3 days' "
        "ORDER BY event_ref LIMIT 1) "
        "INSERT INTO usage_event_row SELECT (lpad(to_hex(('x' || left(event_ref::text, 3))::bit(12)"
        "::int - 1), 3, '0') || substr(event_ref::text, 4))::uuid, date_trunc('month', "
        "occurred_at) - interval '1 day', fingerprint, -1, shard_key, tenant_id, "
        "customer_id, meter_id, 0, coalesce(additional_data, '') FROM late",
        "counters",
        "months",
        "places",
        "charges",
        "cuts",
        "digests",
        "rollups",
    ),
    spoil(
        "a rated event is put on the unrated ones' list",
        "INSERT INTO unrated_usage SELECT shard_key, event_ref, tenant_id, customer_id, meter_id "
        "FROM the_event",
        "counters",
        "coverage",
    ),
    spoil(
        "an unrated event is taken off the list",
        "DELETE FROM unrated_usage WHERE ctid = (SELECT ctid FROM unrated_usage LIMIT 1)",
        "counters",
        "coverage",
    ),
    spoil(
        "a charge's total is altered in the eighteenth decimal, and priced",
        "UPDATE charge c SET quantity = c.quantity + 1e-18 FROM the_event e "
        "WHERE c.charge_ref = e.charge_ref",
        "charges",
        "charge-prices",
    ),
    spoil(
        "a charge counts one event less",
        "UPDATE charge c SET event_count = event_count - 1 FROM the_event e "
        "WHERE c.charge_ref = e.charge_ref",
        "charges",
    ),
    spoil(
        "a mean without end is a little more",
        "UPDATE charge SET exact_quantity = split_part(exact_quantity, '/', 1)::numeric + 1 "
        "|| '/' || split_part(exact_quantity, '/', 2) WHERE charge_ref = "
        "(SELECT charge_ref FROM charge WHERE exact_quantity IS NOT NULL LIMIT 1)",
        "charges",
        "charge-prices",
    ),
    spoil(
        "a user is counted twice",
        "UPDATE charge c SET quantity = c.quantity + 1, amount = amount + 0.07 "
        "WHERE charge_ref = (SELECT charge_ref FROM charge JOIN pricing_line p "
        "USING (pricing_line_id) JOIN meter m ON m.meter_id = p.meter_id "
        "WHERE aggregation = 'UNIQUE' LIMIT 1)",
        "charges",
    ),
    spoil(
        "a running charge is lost",
        "DELETE FROM charge WHERE charge_ref = (SELECT charge_ref FROM charge "
        "WHERE event_count > 0 AND charge_ref NOT IN (SELECT charge_ref FROM charge_cut) LIMIT 1)",
        "charges",
    ),
    spoil(
        "a charge is stored twice",
        "INSERT INTO charge SELECT c.shard_key, (left(c.charge_ref::text, 35) || "
        "to_hex((('x' || right(c.charge_ref::text, 1))::bit(4)::int + 1) % 16))::uuid, "
        "c.tenant_id, c.period_ref, c.contract_line_ref, c.pricing_line_id, c.cell, c.quantity, "
        "c.event_count, c.amount FROM charge c JOIN the_event USING (charge_ref)",
        "charges",
    ),
    spoil(
        "a charge's amount is off by a billionth",
        "UPDATE charge c SET amount = amount + 1e-9 FROM the_event e "
        "WHERE c.charge_ref = e.charge_ref",
        "charge-prices",
    ),
    spoil(
        "a charge names the price of another line",
        "UPDATE charge c SET pricing_line_id = (SELECT pricing_line_id FROM pricing_line p "
        "WHERE p.tenant_id = c.tenant_id AND p.pricing_line_id <> c.pricing_line_id LIMIT 1) "
        "FROM the_event e WHERE c.charge_ref = e.charge_ref",
        "charge-prices",
    ),
    spoil(
        "a cut line's total is off by a billionth",
        "UPDATE charge_cut c SET quantity = c.quantity + 1e-9 FROM the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "cuts",
        "cut-prices",
        "lines",
    ),
    spoil(
        "a cut line's amount is off by a billionth",
        "UPDATE charge_cut c SET amount = c.amount - 1e-9 FROM the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "cut-prices",
    ),
    spoil(
        "a cut line is lost",
        "DELETE FROM charge_cut c USING the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "cuts",
        "lines",
    ),
    spoil(
        "a cut is moved back in the log",
        "UPDATE period_cut c SET cut_offset = e.rated_at FROM the_event e "
        "WHERE c.period_ref = e.period_ref",
        "cuts",
        "digests",
    ),
    spoil(
        "a cut is numbered anew",
        "UPDATE billing_period b SET last_cut_number = 2 FROM the_event e "
        "WHERE b.period_ref = e.period_ref",
        "cuts",
    ),
    spoil(
        "an edit of a contract is not noted",
        "UPDATE contract SET version = 2 WHERE ctid = (SELECT ctid FROM contract LIMIT 1)",
        "versions",
    ),
    spoil(
        "seats are added to a cut",
        "UPDATE charge_cut c SET quantity = quantity + 1 FROM pricing_line p "
        "WHERE p.pricing_line_id = c.pricing_line_id AND p.price ->> 'quantity' = '3'",
        "cut-prices",
    ),
    spoil(
        "a cut line's digest is of something else",
        "UPDATE charge_cut c SET events_digest = sha256('') FROM the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "digests",
        "lines",
    ),
    spoil(
        "what a cut event was sent with is altered",
        'UPDATE usage_event_row u SET additional_data = \'{"region": "elsewhere"}\' '
        "FROM the_event e WHERE u.event_ref = e.event_ref",
        "digests",
    ),
    spoil(
        "a period that has moved waits for no other cut",
        "DELETE FROM late_period WHERE ctid = (SELECT late.ctid FROM late_period late "
        "JOIN charge_cut cut USING (period_ref) JOIN charge USING (charge_ref) "
        "WHERE charge.event_count <> cut.event_count LIMIT 1)",
        "digests",
    ),
    # Sums of usage.
    spoil(
        "a sum of usage is altered in the ninth decimal",
        "UPDATE usage_rollup s SET quantity = s.quantity + 0.000000001 FROM the_event e "
        "WHERE s.customer_id = e.customer_id AND s.meter_id = e.meter_id "
        "AND to_timestamp(s.slot::bigint * 900) = date_trunc('hour', e.occurred_at)",
        "rollups",
    ),
    spoil(
        "a sum of usage is lost",
        "DELETE FROM usage_rollup s USING the_event e WHERE s.customer_id = e.customer_id "
        "AND s.meter_id = e.meter_id "
        "AND to_timestamp(s.slot::bigint * 900) = date_trunc('hour', e.occurred_at)",
        "rollups",
    ),
    spoil(
        "a sum of usage is moved to another time",
        "UPDATE usage_rollup s SET slot = slot + 100000 FROM the_event e "
        "WHERE s.customer_id = e.customer_id AND s.meter_id = e.meter_id "
        "AND to_timestamp(s.slot::bigint * 900) = date_trunc('hour', e.occurred_at)",
        "rollups",
    ),
    spoil(
        "a sum of usage counts an event less",
        "UPDATE usage_rollup SET event_count = event_count - 1 "
        "WHERE customer_id = (SELECT customer_id FROM the_event)",
        "rollups",
    ),
    spoil(
        "what is to be folded into sums is there twice",
        "INSERT INTO usage_tail SELECT shard_key % (SELECT partitions FROM event_log), tenant_id, "
        "-1, -1, ARRAY[shard_key], ARRAY[customer_id], ARRAY[meter_id], ARRAY[1893456], ARRAY[1], "
        "ARRAY[quantity] FROM the_event",
        "rollups",
    ),
    spoil(
        "what adds up to nothing waits where no report looks for it",
        "INSERT INTO usage_tail SELECT shard_key % (SELECT partitions FROM event_log), tenant_id, "
        "120, -1, ARRAY[shard_key, shard_key], ARRAY[customer_id, customer_id], "
        "ARRAY[meter_id, meter_id], ARRAY[1893456, 1893456], ARRAY[1, -1], "
        "ARRAY[quantity, -quantity] FROM the_event",
        "rollups",
    ),
    spoil(
        "a customer counts an event more than there are",
        "UPDATE rolled_customer SET event_count = event_count + 1 "
        "WHERE customer_id = (SELECT customer_id FROM the_event)",
        "rollups",
    ),
    # Alerts.
    spoil(
        "a threshold was reached and nobody was told",
        "INSERT INTO alert (shard_key, alert_ref, tenant_id, partition, partition_version, "
        "customer_id, meter_id, kind, threshold, created_at) SELECT shard_key, event_ref, "
        "tenant_id, shard_key % (SELECT partitions FROM event_log), 0, customer_id, meter_id, "
        "'QUANTITY', 0.000000001, '2000-01-01' FROM the_event",
        "alerts",
    ),
    spoil(
        "an alert that nobody made has fired",
        "INSERT INTO alert_firing SELECT shard_key, event_ref, 1, period_ref, e.tenant_id, "
        "contract_ref, contract_product_ref, contract_line_ref, '2026-10-01', '2026-11-01', 5, 5, "
        "now() FROM the_event e JOIN contract_line USING (shard_key, contract_line_ref) "
        "JOIN contract_product USING (shard_key, contract_product_ref)",
        "alerts",
    ),
    spoil(
        "an alert has fired below its threshold",
        "INSERT INTO alert (shard_key, alert_ref, tenant_id, partition, partition_version, "
        "customer_id, meter_id, kind, threshold) SELECT shard_key, event_ref, tenant_id, 0, "
        "0, customer_id, meter_id, 'QUANTITY', 5 FROM the_event; "
        "INSERT INTO alert_firing SELECT shard_key, event_ref, 1, period_ref, e.tenant_id, "
        "contract_ref, contract_product_ref, contract_line_ref, '2026-10-01', '2026-11-01', 4, 5, "
        "now() FROM the_event e JOIN contract_line USING (shard_key, contract_line_ref) "
        "JOIN contract_product USING (shard_key, contract_product_ref)",
        "alerts",
    ),
)
