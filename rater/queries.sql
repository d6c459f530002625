-- Every statement of the rater. Writers are named in schema.sql.

-- name: find_log
-- The log that this database rates: there is one.
SELECT log_id::text AS log_id, topic, partitions FROM event_log;

-- name: load_partition
-- Where rating stands.
SELECT p.partition, p.log_id::text AS log_id, l.partitions, p.next_offset, p.steps,
       p.reference_version, p.changes_seen, p.last_record_offset, p.last_record_digest,
       p.archived_below, p.archived_until
FROM rater_partition p JOIN event_log l USING (log_id)
WHERE p.partition = $1;

-- name: lock_partition
-- The fence: the first statement of every transaction of the owner. Nobody else rates, and nobody
-- changes what is rated by, until it ends. Plans are kept while tables grow from nothing to many
-- millions of rows, so within a step none may be made that reads a table from end to end.
SELECT next_offset, steps, reference_version, set_config('enable_seqscan', 'off', true)
FROM rater_partition WHERE partition = $1 FOR NO KEY UPDATE;

-- name: advance_partition
-- The last statement of a poll: the offset, and what became of every record before it. Whoever
-- waits for the offset hears of it at the commit.
UPDATE rater_partition SET
    next_offset = $2, steps = steps + 1, rated = rated + $3, unrated = unrated + $4,
    duplicates = duplicates + $5, conflicts = conflicts + $6, dead_letters = dead_letters + $7,
    skipped = skipped + $8, amendments = amendments + $9,
    last_record_offset = coalesce($10, last_record_offset),
    last_record_digest = coalesce($11, last_record_digest)
WHERE partition = $1
RETURNING pg_notify('meterline_rated', partition || ',' || next_offset);

-- name: step_partition
-- The last statement of any other step. Back-fills turn unrated events into rated ones.
UPDATE rater_partition SET steps = steps + 1, rated = rated + $2, unrated = unrated - $2
WHERE partition = $1;

-- name: reference_versions
-- Which partitions have changes that their owners have not taken yet.
SELECT partition FROM rater_partition WHERE reference_version > changes_seen;

-- name: take_changes
-- Turn the changes since the last that was seen into tasks. The loop rates by them from here on,
-- which is where they were recorded, or before it when the log is rated again from an older place.
INSERT INTO partition_task (partition, reference_version, kind, state, shard_key, tenant_id,
                            customer_id, contract_ref, contract_version, end_offset)
SELECT partition, reference_version, kind, 'PENDING', shard_key, tenant_id, customer_id,
       contract_ref, contract_version, CASE kind WHEN 'CONTRACT' THEN least(recorded_offset, $4) END
FROM partition_change
WHERE partition = $1 AND reference_version > $2 AND reference_version <= $3
RETURNING customer_id;

-- name: see_changes
UPDATE rater_partition SET steps = steps + 1, changes_seen = $2 WHERE partition = $1
RETURNING archived_below, archived_until;

-- name: pending_tasks
-- What the owner has to do, in the order in which it was asked for.
SELECT t.reference_version, t.kind, t.shard_key, t.customer_id, t.contract_ref, t.end_offset,
       t.cursor_ref, t.contract_version, t.is_swapped, c.close_through, customer.customer_ref::text AS customer_ref
FROM partition_task t
JOIN partition_change c USING (partition, reference_version)
JOIN customer ON customer.shard_key = t.shard_key AND customer.customer_id = t.customer_id
WHERE t.partition = $1 AND t.state = 'PENDING'
ORDER BY t.reference_version;

-- name: move_backfill
-- From the cursor that the page was read behind; no row: it has been read already.
UPDATE partition_task SET cursor_ref = $4, events_rated = events_rated + $5,
    state = CASE WHEN $6 THEN 'DONE' ELSE state END,
    finished_at = CASE WHEN $6 THEN now() END, is_swapped = $8
WHERE partition = $1 AND reference_version = $2 AND state = 'PENDING'
  AND cursor_ref IS NOT DISTINCT FROM $3 AND is_swapped = $7
RETURNING true;

-- name: begin_version
-- The products of a contract's version price from now on.
UPDATE contract_product SET is_pending = false
WHERE shard_key = $1 AND contract_ref = $2 AND version = $3 AND is_pending;

-- name: end_products
-- What a contract's version takes the place of prices nothing from that day on.
UPDATE contract_product p SET until_date = s.from_date
FROM contract_succession s
WHERE s.shard_key = $1 AND s.contract_ref = $2 AND s.version = $3 AND p.shard_key = s.shard_key
  AND p.contract_product_ref = s.contract_product_ref
  AND coalesce(p.until_date > s.from_date, true);

-- name: ended_periods
-- The periods that a contract's version takes the place of. None was cut: a closed period keeps the
-- version that it was cut with.
SELECT b.period_ref FROM contract_succession s
JOIN billing_period b USING (shard_key, contract_product_ref)
WHERE s.shard_key = $1 AND s.contract_ref = $2 AND s.version = $3
  AND b.start_date >= s.from_date AND b.last_cut_number = 0;

