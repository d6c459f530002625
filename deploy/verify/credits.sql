-- Prepaid credits. $1 is a tenant, or NULL for all of them.

-- name: draws_counted
SELECT count(*) FROM credit_draw WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: draws_broken
-- What a document says that credits paid is what it has drawn.
SELECT format('document %s states credits of %s and has drawn %s', document_ref, credits_amount,
              coalesce(drawn, 0)) AS witness
FROM document
LEFT JOIN (
    SELECT shard_key, document_ref, sum(amount) AS drawn FROM credit_draw GROUP BY 1, 2
) AS own USING (shard_key, document_ref)
WHERE ($1::integer IS NULL OR tenant_id = $1) AND credits_amount <> coalesce(drawn, 0);

-- name: parts_broken
-- Of what a document has drawn or given back, that for another document's periods is what it says
-- of that one.
SELECT format('document %s states credits of %s for %s and has drawn %s for it', document_ref,
              credits_amount, root_document_ref, coalesce(sums.drawn, 0)) AS witness
FROM document_adjustment part
LEFT JOIN LATERAL (
    SELECT sum(draw.amount) AS drawn
    FROM credit_draw draw
    JOIN billing_period period
        ON (period.shard_key, period.contract_product_ref, period.period_index)
         = (draw.shard_key, draw.contract_product_ref, draw.period_index)
    WHERE (draw.shard_key, draw.document_ref) = (part.shard_key, part.document_ref)
      AND EXISTS (
          SELECT FROM document_product product
          WHERE (product.shard_key, product.period_ref) = (draw.shard_key, period.period_ref)
            AND product.document_ref IN (part.root_document_ref, draw.document_ref)
            AND coalesce(product.root_document_ref, product.document_ref)
              = part.root_document_ref)
) AS sums ON true
WHERE ($1::integer IS NULL OR part.tenant_id = $1)
  AND credits_amount <> coalesce(sums.drawn, 0);

-- name: overpaid
-- A document with what was issued as differences to it is paid at most what it comes to.
SELECT format('document %s with its adjustments is paid %s by credits and comes to %s',
              document.document_number, paid, due) AS witness
FROM document
JOIN LATERAL (
    SELECT document.credits_amount - coalesce(sum(credits_amount) FILTER (WHERE is_along), 0)
           + coalesce(sum(credits_amount) FILTER (WHERE NOT is_along), 0) AS paid,
           document.sub_total - document.total_discount + document.total_tax
           - coalesce(sum(before_credits) FILTER (WHERE is_along), 0)
           + coalesce(sum(before_credits) FILTER (WHERE NOT is_along), 0) AS due
    FROM (
        SELECT part.credits_amount, part.sub_total - part.total_discount + part.total_tax
               AS before_credits, part.document_ref = document.document_ref AS is_along
        FROM document_adjustment part
        JOIN document holder USING (shard_key, document_ref)
        WHERE part.shard_key = document.shard_key AND holder.number IS NOT NULL
          AND document.document_ref IN (part.document_ref, part.root_document_ref)
    ) AS parts
) AS family ON true
WHERE ($1::integer IS NULL OR document.tenant_id = $1)
  AND document.kind = 'PERIOD' AND document.number IS NOT NULL AND paid > greatest(due, 0);

-- name: draws
-- What was drawn less what was given back, a credit and period, with the product that it was for.
SELECT draw.shard_key, product.contract_ref, product.lineage_ref, draw.contract_product_ref,
       draw.place, draw.period_index, draw.amount
FROM (
    SELECT shard_key, contract_product_ref, place, period_index, sum(amount) AS amount
    FROM credit_draw WHERE $1::integer IS NULL OR tenant_id = $1
    GROUP BY 1, 2, 3, 4
) AS draw
JOIN contract_product product USING (shard_key, contract_product_ref)
ORDER BY product.lineage_ref, draw.place;

-- name: lineages
-- The products that draw on credits, with those that they carry on and that carry them on.
SELECT lineage_ref, contract_product_ref, credits, currency, billing_start_date, billing_end_date,
       cycle_unit, cycle_length, issue_day, payment_time, timezone, since_date, until_date, ahead_since
FROM contract_product
WHERE lineage_ref = ANY ($1::uuid[]) AND NOT is_pending
ORDER BY lineage_ref, version;

-- name: taken_back
-- What carries a product on has its credits, each at its place.
SELECT format('contract product %s has other credits than %s, which it carries on',
              later.contract_product_ref, former.contract_product_ref) AS witness
FROM contract_succession
JOIN contract_product former USING (shard_key, contract_product_ref)
JOIN contract_product later
    ON (later.shard_key, later.contract_product_ref) = (former.shard_key, successor_ref)
    AND later.lineage_ref = former.lineage_ref
CROSS JOIN LATERAL jsonb_array_elements(former.credits) WITH ORDINALITY AS one (stood, place)
WHERE ($1::integer IS NULL OR former.tenant_id = $1)
  AND NOT coalesce(later.credits -> (place - 1)::integer @> stood, false);
