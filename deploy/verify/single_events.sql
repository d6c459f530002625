-- Prices of single events and of cells. $1 is a tenant, or NULL for all of them.

-- name: single_events
-- Of each line in a period, or at a cut (not $2), that is priced so: its stored rows first, then its
-- events in their order, as they counted then. What an event counts by is told in counted.sql.
WITH waiting AS (
    -- Contracts whose past usage is being rated: their charges are not whole yet.
    SELECT change.shard_key, change.contract_ref
    FROM partition_change change LEFT JOIN partition_task task USING (partition, reference_version)
    WHERE change.kind = 'CONTRACT' AND task.state IS DISTINCT FROM 'DONE'
),
bound AS (
    SELECT shard_key, period_ref, 0 AS cut_number, 9223372036854775807 AS rated_before
    FROM billing_period
    WHERE $2 AND ($1::integer IS NULL OR tenant_id = $1)
    UNION ALL
    SELECT shard_key, period_ref, cut_number, cut_offset
    FROM period_cut
    WHERE NOT $2 AND ($1::integer IS NULL OR tenant_id = $1) AND cut_number > 0
),
line AS (
    SELECT contract.shard_key, contract.customer_id, fed.meter_id, fed.factor, meter.aggregation,
           contract_line_ref, period_ref, cut_number, rated_before, start_at, end_at, price.price,
           own.formula
    FROM bound
    JOIN billing_period period USING (shard_key, period_ref)
    JOIN contract_product product USING (shard_key, contract_product_ref)
    JOIN contract USING (shard_key, contract_ref)
    JOIN contract_line line USING (shard_key, contract_product_ref)
    JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
    JOIN meter ON meter.meter_id = price.meter_id
    JOIN fed_meter fed ON fed.toward_id = price.meter_id
    JOIN meter own ON own.meter_id = fed.meter_id
    WHERE (price.price ->> 'model' = 'MATRIX' OR price.price ?| ARRAY['fixed_fee',
           'minimum_per_event', 'maximum_per_event', 'included_events'])
      AND (NOT $2 OR coalesce(period.start_date < product.until_date, true))
      AND (contract.shard_key, contract.contract_ref) NOT IN (SELECT * FROM waiting)
),
stored AS (
    SELECT shard_key, period_ref, contract_line_ref, 0 AS cut_number, cell, quantity, event_count,
           amount
    FROM charge WHERE $2
    UNION ALL
    SELECT shard_key, period_ref, contract_line_ref, cut_number, cell, quantity, event_count, amount
    FROM charge_cut WHERE NOT $2
)
SELECT format('line %s of period %s%s', contract_line_ref, period_ref,
              CASE WHEN cut_number > 0 THEN ' at cut ' || cut_number ELSE '' END) AS name,
       price, NULL AS formula, NULL::numeric AS factor, cell, quantity, event_count, amount,
       NULL::uuid AS event_ref, NULL::timestamptz AS occurred_at, NULL AS additional_data
FROM (
    SELECT DISTINCT shard_key, period_ref, contract_line_ref, cut_number, price FROM line
) AS line JOIN stored USING (shard_key, period_ref, contract_line_ref, cut_number)
UNION ALL
SELECT format('line %s of period %s%s', contract_line_ref, period_ref,
              CASE WHEN cut_number > 0 THEN ' at cut ' || cut_number ELSE '' END),
       price, CASE aggregation WHEN 'COUNT' THEN NULL ELSE formula END, factor, '',
       CASE aggregation WHEN 'COUNT' THEN 1 ELSE quantity END, 1, 0, event_ref, occurred_at,
       additional_data
FROM counted_event event
JOIN line ON line.shard_key = event.shard_key AND line.customer_id = event.customer_id
    AND line.meter_id = event.meter_id AND occurred_at >= start_at AND occurred_at < end_at
    AND since < rated_before AND rated_before <= until
ORDER BY name, occurred_at NULLS FIRST, event_ref NULLS FIRST;