-- name: drop_values_of_periods
DELETE FROM charge_value v USING charge c
WHERE c.shard_key = $1 AND c.period_ref = ANY ($2::uuid[])
  AND v.shard_key = c.shard_key AND v.charge_ref = c.charge_ref;

-- name: drop_charges_of_periods
DELETE FROM charge WHERE shard_key = $1 AND period_ref = ANY ($2::uuid[]);

-- name: drop_periods
-- What was billed ahead of one stays on its document, and so does the period.
DELETE FROM billing_period p WHERE shard_key = $1 AND period_ref = ANY ($2::uuid[]) AND NOT EXISTS (
    SELECT FROM period_cut ahead WHERE ahead.shard_key = $1 AND ahead.period_ref = p.period_ref);

-- name: ended_meters
-- The meters whose events counted in what a contract's version has ended, and from which day that is.
SELECT f.meter_id, p.timezone, min(s.from_date) AS from_date
FROM contract_succession s
JOIN contract_product p USING (shard_key, contract_product_ref)
JOIN contract_line l USING (shard_key, contract_product_ref)
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
JOIN meter_feed f ON f.tenant_id = pl.tenant_id AND f.toward_id = pl.meter_id
WHERE s.shard_key = $1 AND s.contract_ref = $2 AND s.version = $3
GROUP BY f.meter_id, p.timezone;

-- name: add_unrated
-- Events that no line covers any more; returns how many were rated before.
WITH added AS (
    INSERT INTO unrated_usage (shard_key, event_ref, tenant_id, customer_id, meter_id)
    SELECT $1, event_ref, $2, $3, meter_id
    FROM unnest($4::uuid[], $5::integer[]) AS gone (event_ref, meter_id)
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM added;

-- name: set_end_offset
UPDATE partition_task SET end_offset = $3 WHERE partition = $1 AND reference_version = $2;

-- name: move_closing
UPDATE partition_task SET periods_closed = periods_closed + $3,
    state = CASE WHEN $4 THEN 'DONE' ELSE state END,
    finished_at = CASE WHEN $4 THEN now() END
WHERE partition = $1 AND reference_version = $2;

-- name: load_tenants
SELECT tenant_id, tenant_ref::text AS tenant_ref, age_days_max, updated_at
FROM tenant LEFT JOIN tenant_setting USING (tenant_id);

-- name: load_meters
-- toward, factors: the meters in whose lines its events count.
SELECT m.usage_product_ref::text AS usage_product_ref, m.meter_id, m.tenant_id, m.formula,
       array_agg(f.toward_id) AS toward, array_agg(f.factor) AS factors
FROM meter m JOIN meter_feed f USING (tenant_id, meter_id)
WHERE m.usage_product_ref = ANY ($1::uuid[])
GROUP BY m.tenant_id, m.meter_id;

-- name: load_feeds
-- The meters whose events count in lines of these.
SELECT f.toward_id, f.meter_id, f.factor, m.formula
FROM unnest($1::integer[], $2::integer[]) AS wanted (tenant_id, meter_id)
JOIN meter_feed f ON (f.tenant_id, f.toward_id) = (wanted.tenant_id, wanted.meter_id)
JOIN meter m ON (m.tenant_id, m.meter_id) = (f.tenant_id, f.meter_id);

-- name: load_formulas
SELECT meter_id, formula FROM meter WHERE meter_id = ANY ($1::integer[]);

-- name: load_customers
SELECT c.customer_ref::text AS customer_ref, c.customer_id, c.shard_key, c.tenant_id
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, customer_ref)
JOIN customer c USING (shard_key, customer_ref);

-- name: load_contracts
-- The products of contracts, each with its lines; a product without lines is one row. What an edit
-- has replaced from its first day on is left out; what is being back-filled is not.
SELECT c.tenant_id, c.customer_id, c.contract_ref, c.closing, p.shard_key, p.contract_product_ref,
       p.billing_start_date, p.billing_end_date, p.cycle_unit, p.cycle_length, p.issue_day,
       p.payment_time, p.timezone, p.net_terms, p.version, p.since_date, p.until_date, p.ahead_since,
       p.is_pending, p.lineage_ref, l.contract_line_ref, l.pricing_line_id, pl.meter_id,
       pl.price::text AS price, m.aggregation, m.unique_key
FROM unnest($1::integer[], $2::integer[]) AS wanted (shard_key, customer_id)
JOIN contract c USING (shard_key, customer_id)
JOIN contract_product p USING (shard_key, contract_ref)
LEFT JOIN contract_line l USING (shard_key, contract_product_ref)
LEFT JOIN pricing_line pl
    ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
LEFT JOIN meter m ON m.tenant_id = pl.tenant_id AND m.meter_id = pl.meter_id
WHERE ($3::uuid IS NULL OR c.contract_ref = $3)
  AND coalesce(greatest(p.billing_start_date, p.since_date) < p.until_date, true)
ORDER BY c.contract_number, p.position, p.version, l.position;

-- name: ensure_month
SELECT ensure_usage_month($1);

