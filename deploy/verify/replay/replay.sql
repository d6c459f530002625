-- The full replay: a shadow of the books in tables of this session alone. The server drops them with
-- the session, whatever becomes of it.

-- name: make_shadow
-- Before the snapshot is taken: a transaction that only reads makes no tables, but may fill these.
-- Columns that the books have, too, are declared as they are there.
CREATE TEMPORARY TABLE replay_arrival (
    stem uuid, partition integer, record_offset bigint, appended_at timestamptz, kind text,
    ref uuid, alias uuid, shard_key integer, customer_ref uuid, tenant_ref uuid, meter_ref uuid,
    fingerprint bigint, occurred_at timestamptz, quantity numeric, additional_data text,
    replaces_data boolean, note text, made_by text, origin_partition integer, origin_offset bigint,
    is_dead boolean, record_key bytea, value bytea
);
CREATE TEMPORARY TABLE replay_counted (
    shard_key integer, customer_id integer, meter_id integer, tenant_id integer, event_ref uuid,
    occurred_at timestamptz, quantity numeric, additional_data text, value_digest uuid,
    since bigint, until bigint, own_meter_id integer, factor numeric, formula text, places integer
);
CREATE TEMPORARY TABLE replay_skipped (partition integer, first_offset bigint, end_offset bigint);
CREATE TEMPORARY TABLE replay_event (LIKE public.usage_event);
CREATE TEMPORARY TABLE replay_version (LIKE public.usage_event_version);
CREATE TEMPORARY TABLE replay_pending (LIKE public.pending_amendment);
CREATE TEMPORARY TABLE replay_conflict AS
SELECT shard_key, event_ref, partition, record_offset, tenant_id, customer_id, value
FROM public.usage_conflict WITH NO DATA;
CREATE TEMPORARY TABLE replay_unrated (LIKE public.unrated_usage);
CREATE TEMPORARY TABLE replay_charge (LIKE public.charge);
CREATE TEMPORARY TABLE replay_value (LIKE public.charge_value);
CREATE TEMPORARY TABLE replay_cut (LIKE public.charge_cut);
CREATE TEMPORARY VIEW replay_busy AS
-- Contracts whose past usage is being rated: their charges are not whole yet.
SELECT DISTINCT change.shard_key, change.customer_id, change.contract_ref
FROM public.partition_change change
LEFT JOIN public.partition_task task USING (partition, reference_version)
WHERE change.kind = 'CONTRACT' AND task.state IS DISTINCT FROM 'DONE';
CREATE TEMPORARY VIEW replay_busy_line AS
SELECT line.shard_key, line.contract_line_ref
FROM replay_busy JOIN public.contract_product product USING (shard_key, contract_ref)
JOIN public.contract_line line USING (shard_key, contract_product_ref);

-- name: empty_shadow
DELETE FROM replay_arrival; DELETE FROM replay_counted; DELETE FROM replay_skipped;
DELETE FROM replay_event; DELETE FROM replay_version; DELETE FROM replay_pending;
DELETE FROM replay_conflict; DELETE FROM replay_unrated; DELETE FROM replay_charge;
DELETE FROM replay_value; DELETE FROM replay_cut;

-- name: tenants
SELECT tenant_ref::text AS tenant_ref FROM tenant;

-- name: tenants_of
-- Whose some customers are.
SELECT c.customer_ref::text AS customer_ref, t.tenant_ref::text AS tenant_ref
FROM customer c JOIN tenant t USING (tenant_id) WHERE c.customer_ref = ANY ($1::uuid[]);

-- name: dead_letters
-- The verdicts on a stretch of a partition, which a replay is given.
SELECT record_offset, reason, record_key, value, appended_at
FROM dead_letter WHERE partition = $1 AND record_offset >= $2 AND record_offset < $3;

-- name: origins
-- The bytes of dead letters that records say they are retries of.
SELECT d.partition, d.record_offset, d.value
FROM unnest($1::integer[], $2::bigint[]) AS wanted (partition, record_offset)
JOIN dead_letter d USING (partition, record_offset);

