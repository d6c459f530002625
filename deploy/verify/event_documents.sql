-- Documents of single events, billed upon usage. $1 is a tenant, or NULL for all of them.

-- name: changes
-- Each change of an event under a contract, once a line that its meter feeds and side: as it had
-- counted there before, taken off, and as it counts from then on, added; in the order of rating.
WITH due AS (
    SELECT due.shard_key, due.contract_ref, due_id, event_ref, place,
           lag(place) OVER (PARTITION BY due.shard_key, due.contract_ref, event_ref
                            ORDER BY due_id) AS place_before,
           due_id <= coalesce(billed_through, -1) AS is_billed,
           due_at < now() - interval '15 minutes' AS is_late
    FROM event_due due LEFT JOIN event_billing USING (shard_key, contract_ref)
    WHERE $1::integer IS NULL OR due.tenant_id = $1
),
side AS (
    SELECT *, 1 AS sign, place AS own_place FROM due
    UNION ALL
    SELECT *, -1, place_before FROM due WHERE place_before IS NOT NULL
)
SELECT side.shard_key, side.contract_ref, side.due_id, side.event_ref, side.is_billed, side.is_late,
       sign, price.price, meter.aggregation, meter.formula, contract_line.contract_line_ref,
       period.period_ref, product.currency, period.start_date, period.end_date,
       period.full_start_date, period.full_end_date, at.occurred_at,
       CASE meter.aggregation WHEN 'COUNT' THEN 1 ELSE at.quantity END AS quantity,
       at.additional_data
FROM side
JOIN usage_event event ON (event.shard_key, event.event_ref) = (side.shard_key, side.event_ref)
LEFT JOIN usage_event_version version
    ON (version.shard_key, version.event_ref, version.rated_at)
     = (side.shard_key, side.event_ref, side.own_place)
CROSS JOIN LATERAL (
    SELECT coalesce(version.occurred_at, event.occurred_at) AS occurred_at,
           coalesce(version.quantity, event.quantity) AS quantity,
           CASE WHEN version.kind IS NULL THEN event.additional_data
                ELSE version.additional_data END AS additional_data
) AS at
JOIN contract_product product
    ON (product.shard_key, product.contract_ref) = (side.shard_key, side.contract_ref)
    AND product.net_terms = 'DUE_UPON_USAGE'
JOIN contract_line
    ON (contract_line.shard_key, contract_line.contract_product_ref)
     = (product.shard_key, product.contract_product_ref)
JOIN pricing_line price ON price.pricing_line_id = contract_line.pricing_line_id
JOIN meter ON meter.meter_id = price.meter_id
    AND meter.meter_id = event.meter_id AND meter.aggregation IN ('SUM', 'COUNT')
    AND meter.meter_id NOT IN (SELECT toward_id FROM fed_meter WHERE meter_id <> toward_id)
JOIN billing_period period
    ON (period.shard_key, period.contract_product_ref)
     = (product.shard_key, product.contract_product_ref)
    AND at.occurred_at >= period.start_at AND at.occurred_at < period.end_at
WHERE version.kind IS DISTINCT FROM 'DELETE'
ORDER BY side.shard_key, side.contract_ref, contract_line.contract_line_ref, period.period_ref,
         side.due_id, sign;

-- name: billed
-- What the documents of events bill, a change, line, period and cell.
SELECT document.shard_key, document.contract_ref, event_due_id AS due_id, contract_line_ref,
       product.period_ref, cell, sum(line.amount) AS amount, sum(line.quantity) AS quantity,
       sum(line.event_count) AS event_count
FROM document
JOIN document_product product USING (shard_key, document_ref)
JOIN document_line line
    ON (line.shard_key, line.document_ref, line.product_position)
     = (product.shard_key, product.document_ref, product.position)
WHERE event_due_id IS NOT NULL AND ($1::integer IS NULL OR document.tenant_id = $1)
GROUP BY 1, 2, 3, 4, 5, 6;

-- name: documents_counted
SELECT count(*) FROM document
WHERE event_due_id IS NOT NULL AND ($1::integer IS NULL OR tenant_id = $1);

-- name: documents_broken
-- A document of an event is of a change that was noted, under the document that holds its first
-- part, and its parts are all of it; an event has one of its own under a contract and group.
SELECT format('document %s of event %s: %s', coalesce(document_number, document_ref::text),
              document.event_ref, CASE
           WHEN due.event_ref IS DISTINCT FROM document.event_ref THEN 'is of no change of it'
           WHEN copies > 1 THEN 'is there ' || copies || ' times'
           WHEN number IS NULL THEN 'is not issued'
           ELSE 'its parts are not all of it' END) AS witness
FROM (
    SELECT *, count(*) OVER (PARTITION BY shard_key, contract_ref, document_group, event_ref, kind,
                             CASE kind WHEN 'EVENT' THEN 0 ELSE event_due_id END) AS copies
    FROM document WHERE event_due_id IS NOT NULL
) AS document
LEFT JOIN event_due due
    ON (due.shard_key, due.contract_ref, due.due_id)
     = (document.shard_key, document.contract_ref, document.event_due_id)
LEFT JOIN LATERAL (
    SELECT sum(sub_total) AS sub_total, sum(total_discount) AS total_discount,
           sum(total_tax) AS total_tax, sum(credits_amount) AS credits_amount
    FROM document_adjustment own
    WHERE (own.shard_key, own.document_ref) = (document.shard_key, document.document_ref)
) AS parts ON true
WHERE ($1::integer IS NULL OR document.tenant_id = $1)
  AND (due.event_ref IS DISTINCT FROM document.event_ref OR copies > 1 OR number IS NULL
       OR parts.sub_total IS DISTINCT FROM document.sub_total
       OR parts.total_discount <> document.total_discount
       OR parts.total_tax <> document.total_tax
       OR parts.credits_amount <> document.credits_amount);
