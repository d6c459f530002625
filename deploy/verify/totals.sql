-- Totals: the running charges and the cuts beside what their events add up to. $1 is a tenant, or
-- NULL for all of them.

-- name: charges_counted
SELECT count(*) FROM charge WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: cuts_counted
SELECT count(*) FROM charge_cut WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: totals_broken
-- $2: true for the charges, false for the cuts. An event is in the total of a line when the
-- line's customer is its own, its meter counts in those of the line's, and the period holds its
-- instant; in a cut when it was rated before the cut, too. An event that was amended counts as the version that was its last
-- when the total was made, and not at all when that deleted it. Events meet the lines by month:
-- every join is by equal values and costs once an event, however many periods a contract has.
WITH waiting AS (
    -- Contracts whose past usage is being rated: their charges are not whole yet.
    SELECT change.shard_key, change.contract_ref
    FROM partition_change change LEFT JOIN partition_task task USING (partition, reference_version)
    WHERE change.kind = 'CONTRACT' AND task.state IS DISTINCT FROM 'DONE'
),
bound AS (
    SELECT shard_key, period_ref, 0 AS cut_number, 9223372036854775807 AS rated_before,
           NULL::timestamptz AS until_at
    FROM billing_period
    WHERE $2 AND ($1::integer IS NULL OR tenant_id = $1)
    UNION ALL
    -- What is billed ahead of a period holds its events up to an instant, or none at all.
    SELECT shard_key, period_ref, cut_number, cut_offset, until_at
    FROM period_cut
    WHERE NOT $2 AND ($1::integer IS NULL OR tenant_id = $1)
      AND (cut_number > 0 OR until_at IS NOT NULL)
),
line AS (
    SELECT contract.shard_key, contract.customer_id, fed.meter_id, fed.factor, meter.aggregation,
           contract_line_ref, period_ref, cut_number, rated_before, start_at,
           coalesce(until_at, end_at) AS end_at, month
    FROM bound
    JOIN billing_period period USING (shard_key, period_ref)
    JOIN contract_product product USING (shard_key, contract_product_ref)
    JOIN contract USING (shard_key, contract_ref)
    JOIN contract_line line USING (shard_key, contract_product_ref)
    JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
    JOIN meter ON meter.meter_id = price.meter_id
    JOIN fed_meter fed ON fed.toward_id = price.meter_id
    CROSS JOIN generate_series(date_trunc('month', start_at), end_at - interval '1 microsecond',
                               interval '1 month') AS month
    WHERE (contract.shard_key, contract.contract_ref) NOT IN (SELECT * FROM waiting)
      AND meter.aggregation IN ('SUM', 'COUNT')
      AND meter.meter_id NOT IN (SELECT meter_id FROM computed_meter)
      -- What was billed ahead of a period that an edit has replaced stays, without its charges.
      AND (NOT $2 OR coalesce(period.start_date < product.until_date, true))
),
fold AS (
    SELECT line.shard_key, period_ref, contract_line_ref, cut_number,
           sum(round(CASE aggregation WHEN 'COUNT' THEN 1 ELSE quantity END * factor, 18))
           AS quantity,
           count(*) AS events
    FROM counted_event event
    JOIN line ON line.shard_key = event.shard_key AND line.customer_id = event.customer_id
        AND line.meter_id = event.meter_id AND line.month = date_trunc('month', occurred_at)
        AND occurred_at >= start_at AND occurred_at < end_at
        AND since < rated_before AND rated_before <= until
    GROUP BY 1, 2, 3, 4
),
stored AS (
    SELECT shard_key, period_ref, contract_line_ref, 0 AS cut_number, cell, quantity, event_count
    FROM charge
    WHERE $2 AND ($1::integer IS NULL OR tenant_id = $1)
    UNION ALL
    SELECT shard_key, period_ref, contract_line_ref, cut_number, cell, quantity, event_count
    FROM charge_cut
    WHERE NOT $2 AND ($1::integer IS NULL OR tenant_id = $1)
),
total AS (
    SELECT stored.shard_key, period_ref, contract_line_ref, cut_number,
           sum(quantity) AS quantity, sum(event_count) AS events,
           count(*) - count(DISTINCT cell) AS repeated
    FROM stored
    LEFT JOIN contract_line line USING (shard_key, contract_line_ref)
    LEFT JOIN contract_product product USING (shard_key, contract_product_ref)
    LEFT JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
    LEFT JOIN meter ON meter.meter_id = price.meter_id
    -- A line without a meter has a quantity of its own, which its price names; meters that add up
    -- otherwise than by sums and counts have a check of their own.
    WHERE (price.pricing_line_id IS NULL
           OR meter.aggregation IN ('SUM', 'COUNT')
              AND meter.meter_id NOT IN (SELECT meter_id FROM computed_meter))
      AND (line.contract_line_ref IS NULL
           OR (line.shard_key, product.contract_ref) NOT IN (SELECT * FROM waiting))
    GROUP BY 1, 2, 3, 4
)
SELECT format('line %s of period %s%s: %s of %s events, its events make %s of %s',
              contract_line_ref, period_ref,
              CASE WHEN cut_number > 0 THEN ' at cut ' || cut_number ELSE '' END,
              trim_scale(coalesce(total.quantity, 0)), coalesce(total.events, 0),
              trim_scale(coalesce(fold.quantity, 0)), coalesce(fold.events, 0))
       || CASE WHEN repeated > 0 THEN ', in more than one row' ELSE '' END AS witness
