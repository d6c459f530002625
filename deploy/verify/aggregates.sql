-- Totals of meters that add up otherwise than by sums and counts, or by formulas. $1 is a tenant, or
-- NULL for all of them.

-- name: targets
-- $2: true for the charges, false for the cuts. Those of a customer's meter stand together.
-- before: the times in which the contract product, or one that it carries on, has had a line of the
-- meter. missing: the period has no charge.
WITH waiting AS (
    SELECT change.shard_key, change.contract_ref
    FROM partition_change change LEFT JOIN partition_task task USING (partition, reference_version)
    WHERE change.kind = 'CONTRACT' AND task.state IS DISTINCT FROM 'DONE'
),
stored AS (
    -- A line with cells has a row for each; nothing else has more than one.
    SELECT shard_key, period_ref, contract_line_ref, 0 AS cut_number,
           9223372036854775807 AS rated_before, sum(quantity) AS quantity,
           min(exact_quantity) AS exact_quantity, sum(event_count)::bigint AS event_count,
           NULL::timestamptz AS until_at
    FROM charge WHERE $2
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT cut.shard_key, period_ref, contract_line_ref, cut_number, cut_offset, sum(quantity),
           min(exact_quantity), sum(event_count)::bigint, until_at
    FROM charge_cut cut JOIN period_cut USING (shard_key, period_ref, cut_number)
    WHERE NOT $2
    GROUP BY 1, 2, 3, 4, 5, until_at
)
SELECT contract.shard_key, contract.customer_id, meter.meter_id, meter.aggregation,
       meter.unique_key, contract_line_ref, period_ref, start_at,
       coalesce(until_at, end_at) AS end_at,
       ARRAY(
           SELECT tstzrange(
               greatest(kin.billing_start_date, kin.since_date)::timestamp AT TIME ZONE kin.timezone,
               least(kin.billing_end_date + 1, kin.until_date)::timestamp
               AT TIME ZONE kin.timezone)
           FROM contract_product kin
           JOIN contract_line own USING (shard_key, contract_product_ref)
           JOIN pricing_line sold ON sold.pricing_line_id = own.pricing_line_id
           WHERE (kin.shard_key, kin.contract_ref, kin.lineage_ref)
               = (product.shard_key, product.contract_ref, product.lineage_ref)
             AND sold.meter_id = meter.meter_id AND NOT kin.is_pending
             AND coalesce(greatest(kin.billing_start_date, kin.since_date) < kin.until_date, true)
       ) AS before,
       coalesce(cut_number, 0) AS cut_number,
       coalesce(rated_before, 9223372036854775807) AS rated_before,
       quantity, exact_quantity, event_count, stored.shard_key IS NULL AS missing
FROM billing_period period
JOIN contract_product product USING (shard_key, contract_product_ref)
JOIN contract USING (shard_key, contract_ref)
JOIN contract_line line USING (shard_key, contract_product_ref)
JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
JOIN meter ON meter.meter_id = price.meter_id
LEFT JOIN stored USING (shard_key, period_ref, contract_line_ref)
WHERE ($1::integer IS NULL OR period.tenant_id = $1)
  AND (meter.aggregation NOT IN ('SUM', 'COUNT')
       OR meter.meter_id IN (SELECT meter_id FROM computed_meter))
  AND ($2 OR stored.shard_key IS NOT NULL)
  AND (NOT $2 OR coalesce(period.start_date < product.until_date, true))
  AND (contract.shard_key, contract.contract_ref) NOT IN (SELECT * FROM waiting)
ORDER BY contract.shard_key, contract.customer_id, meter.meter_id;

-- name: story
-- What a customer's events that count in lines of a meter were, from which offset until which, in
-- order of time; each with its own meter's formula, and the factor. A deletion is nothing.
WITH fed AS MATERIALIZED (
    SELECT meter_id, factor, formula FROM fed_meter JOIN meter USING (meter_id)
    WHERE toward_id = $3
),
event AS (
    SELECT event_ref, meter_id, occurred_at, quantity, additional_data, rated_at
    FROM usage_event
    WHERE shard_key = $1 AND customer_id = $2 AND meter_id IN (SELECT meter_id FROM fed)
),
version AS (
    SELECT event_ref, meter_id, occurred_at, quantity, additional_data, 'FIRST' AS kind, rated_at AS since,
           -1::bigint AS place
    FROM event
    UNION ALL
    SELECT event_ref, event.meter_id, later.occurred_at, later.quantity, later.additional_data, later.kind,
           greatest(later.rated_at, event.rated_at), later.rated_at
    FROM event JOIN usage_event_version later USING (event_ref)
    WHERE later.shard_key = $1
),
told AS (
    SELECT *, lead(since, 1, 9223372036854775807)
              OVER (PARTITION BY event_ref ORDER BY place) AS until
    FROM version
)
SELECT event_ref, occurred_at, quantity, additional_data, since, until, formula, factor
FROM told JOIN fed USING (meter_id)
WHERE kind <> 'DELETE' AND since < until
ORDER BY occurred_at, event_ref;
