-- Alerts: which there are, and what the periods that they look at have come to.

-- name: load_alerts
-- What has changed behind a version of the partition.
SELECT alert_ref, version, customer_id, contract_ref, pricing_line_id, meter_id, name, kind,
       threshold, partition_version, deleted_at IS NOT NULL AS is_deleted
FROM alert WHERE partition = $1 AND partition_version > $2
ORDER BY partition_version;

-- name: running_periods
-- The periods of customers that an instant lies in.
SELECT DISTINCT b.shard_key, b.period_ref, k.customer_id, k.contract_ref
FROM alert a
JOIN contract k ON k.shard_key = a.shard_key AND k.customer_id = a.customer_id
JOIN contract_product p ON p.shard_key = k.shard_key AND p.contract_ref = k.contract_ref
JOIN billing_period b ON b.shard_key = p.shard_key
    AND b.contract_product_ref = p.contract_product_ref
WHERE a.partition = $1 AND a.customer_id = ANY ($2::integer[]) AND NOT p.is_pending
  AND b.start_at <= $3 AND b.end_at > $3;

-- name: periods
-- Periods, with the terms of their contract products; those of versions that do not price yet are
-- left out.
SELECT b.shard_key, b.period_ref, b.tenant_id, t.tenant_ref, c.customer_ref, k.contract_ref,
       b.start_at, b.start_date, b.end_date, p.contract_product_ref, p.currency, p.tax, p.discount,
       coalesce(p.minimum_fee, i.minimum_fee) AS minimum_fee, p.commitments::text AS commitments,
       p.credits::text AS credits, p.billing_start_date, p.billing_end_date, p.cycle_unit,
       p.cycle_length, p.issue_day, p.payment_time, p.timezone, p.since_date, p.until_date, p.ahead_since,
       '' AS product_name
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, period_ref)
CROSS JOIN LATERAL (
    SELECT * FROM billing_period own
    WHERE own.shard_key = wanted.shard_key AND own.period_ref = wanted.period_ref LIMIT 1
) b
JOIN contract_product p ON p.shard_key = b.shard_key
    AND p.contract_product_ref = b.contract_product_ref AND NOT p.is_pending
JOIN contract k ON k.shard_key = p.shard_key AND k.contract_ref = p.contract_ref
JOIN customer c ON c.shard_key = k.shard_key AND c.customer_id = k.customer_id
JOIN tenant t ON t.tenant_id = b.tenant_id
JOIN pricing i ON i.tenant_id = p.tenant_id AND i.pricing_id = p.pricing_id;

-- name: watched_lines
-- What the lines of periods have come to, all cells of a line together, in the order of the contract.
SELECT b.period_ref, l.contract_line_ref, l.pricing_line_id, i.base_line_id, i.meter_id,
       i.line_item_ref,
       m.usage_product_ref, i.price::text AS price, b.quantity, b.amount
FROM unnest($1::integer[], $2::uuid[]) AS wanted (shard_key, period_ref)
CROSS JOIN LATERAL (
    SELECT shard_key, period_ref, contract_line_ref, sum(quantity) AS quantity,
           sum(amount) AS amount
    FROM charge own
    WHERE own.shard_key = wanted.shard_key AND own.period_ref = wanted.period_ref
    GROUP BY 1, 2, 3
) b
JOIN contract_line l ON l.shard_key = b.shard_key AND l.contract_line_ref = b.contract_line_ref
JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
JOIN meter m ON m.tenant_id = i.tenant_id AND m.meter_id = i.meter_id
ORDER BY b.period_ref, l.position;

-- name: lineage
-- The products that one carries on and that carry it on, with itself, as far as they price.
SELECT p.contract_product_ref, p.currency, p.tax, p.discount,
       coalesce(p.minimum_fee, i.minimum_fee) AS minimum_fee, p.billing_start_date,
       p.billing_end_date, p.cycle_unit, p.cycle_length, p.issue_day, p.payment_time, p.timezone,
       p.since_date, p.until_date, p.ahead_since, '' AS product_name
FROM contract_product one
JOIN contract_product p ON p.shard_key = one.shard_key AND p.contract_ref = one.contract_ref
    AND p.lineage_ref = one.lineage_ref AND NOT p.is_pending
JOIN pricing i ON i.tenant_id = p.tenant_id AND i.pricing_id = p.pricing_id
WHERE one.shard_key = $1 AND one.contract_product_ref = $2;

-- name: standing_lines
SELECT l.contract_product_ref, l.contract_line_ref, l.pricing_line_id, i.line_item_ref, i.item,
       i.price::text AS price
FROM contract_line l
JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
WHERE l.shard_key = $1 AND l.contract_product_ref = ANY ($2::uuid[])
ORDER BY l.position;

-- name: unbilled_charges
-- What a product's lines have come to in the periods without a document, and in the one from $3.
SELECT h.contract_line_ref, b.start_at, h.charge_ref, h.cell, h.quantity, h.event_count,
       h.exact_quantity, trim_scale(h.amount) AS amount
FROM billing_period b
JOIN charge h ON h.shard_key = b.shard_key AND h.period_ref = b.period_ref
WHERE b.shard_key = $1 AND b.contract_product_ref = ANY ($2::uuid[])
  AND (b.start_at = $3 OR NOT EXISTS (
    SELECT FROM document_input d
    WHERE d.shard_key = b.shard_key AND d.contract_product_ref = b.contract_product_ref
      AND d.period_ref = b.period_ref));

-- name: billed_periods
-- What the documents of a product's periods come to, adjustments with them.
SELECT b.start_at, sum(d.total) AS total
FROM document_product d
JOIN billing_period b ON b.shard_key = d.shard_key AND b.period_ref = d.period_ref
WHERE d.shard_key = $1 AND d.contract_product_ref = ANY ($2::uuid[])
GROUP BY 1;

-- name: credit_draws
SELECT w.place, b.start_date, w.amount
FROM credit_draw w
JOIN billing_period b ON b.shard_key = w.shard_key
    AND b.contract_product_ref = w.contract_product_ref AND b.period_index = w.period_index
WHERE w.shard_key = $1 AND w.contract_product_ref = ANY ($2::uuid[]);

-- name: add_firing
INSERT INTO alert_firing (shard_key, alert_ref, version, period_ref, tenant_id, contract_ref,
                          contract_product_ref, contract_line_ref, start_date, end_date, value,
                          threshold, fired_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT DO NOTHING
RETURNING true;