FROM fold FULL JOIN total USING (shard_key, period_ref, contract_line_ref, cut_number)
WHERE coalesce(fold.quantity, 0) <> coalesce(total.quantity, 0)
   OR coalesce(fold.events, 0) <> coalesce(total.events, 0)
   OR repeated > 0;

-- name: waiting_counted
SELECT count(*)
FROM partition_change change LEFT JOIN partition_task task USING (partition, reference_version)
WHERE change.kind = 'CONTRACT' AND task.state IS DISTINCT FROM 'DONE'
  AND ($1::integer IS NULL OR change.tenant_id = $1);

-- name: cuts_incomplete
-- A cut holds every line of its contract product, used or not, and nothing else (what is due once,
-- only that of the first period); the cuts of a period are numbered without a gap and never go back in the log.
SELECT format('cut %s of period %s lacks line %s', cut_number, period_ref, contract_line_ref)
       AS witness
FROM period_cut cut
JOIN billing_period period USING (shard_key, period_ref)
JOIN contract_line line USING (shard_key, contract_product_ref)
JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
WHERE ($1::integer IS NULL OR cut.tenant_id = $1)
  AND (period.period_index = 0 OR price.price ->> 'recurring' IS DISTINCT FROM 'false')
  AND (cut_number > 0 OR until_at IS NOT NULL OR price.meter_id IS NULL)
  AND NOT EXISTS (
    SELECT FROM charge_cut own
    WHERE (own.shard_key, own.period_ref, own.cut_number, own.contract_line_ref)
        = (cut.shard_key, cut.period_ref, cut.cut_number, line.contract_line_ref))
UNION ALL
SELECT format('cut %s of period %s holds line %s of another contract product',
              cut_number, period_ref, contract_line_ref)
FROM charge_cut own
JOIN billing_period period USING (shard_key, period_ref)
JOIN contract_line line USING (shard_key, contract_line_ref)
WHERE ($1::integer IS NULL OR own.tenant_id = $1)
  AND line.contract_product_ref <> period.contract_product_ref
UNION ALL
SELECT format('cut %s of period %s holds line %s again, which was due once',
              cut_number, period_ref, contract_line_ref)
FROM charge_cut own
JOIN billing_period period USING (shard_key, period_ref)
JOIN pricing_line price ON price.pricing_line_id = own.pricing_line_id
WHERE ($1::integer IS NULL OR own.tenant_id = $1)
  AND period.period_index > 0 AND price.price ->> 'recurring' = 'false'
UNION ALL
SELECT format('cut %s of period %s at offset %s follows cut %s at offset %s',
              cut_number, period_ref, cut_offset, previous_number, previous_offset)