-- name: arrivals
-- Everything about one event, whatever its month, in the order of the log.
SELECT a.*, c.customer_id, c.tenant_id, t.tenant_ref AS own_tenant_ref,
       m.meter_id, m.tenant_id AS meter_tenant_id,
       r.partition AS retried_partition, r.record_offset AS retried_offset
FROM replay_arrival a
LEFT JOIN customer c ON c.shard_key = a.shard_key AND c.customer_ref = a.customer_ref
LEFT JOIN tenant t ON t.tenant_id = c.tenant_id
LEFT JOIN meter m ON m.usage_product_ref = a.meter_ref
LEFT JOIN dead_letter_retry r
    ON r.retry_partition = a.partition AND r.retry_offset = a.record_offset
ORDER BY a.stem, a.record_offset;

-- name: feeds
-- In whose lines the events of each meter count, and as what.
SELECT fed.meter_id, toward_id, factor, own.formula, toward.aggregation, toward.unique_key
FROM fed_meter fed
JOIN meter own ON own.meter_id = fed.meter_id
JOIN meter toward ON toward.meter_id = toward_id
ORDER BY fed.meter_id, steps;

-- name: busy
SELECT contract_ref FROM replay_busy;

-- name: lines
-- Every line of every contract, with all cuts of its product.
SELECT contract.shard_key, contract.customer_id, coalesce(price.meter_id, 0) AS meter_id,
       contract.contract_ref, tenant.tenant_id, tenant.tenant_ref::text AS tenant_ref,
       product.contract_product_ref, product.billing_start_date, product.billing_end_date,
       product.cycle_unit, product.cycle_length, product.issue_day, product.payment_time,
       product.timezone, product.since_date, product.until_date, product.ahead_since,
       product.lineage_ref, product.version, line.contract_line_ref, line.pricing_line_id, price.price::text AS price,
       meter.aggregation,
       cuts.start_ats, cuts.numbers, cuts.offsets
FROM contract_line line
JOIN contract_product product USING (shard_key, contract_product_ref)
JOIN contract USING (shard_key, contract_ref)
JOIN tenant ON tenant.tenant_id = contract.tenant_id
JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
LEFT JOIN meter ON meter.meter_id = price.meter_id
LEFT JOIN (
    SELECT period.shard_key, contract_product_ref,
           array_agg(start_at ORDER BY start_at, cut_number) AS start_ats,
           array_agg(cut_number ORDER BY start_at, cut_number) AS numbers,
           array_agg(cut_offset ORDER BY start_at, cut_number) AS offsets
    FROM period_cut JOIN billing_period period USING (shard_key, period_ref)
    WHERE cut_number > 0  -- what is billed ahead has a check of its own
    GROUP BY 1, 2
) cuts ON cuts.shard_key = line.shard_key
      AND cuts.contract_product_ref = line.contract_product_ref
-- A product that waits to be swapped in prices nothing yet.
WHERE NOT product.is_pending
ORDER BY 1, 2, 3, line.contract_line_ref;

-- name: counted
-- What counted from which offset until which, in the order of time, once in the lines of each meter
-- that it counts in; of one that counts different values, these together.
SELECT * FROM replay_counted
ORDER BY shard_key, customer_id, meter_id, value_digest NULLS FIRST, occurred_at, event_ref, since;

-- name: counters
SELECT partition, first_offset, next_offset, rated, unrated, duplicates, conflicts, amendments,
       dead_letters, skipped
FROM rater_partition ORDER BY partition;

-- name: accepted
-- How many events each partition has; $1: partitions of the log.
SELECT shard_key % $1::integer AS partition, count(*) AS events FROM replay_event GROUP BY 1;

-- name: unrated
SELECT shard_key % $1::integer AS partition, count(*) AS events FROM replay_unrated GROUP BY 1;