-- name: probe_events
-- Which of these events are known, and what they were: one index look-up for each, whatever the
-- planner believes. The lists are texts joined with commas: for tens of thousands of values the
-- driver takes ten times as long over an array.
SELECT u.event_ref, u.fingerprint
FROM unnest(string_to_array($1, ',')::integer[], string_to_array($2, ',')::uuid[])
AS wanted (shard_key, event_ref)
CROSS JOIN LATERAL (
    SELECT event_ref, fingerprint FROM usage_event
    WHERE shard_key = wanted.shard_key AND event_ref = wanted.event_ref LIMIT 1
) u;

-- name: load_waiting
-- The amendments of a partition that wait for their events.
SELECT event_ref, record_offset, appended_at, tenant_id, origin_partition, origin_offset
FROM pending_amendment WHERE partition = $1 ORDER BY record_offset;

-- name: load_pending_records
SELECT p.record_offset, p.record_key, p.value, p.appended_at, p.origin_partition, p.origin_offset
FROM unnest($1::integer[], $2::uuid[], $3::bigint[]) AS wanted (shard_key, event_ref, record_offset)
CROSS JOIN LATERAL (
    SELECT * FROM pending_amendment own
    WHERE (own.shard_key, own.event_ref, own.record_offset)
        = (wanted.shard_key, wanted.event_ref, wanted.record_offset) LIMIT 1
) p;

-- name: drop_pending
DELETE FROM pending_amendment WHERE shard_key = $1 AND event_ref = $2 AND record_offset = $3;

-- name: load_amended
-- Events as they count now: as first rated, or as their last amendment left them.
SELECT u.event_ref, u.shard_key, u.tenant_id, u.customer_id, u.meter_id, v.kind,
       coalesce(v.occurred_at, u.occurred_at) AS occurred_at,
       coalesce(v.quantity, u.quantity) AS quantity,
       CASE WHEN v.kind IS NULL THEN u.additional_data ELSE v.additional_data END
       AS additional_data,
       n.event_ref IS NOT NULL AS is_unrated
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, event_ref)
CROSS JOIN LATERAL (
    SELECT * FROM usage_event own
    WHERE own.shard_key = wanted.shard_key AND own.event_ref = wanted.event_ref LIMIT 1
) u
LEFT JOIN LATERAL (
    SELECT * FROM usage_event_version own
    WHERE own.shard_key = wanted.shard_key AND own.event_ref = wanted.event_ref
    ORDER BY own.rated_at DESC LIMIT 1
) v ON true
LEFT JOIN LATERAL (
    SELECT event_ref FROM unrated_usage own
    WHERE own.shard_key = wanted.shard_key AND own.event_ref = wanted.event_ref LIMIT 1
) n ON true;

-- name: find_applied
-- Which of these places in the log stand for amendments that were applied.
SELECT v.origin_partition, v.origin_offset
FROM unnest($1::integer[], $2::integer[], $3::bigint[])
AS wanted (shard_key, origin_partition, origin_offset)
CROSS JOIN LATERAL (
    SELECT origin_partition, origin_offset FROM usage_event_version own
    WHERE (own.shard_key, own.origin_partition, own.origin_offset)
        = (wanted.shard_key, wanted.origin_partition, wanted.origin_offset) LIMIT 1
) v;

-- name: drop_unrated
DELETE FROM unrated_usage WHERE shard_key = $1 AND event_ref = $2;

-- name: load_charges
-- $3: whether amounts matter, as those of single events do.
SELECT c.charge_ref, c.quantity, c.event_count, CASE WHEN $3 THEN c.amount END AS amount, c.progress
FROM unnest(string_to_array($1, ',')::integer[], string_to_array($2, ',')::uuid[])
AS wanted (shard_key, charge_ref)
CROSS JOIN LATERAL (
    SELECT charge_ref, quantity, event_count, amount, progress FROM charge
    WHERE shard_key = wanted.shard_key AND charge_ref = wanted.charge_ref LIMIT 1
) c;

-- name: load_cells
-- Which cells of lines are used in periods, but for the defaults.
SELECT c.period_ref, c.contract_line_ref, c.cell
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, period_ref)
CROSS JOIN LATERAL (
    SELECT period_ref, contract_line_ref, cell FROM charge own
    WHERE own.shard_key = wanted.shard_key AND own.period_ref = wanted.period_ref
      AND own.cell <> '' AND own.contract_line_ref = ANY ($3::uuid[])
) c
ORDER BY c.cell;

-- name: events_of_period
-- The events of a customer's meters between two instants, in their order, as they count now: those
-- whose refs are of these months, and those that were moved there. What a back-fill of the
-- contract's version $9 has yet to rate is left out. $8: whether their additional data matters.
WITH waiting AS MATERIALIZED (
    SELECT end_offset, cursor_ref FROM partition_task
    WHERE state = 'PENDING' AND kind = 'CONTRACT' AND shard_key = $1 AND contract_ref = $2
      AND contract_version = $9 AND NOT is_swapped
),
own AS MATERIALIZED (
    SELECT customer_id FROM contract WHERE shard_key = $1 AND contract_ref = $2
)
SELECT u.event_ref, u.meter_id, coalesce(v.occurred_at, u.occurred_at) AS occurred_at,
       coalesce(v.quantity, u.quantity) AS quantity,
       CASE WHEN v.kind IS NULL THEN u.additional_data ELSE v.additional_data END
       AS additional_data
