-- Digests: the events that each cut line holds, in the order in which its list names them. $1 is a
-- tenant, or NULL for all of them.

-- name: digests_counted
SELECT count(*) FROM charge_cut
WHERE events_digest IS NOT NULL AND ($1::integer IS NULL OR tenant_id = $1);

-- name: digests_waiting
SELECT count(*) FROM undigested_cut WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: digests_missing
-- A line that a meter feeds has a digest once its cut is told of, and its cells have one.
SELECT format('line %s of period %s at cut %s has %s', contract_line_ref, period_ref, cut_number,
              CASE WHEN count(events_digest) < count(*) THEN 'no digest'
                   ELSE 'more than one digest' END) AS witness
FROM charge_cut cut
JOIN pricing_line price ON price.pricing_line_id = cut.pricing_line_id
LEFT JOIN undigested_cut USING (shard_key, period_ref, cut_number)
WHERE price.meter_id IS NOT NULL AND undigested_cut.partition IS NULL
  AND ($1::integer IS NULL OR cut.tenant_id = $1)
GROUP BY cut.shard_key, period_ref, cut_number, contract_line_ref
HAVING count(events_digest) < count(*) OR count(DISTINCT events_digest) > 1;

-- name: listed
-- Each cut line with its digest, once an event in it; once without one where it holds none. is_fed:
-- the event is of another meter that counts toward the line's.
WITH line AS (
    SELECT DISTINCT cut.shard_key, cut.period_ref, cut.cut_number, cut.contract_line_ref,
           cut.events_digest, contract.customer_id, fed.meter_id, fed.factor,
           fed.meter_id <> price.meter_id AS is_fed, start_at,
           coalesce(until_at, end_at) AS end_at, cut_offset
    FROM charge_cut cut
    JOIN period_cut ON (period_cut.shard_key, period_cut.period_ref, period_cut.cut_number)
                     = (cut.shard_key, cut.period_ref, cut.cut_number)
    JOIN billing_period period
        ON (period.shard_key, period.period_ref) = (cut.shard_key, cut.period_ref)
    JOIN contract_product product
        ON (product.shard_key, product.contract_product_ref)
         = (period.shard_key, period.contract_product_ref)
    JOIN contract ON (contract.shard_key, contract.contract_ref)
                   = (product.shard_key, product.contract_ref)
    JOIN pricing_line price ON price.pricing_line_id = cut.pricing_line_id
    JOIN fed_meter fed ON fed.toward_id = price.meter_id
    WHERE cut.events_digest IS NOT NULL AND ($1::integer IS NULL OR cut.tenant_id = $1)
),
month AS (
    SELECT line.*, month
    FROM line CROSS JOIN generate_series(
        date_trunc('month', start_at), end_at - interval '1 microsecond', interval '1 month'
    ) AS month
),
held AS (
    SELECT month.shard_key, period_ref, cut_number, contract_line_ref, event_ref, occurred_at,
           quantity, additional_data, is_fed, factor, month.meter_id
    FROM month JOIN counted_event event
        ON month.shard_key = event.shard_key AND month.customer_id = event.customer_id
       AND month.meter_id = event.meter_id AND month.month = date_trunc('month', occurred_at)
       AND occurred_at >= start_at AND occurred_at < end_at
       AND since < cut_offset AND cut_offset <= until
)
SELECT format('line %s of period %s at cut %s', contract_line_ref, period_ref, cut_number) AS name,
       events_digest, event_ref::text AS event_ref,
       to_char(occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS timestamp,
       trim_scale(quantity)::text AS quantity, additional_data, is_fed, factor, formula
FROM (
    SELECT DISTINCT shard_key, period_ref, cut_number, contract_line_ref, events_digest FROM line
) AS line
LEFT JOIN held USING (shard_key, period_ref, cut_number, contract_line_ref)
LEFT JOIN meter USING (meter_id)
ORDER BY shard_key, period_ref, cut_number, contract_line_ref, events_digest, held.event_ref;

-- name: late_unmarked
-- A closed period that has moved since its last cut waits for the next one.
SELECT DISTINCT format('period %s has moved since its last cut, and waits for no other',
                       cut.period_ref) AS witness
FROM charge_cut cut
JOIN billing_period period
    ON (period.shard_key, period.period_ref, period.last_cut_number)
     = (cut.shard_key, cut.period_ref, cut.cut_number)
JOIN charge ON (charge.shard_key, charge.charge_ref) = (cut.shard_key, cut.charge_ref)
LEFT JOIN late_period late
    ON (late.shard_key, late.period_ref) = (period.shard_key, period.period_ref)
WHERE ($1::integer IS NULL OR cut.tenant_id = $1) AND late.since IS NULL AND cut.cut_number > 0
  AND (cut.quantity <> charge.quantity OR cut.event_count <> charge.event_count);