-- name: events_differ
-- From here on: what is stored beside what the replay gives, where any byte differs. $1 is a tenant,
-- or NULL for all of them.
SELECT 'event ' || coalesce(stored.event_ref, replayed.event_ref) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (SELECT * FROM usage_event WHERE $1::integer IS NULL OR tenant_id = $1) stored
FULL JOIN (SELECT * FROM replay_event WHERE $1::integer IS NULL OR tenant_id = $1) replayed
    ON stored.shard_key = replayed.shard_key AND stored.event_ref = replayed.event_ref
WHERE stored.event_ref IS NULL OR replayed.event_ref IS NULL OR stored *<> replayed;

-- name: versions_differ
SELECT format('amendment at %s of %s', coalesce(stored.rated_at, replayed.rated_at),
              coalesce(stored.event_ref, replayed.event_ref)) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (SELECT * FROM usage_event_version WHERE $1::integer IS NULL OR tenant_id = $1) stored
FULL JOIN (SELECT * FROM replay_version WHERE $1::integer IS NULL OR tenant_id = $1) replayed
    ON stored.shard_key = replayed.shard_key AND stored.event_ref = replayed.event_ref
   AND stored.rated_at = replayed.rated_at
WHERE stored.event_ref IS NULL OR replayed.event_ref IS NULL OR stored *<> replayed;

-- name: pending_differ
SELECT format('amendment at %s that waits for %s',
              coalesce(stored.record_offset, replayed.record_offset),
              coalesce(stored.event_ref, replayed.event_ref)) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (SELECT * FROM pending_amendment WHERE $1::integer IS NULL OR tenant_id = $1) stored
FULL JOIN (SELECT * FROM replay_pending WHERE $1::integer IS NULL OR tenant_id = $1) replayed
    ON stored.shard_key = replayed.shard_key AND stored.event_ref = replayed.event_ref
   AND stored.record_offset = replayed.record_offset
WHERE stored.event_ref IS NULL OR replayed.event_ref IS NULL OR stored *<> replayed;

-- name: conflicts_differ
SELECT format('conflict at %s with %s', coalesce(stored.record_offset, replayed.record_offset),
              coalesce(stored.event_ref, replayed.event_ref)) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (
    SELECT shard_key, event_ref, partition, record_offset, tenant_id, customer_id, value
    FROM usage_conflict WHERE $1::integer IS NULL OR tenant_id = $1
) stored
FULL JOIN (SELECT * FROM replay_conflict WHERE $1::integer IS NULL OR tenant_id = $1) replayed
    ON stored.shard_key = replayed.shard_key AND stored.event_ref = replayed.event_ref
   AND stored.partition = replayed.partition AND stored.record_offset = replayed.record_offset
WHERE stored.event_ref IS NULL OR replayed.event_ref IS NULL OR stored *<> replayed;

-- name: unrated_differ
-- Events of customers whose past usage is being rated are on neither side.
SELECT 'unrated event ' || coalesce(stored.event_ref, replayed.event_ref) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (
    SELECT * FROM unrated_usage
    WHERE ($1::integer IS NULL OR tenant_id = $1)
      AND (shard_key, customer_id) NOT IN (SELECT shard_key, customer_id FROM replay_busy)
) stored
FULL JOIN (
    SELECT * FROM replay_unrated
    WHERE ($1::integer IS NULL OR tenant_id = $1)
      AND (shard_key, customer_id) NOT IN (SELECT shard_key, customer_id FROM replay_busy)
) replayed ON stored.shard_key = replayed.shard_key AND stored.event_ref = replayed.event_ref
WHERE stored.event_ref IS NULL OR replayed.event_ref IS NULL OR stored *<> replayed;

-- name: skipped_differ
-- Ranges are cut where polls were; what they hold together is compared.
SELECT format('skipped offsets of partition %s', coalesce(stored.partition, replayed.partition))
       AS name,
       json_build_object('offsets', stored.offsets::text)::text AS stored,
       json_build_object('offsets', replayed.offsets::text)::text AS replayed
FROM (
    SELECT partition, range_agg(int8range(first_offset, end_offset)) AS offsets
    FROM skipped_range GROUP BY 1
) stored
FULL JOIN (
    SELECT partition, range_agg(int8range(first_offset, end_offset)) AS offsets
    FROM replay_skipped GROUP BY 1
) replayed ON stored.partition = replayed.partition
WHERE stored.offsets IS DISTINCT FROM replayed.offsets;

