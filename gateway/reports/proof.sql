-- What a document is proved by. $1: the tenant. $2: the shard.

-- name: find_family
-- A document; of an adjustment also the document that it corrects, and the corrections before it, in
-- the order of their issue, but for those of single events; of one that settles periods those that
-- have billed a part of them ahead. part_total: what each says of the document, before credits. $3: its ref.
SELECT family.document_ref, family.kind, family.document_number, family.state,
       family.accounting_event_type, family.currency, family.issue_date, family.issued_at,
       family.sub_total, family.total_discount, family.total_tax, family.credits_amount,
       family.total, family.contract_ref, family.number_in_contract, own.parent_document_ref,
       family.document_ref = own.document_ref AS is_own,
       coalesce(ahead.total, family.total + family.credits_amount) AS part_total,
       ahead.total IS NOT NULL AS is_ahead
FROM document own
JOIN document family ON family.shard_key = own.shard_key AND (
    family.document_ref = own.document_ref
    OR own.kind = 'ADJUSTMENT' AND own.event_due_id IS NULL
       AND family.document_ref = own.parent_document_ref
    OR own.kind = 'ADJUSTMENT' AND own.event_due_id IS NULL
       AND family.kind = 'ADJUSTMENT' AND family.event_due_id IS NULL
       AND family.parent_document_ref = own.parent_document_ref
       AND family.number_in_contract < coalesce(own.number_in_contract, 2147483647)
    OR EXISTS (
        SELECT FROM document_adjustment a
        WHERE a.shard_key = own.shard_key AND a.document_ref = family.document_ref
          AND a.root_document_ref = CASE own.kind WHEN 'PERIOD' THEN own.document_ref
              WHEN 'ADJUSTMENT' THEN own.parent_document_ref END
          AND a.is_ahead))
LEFT JOIN LATERAL (
    SELECT a.sub_total - a.total_discount + a.total_tax AS total FROM document_adjustment a
    WHERE a.shard_key = own.shard_key AND a.document_ref = family.document_ref
      AND a.root_document_ref IN (own.document_ref, own.parent_document_ref) AND a.is_ahead
      AND family.document_ref <> coalesce(own.parent_document_ref, own.document_ref)
) ahead ON true
WHERE own.tenant_id = $1 AND own.shard_key = $2 AND own.document_ref = $3
ORDER BY family.kind = 'ADJUSTMENT', family.number_in_contract NULLS LAST;

-- name: list_products
-- $3: refs of documents.
SELECT product.document_ref, product.position, product.root_document_ref, product.contract_product_ref, product.period_ref,
       product.cut_number, product.product_name, product.minimum_fee, product.sub_total,
       product.total, product.discount, product.discount_rate, product.tax_rate,
       product.true_ups::text AS true_ups, period.start_at, period.end_at, period.start_date,
       period.end_date, period.full_start_date, period.full_end_date, period.period_index,
       sold.timezone, coalesce(sold.minimum_fee, pricing.minimum_fee) AS whole_minimum_fee,
       coalesce(part.is_ahead, false) AS is_ahead, coalesce(part.is_ahead AND NOT EXISTS (
           SELECT FROM document_input input
           WHERE input.shard_key = product.shard_key AND input.period_ref = product.period_ref
             AND input.trigger IN ('PERIOD_OPENED', 'ISSUE_DUE')
             AND input.document_ref = product.document_ref), false) AS is_given_back,
       cut.partition, cut.cut_offset, cut.cut_at
FROM document_product product
LEFT JOIN document_adjustment part ON part.shard_key = product.shard_key
    AND part.document_ref = product.document_ref
    AND part.root_document_ref = product.root_document_ref
JOIN billing_period period
    ON period.shard_key = product.shard_key AND period.period_ref = product.period_ref
JOIN contract_product sold ON sold.shard_key = product.shard_key
    AND sold.contract_product_ref = product.contract_product_ref
JOIN pricing ON pricing.tenant_id = sold.tenant_id AND pricing.pricing_id = sold.pricing_id
JOIN period_cut cut ON cut.shard_key = product.shard_key AND cut.period_ref = product.period_ref
    AND cut.cut_number = product.cut_number
