-- What proves documents of single events, and those that such documents have billed ahead of.
-- $1: the tenant. $2: the shard.

-- name: find_change
-- The change of an event that a document bills. $3: its ref. None for other documents.
SELECT own.event_due_id, due.rated_below, due.due_at,
       own.shard_key % (SELECT count(*) FROM rater_partition)::integer AS partition
FROM document own
JOIN event_due due ON due.shard_key = own.shard_key AND due.contract_ref = own.contract_ref
    AND due.due_id = own.event_due_id
WHERE own.tenant_id = $1 AND own.shard_key = $2 AND own.document_ref = $3;

-- name: list_products
-- The products of a document of an event. $3: its ref.
SELECT product.document_ref, product.position, product.contract_product_ref, product.period_ref,
       product.root_document_ref, product.product_name, product.minimum_fee, product.sub_total,
       product.total, product.discount, product.discount_rate, product.tax_rate,
       product.true_ups::text AS true_ups, period.start_at, period.end_at, period.start_date,
       period.end_date, period.full_start_date, period.full_end_date, period.period_index,
       sold.timezone, NULL::numeric AS whole_minimum_fee, 0 AS cut_number, false AS is_ahead
FROM document_product product
JOIN billing_period period
    ON period.shard_key = product.shard_key AND period.period_ref = product.period_ref
JOIN contract_product sold ON sold.shard_key = product.shard_key
    AND sold.contract_product_ref = product.contract_product_ref
WHERE product.tenant_id = $1 AND product.shard_key = $2 AND product.document_ref = $3
ORDER BY product.position;

-- name: list_prices
-- The contract lines on a document, by product, with the prices and meters that they name. $3: its
-- ref. is_fed: other meters count toward the line's own.
SELECT DISTINCT line.product_position, line.contract_line_ref, line.pricing_line_id, line.item,
       price.line_item_ref AS price_ref, price.price::text AS price, meter.meter_id,
       meter.usage_product_ref, meter.name AS meter_name, meter.unit, meter.aggregation,
       meter.formula,
       EXISTS (SELECT FROM meter_feed fed WHERE fed.tenant_id = meter.tenant_id
               AND fed.toward_id = meter.meter_id AND fed.meter_id <> meter.meter_id) AS is_fed
FROM document_line line
JOIN pricing_line price
    ON price.tenant_id = line.tenant_id AND price.pricing_line_id = line.pricing_line_id
JOIN meter ON meter.tenant_id = price.tenant_id AND meter.meter_id = price.meter_id
WHERE line.tenant_id = $1 AND line.shard_key = $2 AND line.document_ref = $3
ORDER BY line.product_position, line.contract_line_ref;

-- name: events_as_of
-- The events of a meter in a stretch of time, as a contract has rated them up to a change.
-- $3: the contract. $4: the change. $5: the meter. $6, $7: the stretch. $8: at most so many.
SELECT event.event_ref, coalesce(version.occurred_at, event.occurred_at) AS occurred_at,
       coalesce(version.quantity, event.quantity) AS quantity,
       CASE WHEN version.kind IS NULL THEN event.additional_data ELSE version.additional_data END
       AS additional_data
FROM (
    SELECT DISTINCT ON (event_ref) event_ref, place FROM event_due
    WHERE tenant_id = $1 AND shard_key = $2 AND contract_ref = $3 AND due_id <= $4
    ORDER BY event_ref, due_id DESC
) due
JOIN usage_event event ON event.shard_key = $2 AND event.event_ref = due.event_ref
LEFT JOIN usage_event_version version ON version.shard_key = $2
    AND version.event_ref = due.event_ref AND version.rated_at = due.place
WHERE event.meter_id = $5 AND version.kind IS DISTINCT FROM 'DELETE'
  AND coalesce(version.occurred_at, event.occurred_at) >= $6
  AND coalesce(version.occurred_at, event.occurred_at) < $7
ORDER BY 2, 1
LIMIT $8;

-- name: find_ahead
-- What documents of events have billed of a document before it was issued, as far as its cut holds
-- these events. $3: that document, or of a correction the one that it corrects. $4: the offset of the
-- cut. $5: the number in the contract of the document to prove, NULL for a draft.
SELECT count(*) AS documents, sum(part.sub_total - part.total_discount + part.total_tax
       - part.credits_amount) AS total, sum(part.credits_amount) AS credits_amount
FROM document_adjustment part
JOIN document holder
    ON holder.shard_key = part.shard_key AND holder.document_ref = part.document_ref
JOIN event_due due ON due.shard_key = holder.shard_key AND due.contract_ref = holder.contract_ref
    AND due.due_id = holder.event_due_id
WHERE part.tenant_id = $1 AND part.shard_key = $2 AND part.root_document_ref = $3
  AND due.rated_below <= $4 AND holder.number_in_contract < coalesce($5, 2147483647);

-- name: list_products_ahead
SELECT product.contract_product_ref, product.period_ref, sum(product.minimum_fee) AS minimum_fee,
       sum(product.sub_total) AS sub_total, sum(product.total) AS total,
       sum(product.discount) AS discount
FROM document_product product
JOIN document holder
    ON holder.shard_key = product.shard_key AND holder.document_ref = product.document_ref
JOIN event_due due ON due.shard_key = holder.shard_key AND due.contract_ref = holder.contract_ref
    AND due.due_id = holder.event_due_id
WHERE product.tenant_id = $1 AND product.shard_key = $2 AND product.root_document_ref = $3
  AND due.rated_below <= $4 AND holder.number_in_contract < coalesce($5, 2147483647)
GROUP BY 1, 2;

-- name: list_lines_ahead
SELECT product.contract_product_ref, product.period_ref, line.contract_line_ref, line.cell,
       sum(line.amount) AS amount
FROM document_product product
JOIN document holder
    ON holder.shard_key = product.shard_key AND holder.document_ref = product.document_ref
JOIN event_due due ON due.shard_key = holder.shard_key AND due.contract_ref = holder.contract_ref
    AND due.due_id = holder.event_due_id
JOIN document_line line ON line.shard_key = product.shard_key
    AND line.document_ref = product.document_ref AND line.product_position = product.position
WHERE product.tenant_id = $1 AND product.shard_key = $2 AND product.root_document_ref = $3
  AND due.rated_below <= $4 AND holder.number_in_contract < coalesce($5, 2147483647)
GROUP BY 1, 2, 3, 4;
