-- Archiving: which months may go, and how one leaves the database. Months are counted from January
-- 2000, as refs count them.

-- name: list_months
-- The months that have a table, the oldest first.
SELECT (extract(year FROM day) - 2000)::integer * 12 + extract(month FROM day)::integer - 1
    AS month, name
FROM (
    SELECT c.relname AS name,
           to_date(substring(c.relname FROM 'usage_event_(\d{4}_\d{2})$'), 'YYYY_MM') AS day
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'usage_event_row'::regclass
) AS stored ORDER BY 1;

-- name: holding
-- Why a month has to stay: a reason a row. $1: the month. $2: its last instant, exclusive.
SELECT format('tenant %s takes events of any age: choose maximum_event_age_days in its settings',
              t.tenant_ref) AS reason
FROM tenant t LEFT JOIN tenant_setting s USING (tenant_id) WHERE s.age_days_max IS NULL
UNION ALL
SELECT format('tenant %s takes events of it until %s UTC', t.tenant_ref,
              to_char(reaches.until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
FROM tenant t JOIN tenant_setting s USING (tenant_id),
LATERAL (
    -- A period that reaches beyond the month is added to as long as its end is; so is the month
    -- that an event was moved to.
    SELECT greatest(
        $2,
        (SELECT max(p.end_at) FROM billing_period p
         WHERE p.tenant_id = t.tenant_id AND p.start_at < $2 AND p.end_at > $2),
        (SELECT max(v.occurred_at) FROM usage_event_version v
         WHERE v.tenant_id = t.tenant_id AND v.event_ref < usage_month_bound($1 + 1))
    ) + s.age_days_max * interval '1 day' AS until
) AS reaches
WHERE reaches.until > now()
UNION ALL
SELECT format('%s of its billing periods are not closed: the first one begins on %s',
              count(*), min(start_date))
FROM billing_period WHERE start_at < $2 AND last_cut_number = 0 HAVING count(*) > 0
UNION ALL
SELECT format('%s of its billing periods have moved since they were cut', count(*))
FROM late_period JOIN billing_period USING (shard_key, period_ref)
WHERE start_at < $2 HAVING count(*) > 0
UNION ALL
SELECT format('the digests of %s of its cuts are being made', count(*))
FROM undigested_cut JOIN billing_period USING (shard_key, period_ref)
WHERE start_at < $2 HAVING count(*) > 0
UNION ALL
SELECT format('%s amendments wait for events of it', count(*)) FROM pending_amendment
WHERE event_ref < usage_month_bound($1 + 1) HAVING count(*) > 0
UNION ALL
SELECT format('past usage is being rated for %s contracts', count(*))
FROM partition_change change LEFT JOIN partition_task task USING (partition, reference_version)
WHERE change.kind = 'CONTRACT' AND task.state IS DISTINCT FROM 'DONE' HAVING count(*) > 0;

-- name: hold_partitions
-- Nobody rates, and nobody changes what is rated by, until the transaction ends.
SELECT partition, next_offset FROM rater_partition ORDER BY partition FOR UPDATE;

-- name: find_topic
SELECT topic, partitions FROM event_log;

-- name: refuse_below
-- Whoever owns a partition takes notice at its next step. $1: the first month that stays, $2: its
-- first instant. Billing periods that reach beyond it are closed for good, too.
UPDATE rater_partition
SET archived_below = $1, reference_version = reference_version + 1,
    archived_until = greatest($2, (
        SELECT max(end_at) FROM billing_period WHERE start_at < $2 AND end_at > $2))
WHERE archived_below < $1;

-- name: export_month
-- The rows of a month, whose bounds $1 and $2 are refs, with the refs that their ids stand for.
SELECT e.event_ref, (extract(epoch FROM e.occurred_at) * 1000000)::bigint AS occurred_at,
       e.fingerprint, e.rated_at, e.origin_offset, e.origin_partition, e.shard_key,
       e.tenant_id, e.customer_id, e.meter_id, t.tenant_ref, c.customer_ref,
       m.usage_product_ref, e.quantity::text AS quantity, e.additional_data
FROM usage_event e
JOIN tenant t USING (tenant_id)
JOIN customer c ON c.shard_key = e.shard_key AND c.customer_id = e.customer_id
JOIN meter m ON m.tenant_id = e.tenant_id AND m.meter_id = e.meter_id
WHERE e.event_ref >= $1 AND e.event_ref < $2
ORDER BY e.shard_key, e.event_ref;

-- name: make_archived_rows
-- Events of archives, as this session alone sees them.
CREATE TEMPORARY TABLE archived_event (LIKE public.usage_event);

-- name: count_differing
-- How many rows of a month are not exactly so in its file, or the other way around. $1, $2: its
-- bounds as refs.
WITH stored AS (SELECT * FROM public.usage_event WHERE event_ref >= $1 AND event_ref < $2)
SELECT (SELECT count(*) FROM (SELECT * FROM stored EXCEPT ALL SELECT * FROM archived_event) AS a)
     + (SELECT count(*) FROM (SELECT * FROM archived_event EXCEPT ALL SELECT * FROM stored) AS b);

-- name: count_archived_rows
SELECT count(*) FROM archived_event;

-- name: drop_archived_rows
DROP TABLE archived_event;

-- name: add_archived_usage
-- $1: the month. $2, $3: its bounds as refs.
INSERT INTO archived_usage (shard_key, customer_id, meter_id, month, tenant_id, events)
SELECT shard_key, customer_id, meter_id, $1, tenant_id, count(*)
FROM public.usage_event WHERE event_ref >= $2 AND event_ref < $3
GROUP BY shard_key, customer_id, meter_id, tenant_id;

-- name: fold_tails
-- No customer begins to have sums by this.
SELECT fold_usage_tail(partition, 9223372036854775807) FROM rater_partition ORDER BY partition;

-- name: roll_up_month
-- Customers without sums who have events in a month, whose bounds $1 and $2 are refs, get them.
SELECT roll_up_customer(shard_key, customer_id)
FROM rolled_customer own
WHERE grain IS NULL AND EXISTS (
    SELECT FROM public.usage_event event
    WHERE event.shard_key = own.shard_key AND event.customer_id = own.customer_id
      AND event_ref >= $1 AND event_ref < $2);

-- name: drop_origins
-- $1, $2: the bounds of a month, as refs.
DELETE FROM usage_event_origin WHERE event_ref >= $1 AND event_ref < $2;

-- name: add_archived_month
INSERT INTO archived_month (month, events, file_name, file_bytes, file_sha256)
VALUES ($1, $2, $3, $4, $5);