WHERE product.tenant_id = $1
  AND product.shard_key = $2 AND product.document_ref = ANY ($3::uuid[])
ORDER BY product.position;

-- name: list_lines
-- $3: refs of documents.
SELECT document_ref, product_position, position, line_item_ref, contract_line_ref,
       pricing_line_id, charge_ref, item, model, quantity, exact_quantity, amount, event_count,
       events_digest, cell
FROM document_line
WHERE tenant_id = $1
  AND shard_key = $2 AND document_ref = ANY ($3::uuid[])
ORDER BY product_position, position;

-- name: list_cut_lines
-- What lines came to at cuts, with the prices and meters that they name. $3, $4: periods and cuts.
SELECT cut.period_ref, cut.contract_line_ref, cut.cell, cut.quantity, cut.exact_quantity,
       cut.event_count, cut.amount, cut.events_digest, price.line_item_ref AS price_ref,
       price.price::text AS price, meter.usage_product_ref, meter.name AS meter_name, meter.unit,
       meter.aggregation, meter.formula
FROM unnest($3::uuid[], $4::integer[]) AS wanted (period_ref, cut_number)
JOIN charge_cut cut ON cut.shard_key = $2 AND cut.period_ref = wanted.period_ref
    AND cut.cut_number = wanted.cut_number
JOIN pricing_line price
    ON price.tenant_id = cut.tenant_id AND price.pricing_line_id = cut.pricing_line_id
LEFT JOIN meter ON meter.tenant_id = price.tenant_id AND meter.meter_id = price.meter_id
WHERE cut.tenant_id = $1;

-- name: list_draws
-- What documents have drawn from credits. $3: their refs.
SELECT draw.document_ref, draw.place, draw.amount,
       product.credits -> draw.place::integer ->> 'name' AS name
FROM credit_draw draw
JOIN contract_product product ON product.shard_key = draw.shard_key
    AND product.contract_product_ref = draw.contract_product_ref
WHERE draw.tenant_id = $1
  AND draw.shard_key = $2 AND draw.document_ref = ANY ($3::uuid[])
ORDER BY draw.contract_product_ref, draw.period_index, draw.place;

-- name: find_lists
-- The lists of events in a document, each with the line items that it is behind. $3: its ref.
SELECT row_number() OVER (ORDER BY min(l.product_position), min(l.position))::integer - 1 AS place,
       l.shard_key, k.customer_id, i.meter_id, b.start_at, coalesce(c.until_at, b.end_at) AS end_at, c.cut_offset,
       ARRAY(SELECT f.meter_id FROM meter_feed f
             WHERE f.tenant_id = $1 AND f.toward_id = i.meter_id) AS meters,
       min(m.usage_product_ref::text) AS usage_product_ref,
       array_agg(DISTINCT l.line_item_ref::text) AS line_item_refs,
       bool_or(EXISTS (
           SELECT FROM rater_partition r
           WHERE r.partition = c.partition AND b.start_at < r.archived_until)) AS is_archived
FROM document_line l
JOIN document_product p ON p.shard_key = l.shard_key AND p.document_ref = l.document_ref
    AND p.position = l.product_position
JOIN period_cut c ON c.shard_key = p.shard_key AND c.period_ref = p.period_ref
    AND c.cut_number = p.cut_number
JOIN billing_period b ON b.shard_key = p.shard_key AND b.period_ref = p.period_ref
JOIN document d ON d.shard_key = l.shard_key AND d.document_ref = l.document_ref
JOIN contract k ON k.shard_key = d.shard_key AND k.contract_ref = d.contract_ref
JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
JOIN meter m ON m.tenant_id = i.tenant_id AND m.meter_id = i.meter_id
WHERE l.tenant_id = $1 AND l.shard_key = $2 AND l.document_ref = $3
  AND ($4::uuid IS NULL OR l.line_item_ref = $4) AND l.events_digest IS NOT NULL
GROUP BY l.shard_key, k.customer_id, i.meter_id, b.period_ref, b.start_at, b.end_at, c.until_at, c.cut_offset
ORDER BY place;