FROM (
    SELECT event_ref, meter_id, occurred_at, rated_at, quantity,
           CASE WHEN $8 THEN additional_data END AS additional_data
    FROM usage_event
    WHERE shard_key = $1 AND event_ref >= $6 AND event_ref < $7 AND meter_id = ANY ($3::integer[])
      AND customer_id = (SELECT customer_id FROM own)
    UNION ALL
    SELECT first.event_ref, first.meter_id, first.occurred_at, first.rated_at, first.quantity,
           CASE WHEN $8 THEN first.additional_data END
    FROM (
        SELECT DISTINCT event_ref FROM usage_event_version
        WHERE shard_key = $1 AND customer_id = (SELECT customer_id FROM own)
          AND meter_id = ANY ($3::integer[])
          AND occurred_at >= $4 AND occurred_at < $5 AND (event_ref < $6 OR event_ref >= $7)
    ) moved
    CROSS JOIN LATERAL (
        SELECT * FROM usage_event e
        WHERE e.shard_key = $1 AND e.event_ref = moved.event_ref LIMIT 1
    ) first
) u
LEFT JOIN LATERAL (
    SELECT kind, occurred_at, quantity, additional_data FROM usage_event_version last
    WHERE last.shard_key = $1 AND last.event_ref = u.event_ref
    ORDER BY last.rated_at DESC LIMIT 1
) v ON true
WHERE v.kind IS DISTINCT FROM 'DELETE'
  AND coalesce(v.occurred_at, u.occurred_at) >= $4 AND coalesce(v.occurred_at, u.occurred_at) < $5
  AND NOT EXISTS (
    SELECT FROM waiting
    WHERE u.rated_at < end_offset AND (cursor_ref IS NULL OR u.event_ref > cursor_ref))
ORDER BY 3, 1;

-- name: make_new_charge
-- Where COPY puts the totals of a transaction.
CREATE TEMPORARY TABLE IF NOT EXISTS new_charge (
    shard_key integer, charge_ref uuid, quantity numeric, event_count bigint, amount numeric,
    tenant_id integer, period_ref uuid, contract_line_ref uuid, pricing_line_id integer, cell text
) ON COMMIT DELETE ROWS;

-- name: save_charges
INSERT INTO charge (shard_key, charge_ref, quantity, event_count, amount, tenant_id, period_ref,
                    contract_line_ref, pricing_line_id, cell)
SELECT shard_key, charge_ref, quantity, event_count, amount, tenant_id, period_ref,
       contract_line_ref, pricing_line_id, cell
FROM new_charge
ON CONFLICT (shard_key, charge_ref) DO UPDATE SET
    quantity = excluded.quantity, event_count = excluded.event_count, amount = excluded.amount;

-- name: update_charges
-- Totals of charges that have rows: one index look-up for each, whatever the planner believes, and
-- the row then by its place. The lists are texts joined with commas, as in probe_events.
UPDATE charge SET quantity = trim_scale(new.quantity), event_count = new.event_count,
    amount = trim_scale(new.amount)
FROM (
    SELECT given.*, own.place
    FROM unnest(string_to_array($1, ',')::integer[], string_to_array($2, ',')::uuid[],
                string_to_array($3, ',')::numeric[], string_to_array($4, ',')::bigint[],
                string_to_array($5, ',')::numeric[])
    AS given (shard_key, charge_ref, quantity, event_count, amount)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM charge
        WHERE shard_key = given.shard_key AND charge_ref = given.charge_ref LIMIT 1
    ) own
) new
WHERE charge.ctid = new.place AND charge.shard_key = new.shard_key;

-- name: drop_charge
-- A charge whose last event has left it, as if there had never been one.
DELETE FROM charge WHERE shard_key = $1 AND charge_ref = $2;

-- name: drop_period
-- A period in which nothing is charged, unless it was cut, or billed ahead.
DELETE FROM billing_period p
WHERE p.shard_key = $1 AND p.period_ref = $2 AND p.last_cut_number = 0 AND NOT EXISTS (
    SELECT FROM charge own WHERE own.shard_key = $1 AND own.period_ref = $2)
  AND NOT EXISTS (
    SELECT FROM period_cut ahead WHERE ahead.shard_key = $1 AND ahead.period_ref = $2);

-- name: load_periods
SELECT p.period_ref, p.last_cut_number
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, period_ref)
CROSS JOIN LATERAL (
    SELECT period_ref, last_cut_number FROM billing_period
    WHERE shard_key = wanted.shard_key AND period_ref = wanted.period_ref LIMIT 1
) p;

-- name: add_period
INSERT INTO billing_period (
    shard_key, period_ref, tenant_id, contract_product_ref, period_index, start_at, end_at,
    start_date, end_date, full_start_date, full_end_date, issue_date, rest_date, is_partial)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: add_outbox
INSERT INTO rater_outbox (shard_key, topic, record_key, value) VALUES ($1, $2, $3, $4);