FROM (
    SELECT *, lag(cut_number, 1, least(cut_number - 1, 0)) OVER cuts AS previous_number,
           lag(cut_offset, 1, 0::bigint) OVER cuts AS previous_offset
    FROM period_cut
    WINDOW cuts AS (PARTITION BY shard_key, period_ref ORDER BY cut_number)
) AS ordered
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND (cut_number <> previous_number + 1 OR cut_offset < previous_offset)
UNION ALL
SELECT format('cut %s of period %s at partition %s offset %s: not a place that rating has passed',
              cut_number, period_ref, cut.partition, cut_offset)
FROM period_cut cut LEFT JOIN rater_partition own USING (partition)
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND (own.partition IS NULL OR cut_offset > next_offset
       OR cut.partition <> shard_key % (SELECT partitions FROM event_log))
UNION ALL
SELECT format('period %s counts %s cuts, %s are stored', period_ref, last_cut_number, cuts)
FROM billing_period period, LATERAL (
    SELECT count(*) FROM period_cut cut
    WHERE (cut.shard_key, cut.period_ref) = (period.shard_key, period.period_ref)
      AND cut_number > 0
) AS stored (cuts)
WHERE ($1::integer IS NULL OR tenant_id = $1) AND last_cut_number <> cuts;

-- name: cuts_moved
-- Lines whose charge has moved since their last cut: usage and amendments that came late.
SELECT count(*)
FROM charge_cut cut
JOIN billing_period period
    ON (period.shard_key, period.period_ref, period.last_cut_number)
     = (cut.shard_key, cut.period_ref, cut.cut_number)
JOIN charge ON (charge.shard_key, charge.charge_ref) = (cut.shard_key, cut.charge_ref)
WHERE ($1::integer IS NULL OR cut.tenant_id = $1) AND cut.cut_number > 0
  AND (cut.quantity <> charge.quantity OR cut.event_count <> charge.event_count);

-- name: events_counted
SELECT count(*) FROM usage_event WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: rated_uncovered
-- A rated event is in a period of a line that it counts in; a contract whose past usage is being
-- rated covers what it has rated so far. What was deleted counts as rated and is in none.
WITH last AS (
    SELECT DISTINCT ON (shard_key, event_ref) shard_key, event_ref, kind, occurred_at
    FROM usage_event_version ORDER BY shard_key, event_ref, rated_at DESC
),
now AS (
    SELECT shard_key, event_ref, event.tenant_id, customer_id, meter_id,
           coalesce(last.occurred_at, event.occurred_at) AS occurred_at
    FROM usage_event event LEFT JOIN last USING (shard_key, event_ref)
    WHERE kind IS DISTINCT FROM 'DELETE'
),
line AS (
    SELECT contract.shard_key, contract.customer_id, fed.meter_id, start_at, end_at, month
    FROM billing_period period
    JOIN contract_product product USING (shard_key, contract_product_ref)
    JOIN contract USING (shard_key, contract_ref)
    JOIN contract_line line USING (shard_key, contract_product_ref)
    JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
    JOIN fed_meter fed ON fed.toward_id = price.meter_id
    CROSS JOIN generate_series(date_trunc('month', start_at), end_at - interval '1 microsecond',
                               interval '1 month') AS month
)
SELECT format('event %s counts as rated, but no period of a contract holds it', event_ref)
       AS witness
FROM now event
WHERE ($1::integer IS NULL OR event.tenant_id = $1)
  AND NOT EXISTS (
    SELECT FROM line
    WHERE line.shard_key = event.shard_key AND line.customer_id = event.customer_id
      AND line.meter_id = event.meter_id AND line.month = date_trunc('month', event.occurred_at)
      AND event.occurred_at >= start_at AND event.occurred_at < end_at)
  AND NOT EXISTS (
    SELECT FROM unrated_usage unrated
    WHERE (unrated.shard_key, unrated.event_ref) = (event.shard_key, event.event_ref));

