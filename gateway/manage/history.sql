-- Statements of `history`: a customer's periods, and what their usage comes to.

-- name: list_periods
-- The periods between two days, with the terms that a product is drafted under and the document
-- that its last cut went to.
SELECT b.period_ref, b.period_index, b.start_date, b.end_date, b.full_start_date, b.full_end_date,
    cp.contract_product_ref, cp.contract_ref, cp.currency, cp.discount, p.name AS product_name,
    coalesce(cp.minimum_fee, pr.minimum_fee) AS minimum_fee, d.document_ref, d.document_number,
    b.start_at, b.end_at, coalesce((
        SELECT c.cut_offset FROM period_cut c
        WHERE c.shard_key = b.shard_key AND c.period_ref = b.period_ref
          AND c.cut_number = b.last_cut_number AND c.cut_number > 0), 9223372036854775807) AS cut_offset
FROM contract k
JOIN contract_product cp ON cp.shard_key = k.shard_key AND cp.contract_ref = k.contract_ref
JOIN pricing pr ON pr.tenant_id = cp.tenant_id AND pr.pricing_id = cp.pricing_id
JOIN product p ON p.tenant_id = pr.tenant_id AND p.product_id = pr.product_id
JOIN billing_period b ON b.shard_key = cp.shard_key
    AND b.contract_product_ref = cp.contract_product_ref
LEFT JOIN document_input i ON i.shard_key = b.shard_key
    AND i.contract_product_ref = b.contract_product_ref AND i.period_ref = b.period_ref
    AND i.trigger = 'PERIOD_CUT' AND i.cut_number = b.last_cut_number
LEFT JOIN document d ON d.shard_key = i.shard_key AND d.document_ref = i.document_ref
WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.customer_id = $3
    AND b.start_date >= $4 AND b.end_date <= $5 AND NOT cp.is_pending
ORDER BY b.start_date, k.contract_number, cp.position
LIMIT $6;

-- name: first_month_kept
SELECT coalesce(max(month) + 1, 0) FROM archived_month;

-- name: list_events_of_period
-- A customer's events of some meters in a stretch of time, each as its last version below an offset
-- says; one that was moved there by an amendment may be of any month.
SELECT page.event_ref, coalesce(v.occurred_at, page.occurred_at) AS occurred_at,
    coalesce(v.quantity, page.quantity) AS quantity,
    CASE WHEN v.kind IS NULL THEN page.additional_data ELSE v.additional_data END
    AS additional_data,
    m.usage_product_ref, m.aggregation, m.formula
FROM (
    SELECT event_ref, occurred_at, rated_at, meter_id, quantity, additional_data
    FROM usage_event
    WHERE tenant_id = $1 AND shard_key = $2 AND customer_id = $3
      AND event_ref > $4 AND event_ref < $5
    UNION
    SELECT u.event_ref, u.occurred_at, u.rated_at, u.meter_id, u.quantity, u.additional_data
    FROM usage_event_version moved
    JOIN usage_event u ON u.shard_key = moved.shard_key AND u.event_ref = moved.event_ref
    WHERE moved.tenant_id = $1 AND moved.shard_key = $2 AND moved.customer_id = $3
      AND moved.occurred_at >= $6 AND moved.occurred_at < $7
) page
JOIN meter m ON m.tenant_id = $1 AND m.meter_id = page.meter_id
LEFT JOIN LATERAL (
    SELECT kind, occurred_at, quantity, additional_data FROM usage_event_version own
    WHERE own.shard_key = $2 AND own.event_ref = page.event_ref AND own.rated_at < $8
    ORDER BY own.rated_at DESC LIMIT 1
) v ON true
WHERE m.usage_product_ref = ANY ($9::uuid[]) AND page.rated_at < $8
  AND v.kind IS DISTINCT FROM 'DELETE'
  AND coalesce(v.occurred_at, page.occurred_at) >= $6
  AND coalesce(v.occurred_at, page.occurred_at) < $7
ORDER BY 2, 1
LIMIT $10;

-- name: list_period_lines
-- Every line of the periods, with its total at the last cut, or so far where there is none yet; one
-- of cells with a row for each.
SELECT b.period_ref, l.contract_line_ref, l.pricing_line_id, pl.line_item_ref, pl.item, pl.price,
    m.usage_product_ref, coalesce(u.quantity, c.quantity, 0) AS quantity,
    coalesce(u.event_count, c.event_count, 0) AS event_count,
    CASE WHEN u.charge_ref IS NULL THEN c.exact_quantity ELSE u.exact_quantity END
    AS exact_quantity,
    coalesce(u.amount, c.amount, 0) AS amount, coalesce(u.cell, c.cell, '') AS cell
FROM billing_period b
JOIN contract_line l ON l.shard_key = b.shard_key
    AND l.contract_product_ref = b.contract_product_ref
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
LEFT JOIN meter m ON m.tenant_id = pl.tenant_id AND m.meter_id = pl.meter_id
LEFT JOIN charge_cut u ON u.shard_key = b.shard_key AND u.period_ref = b.period_ref
    AND u.cut_number = b.last_cut_number AND u.cut_number > 0
    AND u.contract_line_ref = l.contract_line_ref
LEFT JOIN charge c ON c.shard_key = b.shard_key AND c.period_ref = b.period_ref
    AND c.contract_line_ref = l.contract_line_ref AND b.last_cut_number = 0
WHERE b.tenant_id = $1 AND b.shard_key = $2 AND b.period_ref = ANY ($3::uuid[])
ORDER BY b.period_ref, l.position, cell
LIMIT $4;