-- name: charges_differ
-- A time-weighted charge of no events into which nothing is carried says nothing; whether it is
-- there may depend on where the log was cut into polls.
WITH silent AS (
    SELECT pricing_line_id FROM pricing_line JOIN meter USING (meter_id)
    WHERE aggregation = 'TIME_WEIGHTED'
)
SELECT format('charge %s of line %s in period %s', coalesce(stored.charge_ref, replayed.charge_ref),
              coalesce(stored.contract_line_ref, replayed.contract_line_ref),
              coalesce(stored.period_ref, replayed.period_ref)) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (
    SELECT * FROM charge WHERE ($1::integer IS NULL OR tenant_id = $1)
      AND (shard_key, contract_line_ref) NOT IN (SELECT * FROM replay_busy_line)
      AND NOT (event_count = 0 AND progress = '0' AND progress IS NOT NULL
               AND pricing_line_id IN (SELECT * FROM silent))
) stored
FULL JOIN (
    SELECT * FROM replay_charge WHERE ($1::integer IS NULL OR tenant_id = $1)
      AND NOT (event_count = 0 AND progress = '0' AND progress IS NOT NULL
               AND pricing_line_id IN (SELECT * FROM silent))
) replayed ON stored.shard_key = replayed.shard_key AND stored.charge_ref = replayed.charge_ref
WHERE stored.charge_ref IS NULL OR replayed.charge_ref IS NULL OR stored *<> replayed;

-- name: values_differ
SELECT format('value %s of charge %s', coalesce(stored.value_digest, replayed.value_digest),
              coalesce(stored.charge_ref, replayed.charge_ref)) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (
    SELECT own.* FROM charge_value own JOIN charge USING (shard_key, charge_ref)
    WHERE ($1::integer IS NULL OR own.tenant_id = $1)
      AND (charge.shard_key, contract_line_ref) NOT IN (SELECT * FROM replay_busy_line)
) stored
FULL JOIN (SELECT * FROM replay_value WHERE $1::integer IS NULL OR tenant_id = $1) replayed
    ON stored.shard_key = replayed.shard_key AND stored.charge_ref = replayed.charge_ref
   AND stored.value_digest = replayed.value_digest
WHERE stored.charge_ref IS NULL OR replayed.charge_ref IS NULL OR stored *<> replayed;

-- name: cuts_differ
-- The digests come later, and have a check of their own.
SELECT format('line %s of period %s at cut %s',
              coalesce(stored.contract_line_ref, replayed.contract_line_ref),
              coalesce(stored.period_ref, replayed.period_ref),
              coalesce(stored.cut_number, replayed.cut_number)) AS name,
       to_json(stored)::text AS stored, to_json(replayed)::text AS replayed
FROM (
    SELECT shard_key, period_ref, cut_number, contract_line_ref, cell, tenant_id, charge_ref,
           pricing_line_id, quantity, event_count, amount, exact_quantity
    FROM charge_cut WHERE cut_number > 0 AND ($1::integer IS NULL OR tenant_id = $1)
) stored
FULL JOIN (
    SELECT shard_key, period_ref, cut_number, contract_line_ref, cell, tenant_id, charge_ref,
           pricing_line_id, quantity, event_count, amount, exact_quantity
    FROM replay_cut WHERE $1::integer IS NULL OR tenant_id = $1
) replayed
    ON stored.shard_key = replayed.shard_key AND stored.period_ref = replayed.period_ref
   AND stored.cut_number = replayed.cut_number
   AND stored.contract_line_ref = replayed.contract_line_ref AND stored.cell = replayed.cell
WHERE stored.period_ref IS NULL OR replayed.period_ref IS NULL OR stored *<> replayed;

-- name: count_charges
SELECT count(*) FROM replay_charge WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: count_cuts
SELECT count(*) FROM replay_cut WHERE $1::integer IS NULL OR tenant_id = $1;