-- name: unrated_candidates
-- Unrated events beside each line that they count in and that may be in force at their instant;
-- days are widened, since a zone's day is judged where periods are computed.
WITH last AS (
    SELECT DISTINCT ON (shard_key, event_ref) shard_key, event_ref, occurred_at
    FROM usage_event_version ORDER BY shard_key, event_ref, rated_at DESC
),
event AS (
    SELECT shard_key, event_ref, unrated.tenant_id, first.customer_id, first.meter_id,
           coalesce(last.occurred_at, first.occurred_at) AS occurred_at
    FROM unrated_usage unrated
    JOIN usage_event first USING (shard_key, event_ref)
    LEFT JOIN last USING (shard_key, event_ref)
)
SELECT event.event_ref, occurred_at, contract.contract_ref, billing_start_date, billing_end_date,
       cycle_unit, cycle_length, issue_day, payment_time, timezone, since_date, until_date, ahead_since
FROM event
JOIN contract ON (contract.shard_key, contract.customer_id) = (event.shard_key, event.customer_id)
JOIN contract_product product
    ON (product.shard_key, product.contract_ref) = (contract.shard_key, contract.contract_ref)
JOIN contract_line line
    ON (line.shard_key, line.contract_product_ref)
     = (product.shard_key, product.contract_product_ref)
JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
JOIN fed_meter fed ON (fed.toward_id, fed.meter_id) = (price.meter_id, event.meter_id)
WHERE ($1::integer IS NULL OR event.tenant_id = $1)
  AND occurred_at >= billing_start_date - interval '2 days'
  AND (billing_end_date IS NULL OR occurred_at < billing_end_date + interval '3 days')
  AND NOT EXISTS (
    SELECT FROM partition_change change
    LEFT JOIN partition_task task USING (partition, reference_version)
    WHERE change.kind = 'CONTRACT' AND task.state IS DISTINCT FROM 'DONE'
      AND (change.shard_key, change.contract_ref) = (contract.shard_key, contract.contract_ref));

-- name: amendments_counted
SELECT (SELECT count(*) FROM usage_event_version WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM pending_amendment WHERE $1::integer IS NULL OR tenant_id = $1);

-- name: amendments_broken
-- Each version beside the one before it: a deletion changes nothing else, and nothing but another
-- one follows it.
WITH story AS (
    SELECT shard_key, event_ref, tenant_id, rated_at AS place, kind, occurred_at, quantity,
           additional_data
    FROM usage_event_version
    UNION ALL
    SELECT shard_key, event_ref, event.tenant_id, -1, 'FIRST', event.occurred_at, event.quantity,
           event.additional_data
    FROM usage_event event
    JOIN (SELECT DISTINCT shard_key, event_ref FROM usage_event_version) AS amended
        USING (shard_key, event_ref)
),
sorted AS (
    SELECT *, lag(kind) OVER own AS kind_before, lag(occurred_at) OVER own AS occurred_before,
           lag(quantity) OVER own AS quantity_before,
           lag(additional_data) OVER own AS data_before
    FROM story
    WINDOW own AS (PARTITION BY shard_key, event_ref ORDER BY place)
)
SELECT format('event %s: the %s at offset %s %s', event_ref, kind, place,
              CASE WHEN kind = 'DELETE' THEN 'changes it, too' ELSE 'follows a DELETE' END)
       AS witness
FROM sorted
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND (kind = 'UPDATE' AND kind_before = 'DELETE'
       OR kind = 'DELETE' AND (occurred_at <> occurred_before OR quantity <> quantity_before
                               OR additional_data IS DISTINCT FROM data_before));

-- name: deleted_unrated
-- What was deleted waits for no contract.
WITH last AS (
    SELECT DISTINCT ON (shard_key, event_ref) shard_key, event_ref, kind
    FROM usage_event_version ORDER BY shard_key, event_ref, rated_at DESC
)
SELECT format('event %s was deleted, and counts as unrated', event_ref) AS witness
FROM unrated_usage unrated JOIN last USING (shard_key, event_ref)
WHERE kind = 'DELETE' AND ($1::integer IS NULL OR unrated.tenant_id = $1);

-- name: waiting_for_known
-- An amendment waits for an event that is there.
SELECT format('the amendment at partition %s offset %s waits for event %s, which is there',
              pending.partition, record_offset, event_ref) AS witness
FROM pending_amendment pending JOIN usage_event event USING (shard_key, event_ref)
WHERE $1::integer IS NULL OR pending.tenant_id = $1;