-- name: page_of_events
-- One page of the events that lie between two refs or were amended, by ref, as they count now: an
-- amended one may have come from any month. The indexes alone decide how much is read. $6: whether
-- their additional data matters.
SELECT page.event_ref, page.rated_at, page.customer_id, page.meter_id, v.kind,
       coalesce(v.rated_at, -1) AS place,
       coalesce(v.occurred_at, page.occurred_at) AS occurred_at,
       coalesce(v.quantity, page.quantity) AS quantity,
       CASE WHEN v.kind IS NULL THEN page.additional_data ELSE v.additional_data END
       AS additional_data
FROM (
    (SELECT event_ref, occurred_at, rated_at, customer_id, meter_id, quantity,
            CASE WHEN $6 THEN additional_data END AS additional_data
     FROM usage_event
     WHERE shard_key = $1 AND event_ref > $2 AND event_ref > $3 AND event_ref < $4
     ORDER BY event_ref LIMIT $5)
    UNION ALL
    (SELECT u.event_ref, u.occurred_at, u.rated_at, u.customer_id, u.meter_id, u.quantity,
            CASE WHEN $6 THEN u.additional_data END
     FROM (
        (SELECT DISTINCT event_ref FROM usage_event_version
         WHERE shard_key = $1 AND event_ref > $2 AND event_ref <= $3
         ORDER BY event_ref LIMIT $5)
        UNION ALL
        (SELECT DISTINCT event_ref FROM usage_event_version
         WHERE shard_key = $1 AND event_ref > $2 AND event_ref >= $4
         ORDER BY event_ref LIMIT $5)
     ) moved
     CROSS JOIN LATERAL (
        SELECT * FROM usage_event own
        WHERE own.shard_key = $1 AND own.event_ref = moved.event_ref LIMIT 1
     ) u)
    ORDER BY event_ref LIMIT $5
) page
LEFT JOIN LATERAL (
    SELECT kind, rated_at, occurred_at, quantity, additional_data FROM usage_event_version own
    WHERE own.shard_key = $1 AND own.event_ref = page.event_ref
    ORDER BY own.rated_at DESC LIMIT 1
) v ON true
ORDER BY page.event_ref;

-- name: load_days
-- The days, in UTC, on which a customer has events of some meters.
SELECT DISTINCT date_trunc('day', occurred_at, 'UTC') AS day FROM (
    SELECT occurred_at FROM usage_event
    WHERE shard_key = $1 AND event_ref > $3 AND event_ref < $4 AND customer_id = $2
      AND meter_id = ANY ($5::integer[])
    UNION ALL
    SELECT occurred_at FROM usage_event_version
    WHERE shard_key = $1 AND customer_id = $2 AND meter_id = ANY ($5::integer[])
) e
ORDER BY day;

-- name: find_carried
-- How far the last charges of lines before these instants have got, the latest first; none where
-- there is none.
SELECT wanted.place, c.progress
FROM unnest($1::integer[], $2::integer[], $3::uuid[], $4::uuid[], $5::timestamptz[])
AS wanted (place, shard_key, contract_product_ref, contract_line_ref, start_at)
CROSS JOIN LATERAL (
    SELECT own.progress, p.start_at FROM billing_period p
    JOIN charge own ON own.shard_key = p.shard_key AND own.period_ref = p.period_ref
    WHERE p.shard_key = wanted.shard_key
      AND p.contract_product_ref = wanted.contract_product_ref AND p.start_at < wanted.start_at
      AND own.contract_line_ref = wanted.contract_line_ref
    ORDER BY p.start_at DESC LIMIT 1
) c
ORDER BY c.start_at DESC;

-- name: find_following
-- The first period after each of these that has a charge of the line, or is closed.
SELECT wanted.place, p.start_at
FROM unnest($1::integer[], $2::integer[], $3::uuid[], $4::uuid[], $5::timestamptz[])
AS wanted (place, shard_key, contract_product_ref, contract_line_ref, start_at)
CROSS JOIN LATERAL (
    SELECT b.start_at FROM billing_period b
    WHERE b.shard_key = wanted.shard_key
      AND b.contract_product_ref = wanted.contract_product_ref AND b.start_at > wanted.start_at
      AND (b.last_cut_number > 0 OR EXISTS (
        SELECT FROM charge own
        WHERE own.shard_key = b.shard_key AND own.period_ref = b.period_ref
          AND own.contract_line_ref = wanted.contract_line_ref))
    ORDER BY b.start_at LIMIT 1
) p;

-- name: save_aggregate
INSERT INTO charge (shard_key, charge_ref, quantity, event_count, amount, exact_quantity, progress,
                    tenant_id, period_ref, contract_line_ref, pricing_line_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (shard_key, charge_ref) DO UPDATE SET
    quantity = excluded.quantity, event_count = excluded.event_count, amount = excluded.amount,
    exact_quantity = excluded.exact_quantity, progress = excluded.progress;

-- name: count_values
-- Count more events with a value of UNIQUE charges; returns how many there are of each now.
INSERT INTO charge_value AS known (shard_key, charge_ref, value_digest, tenant_id, event_count)
SELECT * FROM unnest($1::integer[], $2::uuid[], $3::uuid[], $4::integer[], $5::bigint[])
ON CONFLICT (shard_key, charge_ref, value_digest) DO UPDATE SET
    event_count = known.event_count + excluded.event_count
RETURNING charge_ref, value_digest, event_count;

-- name: uncount_values
-- Take away events with a value; a value that no event has any more is gone, and returned.
WITH fewer AS (
    SELECT * FROM unnest($1::integer[], $2::uuid[], $3::uuid[], $4::bigint[])
    AS given (shard_key, charge_ref, value_digest, event_count)
),
gone AS (
    DELETE FROM charge_value own USING fewer
    WHERE (own.shard_key, own.charge_ref, own.value_digest)
        = (fewer.shard_key, fewer.charge_ref, fewer.value_digest)
      AND own.event_count = fewer.event_count
    RETURNING own.charge_ref
),
less AS (
    UPDATE charge_value own SET event_count = own.event_count - fewer.event_count FROM fewer
    WHERE (own.shard_key, own.charge_ref, own.value_digest)
        = (fewer.shard_key, fewer.charge_ref, fewer.value_digest)
      AND own.event_count <> fewer.event_count
)
SELECT charge_ref FROM gone;

-- name: take_unrated
-- Events that a line covers now.
WITH taken AS (
    DELETE FROM unrated_usage WHERE shard_key = $1 AND event_ref = ANY ($2::uuid[]) RETURNING 1
)
SELECT count(*) FROM taken;

-- name: closed_periods
SELECT p.period_ref
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, contract_product_ref)
JOIN billing_period p USING (shard_key, contract_product_ref)
WHERE p.last_cut_number > 0;

-- name: set_cut_numbers
UPDATE billing_period p SET last_cut_number = cut.cut_number
FROM unnest($1::integer[], $2::uuid[], $3::integer[]) AS cut (shard_key, period_ref, cut_number)
WHERE p.shard_key = cut.shard_key AND p.period_ref = cut.period_ref;

-- name: load_unsettled
-- What keeps a customer's usage from being all there: dead letters since an instant that nobody
-- has sent again (what was sent again is judged anew), and amendments without their events.
SELECT (
    SELECT count(*) FROM dead_letter d
    WHERE d.shard_key = wanted.shard_key AND d.record_key = wanted.record_key
      AND d.appended_at >= wanted.since AND NOT EXISTS (
        SELECT FROM dead_letter_retry r
        WHERE (r.shard_key, r.partition, r.record_offset)
            = (d.shard_key, d.partition, d.record_offset))
) AS dead_letters, (
    SELECT count(*) FROM pending_amendment a
    WHERE a.shard_key = wanted.shard_key AND a.record_key = wanted.record_key
) AS waiting_amendments
FROM unnest($1::integer[], $2::bytea[], $3::timestamptz[])
WITH ORDINALITY AS wanted (shard_key, record_key, since, place)
ORDER BY place;

-- name: load_closing
SELECT closing, closes_after FROM contract WHERE shard_key = $1 AND contract_ref = $2;

-- name: unschedule
DELETE FROM closing_schedule WHERE shard_key = $1 AND contract_ref = $2;

-- name: schedule
INSERT INTO closing_schedule (shard_key, contract_product_ref, tenant_id, partition, customer_id,
                              contract_ref, end_at, look_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7);

-- name: find_due
-- The first periods of the schedule whose grace was over at $2; $3: the grace, where a tenant has
-- chosen none; $4: customers that are not rated to their full yet.
SELECT due.shard_key, due.contract_product_ref, due.tenant_id, due.customer_id, due.contract_ref,
       due.end_at, due.look_at, due.is_held, chosen.waits, chosen.grace,
       customer.customer_ref::text AS customer_ref
FROM (
    SELECT tenant_id, coalesce(closing_waits, false) AS waits,
           make_interval(secs => coalesce(closing_grace_seconds, $3::float8)) AS grace
    FROM tenant LEFT JOIN tenant_setting USING (tenant_id)
) chosen
CROSS JOIN LATERAL (
    SELECT * FROM closing_schedule own
    WHERE own.partition = $1 AND own.tenant_id = chosen.tenant_id
      AND own.look_at <= $2::timestamptz - chosen.grace AND own.customer_id <> ALL ($4::integer[])
    ORDER BY own.look_at LIMIT $5
) due
JOIN customer USING (shard_key, customer_id)
ORDER BY due.look_at, due.shard_key, due.contract_product_ref LIMIT $5;

-- name: find_late
-- Closed periods that what came late has moved before $2.
SELECT late.shard_key, period.contract_product_ref, late.tenant_id, contract.customer_id,
       contract.contract_ref, period.start_at, customer.customer_ref::text AS customer_ref
FROM late_period late
JOIN billing_period period USING (shard_key, period_ref)
JOIN contract_product product USING (shard_key, contract_product_ref)
JOIN contract USING (shard_key, contract_ref)
JOIN customer USING (shard_key, customer_id)
WHERE late.partition = $1 AND NOT late.waits_for_call AND late.since <= $2::timestamptz
  AND contract.customer_id <> ALL ($3::integer[])
ORDER BY late.since LIMIT $4;

-- name: find_late_of
-- Closed periods of contract products that what came late has moved.
SELECT late.period_ref
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, contract_product_ref)
JOIN billing_period period USING (shard_key, contract_product_ref)
JOIN late_period late USING (shard_key, period_ref);

-- name: add_late
INSERT INTO late_period (shard_key, period_ref, tenant_id, partition, since, waits_for_call)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- name: drop_late
DELETE FROM late_period late
USING unnest($1::integer[], $2::uuid[]) AS cut (shard_key, period_ref)
WHERE late.shard_key = cut.shard_key AND late.period_ref = cut.period_ref;

-- name: move_schedule
UPDATE closing_schedule s SET end_at = moved.end_at, look_at = moved.look_at,
    is_held = moved.is_held
FROM unnest($1::integer[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::boolean[])
AS moved (shard_key, contract_product_ref, end_at, look_at, is_held)
WHERE s.shard_key = moved.shard_key AND s.contract_product_ref = moved.contract_product_ref;

-- name: end_schedule
DELETE FROM closing_schedule s
USING unnest($1::integer[], $2::uuid[]) AS done (shard_key, contract_product_ref)
WHERE s.shard_key = done.shard_key AND s.contract_product_ref = done.contract_product_ref;

-- name: find_openings
-- The first periods of the schedule that are to be billed ahead by $2, with usage once the grace is
-- over; $3, $4 as in find_due.
SELECT due.shard_key, due.contract_product_ref, due.tenant_id, due.customer_id, due.contract_ref,
       due.start_at, customer.customer_ref::text AS customer_ref
FROM opening_schedule due
LEFT JOIN tenant_setting USING (tenant_id)
JOIN customer USING (shard_key, customer_id)
WHERE due.partition = $1 AND due.issue_at <= $2::timestamptz
  AND (NOT due.has_usage OR due.issue_at <= $2::timestamptz
       - make_interval(secs => coalesce(closing_grace_seconds, $3::float8)))
  AND due.customer_id <> ALL ($4::integer[])
ORDER BY due.issue_at, due.shard_key, due.contract_product_ref LIMIT $5;

-- name: opened_periods
-- What was billed ahead of periods of contract products, or would come too late.
SELECT p.period_ref
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, contract_product_ref)
JOIN billing_period p USING (shard_key, contract_product_ref)
WHERE p.last_cut_number > 0 OR EXISTS (
    SELECT FROM period_cut own WHERE own.shard_key = p.shard_key AND own.period_ref = p.period_ref);

-- name: unschedule_openings
DELETE FROM opening_schedule WHERE shard_key = $1 AND contract_ref = $2;

-- name: schedule_opening
INSERT INTO opening_schedule (shard_key, contract_product_ref, tenant_id, partition, customer_id,
                              contract_ref, start_at, issue_at, has_usage)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: move_opening
UPDATE opening_schedule SET start_at = $3, issue_at = $4, has_usage = $5
WHERE shard_key = $1 AND contract_product_ref = $2;

-- name: end_openings
DELETE FROM opening_schedule WHERE shard_key = $1 AND contract_product_ref = $2;

-- name: read_by_index
-- For the rest of the transaction; see lock_partition.
SELECT set_config('enable_seqscan', 'off', true);

-- name: find_undigested
-- Cuts whose lines have no digests yet, with what their events are found by.
SELECT cut.shard_key, cut.period_ref, cut.cut_number, cut.tenant_id, own.cut_offset,
       period.contract_product_ref, period.start_at,
       coalesce(own.until_at, period.end_at) AS end_at, contract.customer_id,
       customer.customer_ref::text AS customer_ref
FROM undigested_cut cut
JOIN period_cut own USING (shard_key, period_ref, cut_number)
JOIN billing_period period USING (shard_key, period_ref)
JOIN contract_product product USING (shard_key, contract_product_ref)
JOIN contract USING (shard_key, contract_ref)
JOIN customer USING (shard_key, customer_id)
WHERE cut.partition = $1
ORDER BY cut.shard_key, cut.period_ref, cut.cut_number LIMIT $2;

-- name: usage_of_cuts
-- One page of each wanted period's events, by ref: those between two refs (of the period's months),
-- and those that were amended, which may have come from any month. An event is as its last version
-- rated before the cut says; whoever reads leaves out what that deletes or moves out of the period.
-- The indexes alone decide how much is read.
SELECT wanted.place::integer - 1 AS place, page.event_ref, page.event_ref::text AS ref_text,
       page.meter_id, coalesce(v.occurred_at, page.occurred_at) AS occurred_at,
       trim_scale(coalesce(v.quantity, page.quantity))::text AS quantity,
       CASE WHEN v.kind IS NULL THEN page.additional_data ELSE v.additional_data END
       AS additional_data,
       page.customer_id = wanted.customer_id AND page.rated_at < wanted.cut_offset
       AND v.kind IS DISTINCT FROM 'DELETE'
       AND coalesce(v.occurred_at, page.occurred_at) >= wanted.start_at
       AND coalesce(v.occurred_at, page.occurred_at) < wanted.end_at AS counts
FROM unnest($1::integer[], $2::integer[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[],
            $7::timestamptz[], $8::bigint[])
WITH ORDINALITY AS wanted (shard_key, customer_id, after, low, high, start_at, end_at, cut_offset,
                           place)
CROSS JOIN LATERAL (
    (SELECT event_ref, occurred_at, rated_at, customer_id, meter_id, quantity, additional_data
     FROM usage_event
     WHERE shard_key = wanted.shard_key AND event_ref > wanted.after
       AND event_ref > wanted.low AND event_ref < wanted.high
     ORDER BY event_ref LIMIT $9)
    UNION ALL
    (SELECT u.event_ref, u.occurred_at, u.rated_at, u.customer_id, u.meter_id, u.quantity,
            u.additional_data
     FROM (
        (SELECT DISTINCT event_ref FROM usage_event_version
         WHERE shard_key = wanted.shard_key AND event_ref > wanted.after
           AND event_ref <= wanted.low
         ORDER BY event_ref LIMIT $9)
        UNION ALL
        (SELECT DISTINCT event_ref FROM usage_event_version
         WHERE shard_key = wanted.shard_key AND event_ref > wanted.after
           AND event_ref >= wanted.high
         ORDER BY event_ref LIMIT $9)
     ) moved
     CROSS JOIN LATERAL (
        SELECT * FROM usage_event own
        WHERE own.shard_key = wanted.shard_key AND own.event_ref = moved.event_ref LIMIT 1
     ) u)
    ORDER BY event_ref LIMIT $9
) page
LEFT JOIN LATERAL (
    SELECT kind, occurred_at, quantity, additional_data FROM usage_event_version own
    WHERE own.shard_key = wanted.shard_key AND own.event_ref = page.event_ref
      AND own.rated_at < wanted.cut_offset
    ORDER BY own.rated_at DESC LIMIT 1
) v ON true
ORDER BY wanted.place, page.event_ref;

-- name: load_digested_lines
-- The lines of cuts that events feed, with their meters; the cells of a line have one list.
SELECT DISTINCT cut.shard_key, cut.period_ref, cut.cut_number, line.contract_line_ref, price.meter_id
FROM unnest($1::integer[], $2::uuid[], $3::integer[])
AS wanted (shard_key, period_ref, cut_number)
JOIN charge_cut cut USING (shard_key, period_ref, cut_number)
JOIN contract_line line USING (shard_key, contract_line_ref)
JOIN pricing_line price
    ON price.tenant_id = cut.tenant_id AND price.pricing_line_id = cut.pricing_line_id
WHERE price.meter_id IS NOT NULL;

-- name: set_digests
UPDATE charge_cut c SET events_digest = made.digest
FROM unnest($1::integer[], $2::uuid[], $3::integer[], $4::uuid[], $5::bytea[])
AS made (shard_key, period_ref, cut_number, contract_line_ref, digest)
WHERE c.shard_key = made.shard_key AND c.period_ref = made.period_ref
  AND c.cut_number = made.cut_number AND c.contract_line_ref = made.contract_line_ref
  AND c.events_digest IS NULL;

-- name: drop_undigested
DELETE FROM undigested_cut u
USING unnest($1::integer[], $2::uuid[], $3::integer[]) AS done (shard_key, period_ref, cut_number)
WHERE u.shard_key = done.shard_key AND u.period_ref = done.period_ref
  AND u.cut_number = done.cut_number
RETURNING u.period_ref;

-- name: fold_tail
-- See schema.sql.
SELECT fold_usage_tail($1, $2);

-- name: take_outbox
-- The oldest records to publish, none that another relay has in hand.
SELECT shard_key, outbox_id, topic, record_key, value, created_at FROM rater_outbox
ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED;

-- name: delete_outbox
DELETE FROM rater_outbox o USING unnest($1::integer[], $2::bigint[]) AS sent (shard_key, outbox_id)
WHERE o.shard_key = sent.shard_key AND o.outbox_id = sent.outbox_id;

-- name: find_dead_letters
-- Dead letters by their places; those that were retried before have another first place.
SELECT d.partition, d.record_offset, d.value
FROM unnest($1::integer[], $2::bigint[]) AS wanted (partition, record_offset)
JOIN dead_letter d USING (partition, record_offset)
WHERE d.origin_offset IS NULL;

-- name: lock_members
-- One member at a time looks at who rates what.
SELECT pg_advisory_xact_lock(hashtext('meterline_rater_member'));

-- name: drop_expired_members
DELETE FROM rater_member WHERE expires_at < now();

-- name: end_stalled_transactions
-- Materialized: were the call a condition beside the others, it could be made before they are.
WITH stalled AS MATERIALIZED (
    SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
      AND application_name = current_setting('application_name')
      AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - $1 * interval '1 second'
)
SELECT pid, seconds, pg_terminate_backend(pid) AS is_ended FROM stalled;

-- name: load_members
SELECT member, partitions FROM rater_member;

-- name: load_partition_numbers
SELECT partition FROM rater_partition ORDER BY partition;

-- name: keep_member
INSERT INTO rater_member (member, partitions, expires_at)
VALUES ($1, $2, now() + $3 * interval '1 second')
ON CONFLICT (member) DO UPDATE
SET partitions = excluded.partitions, expires_at = excluded.expires_at;

-- name: drop_member
DELETE FROM rater_member WHERE member = $1;
