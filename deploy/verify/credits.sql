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

-- name: draws
SELECT draw.contract_product_ref, draw.place, draw.period_index, draw.amount, product.credits,
       product.currency, billing_start_date, billing_end_date, cycle_unit, cycle_length, issue_day,
       payment_time, timezone, since_date, until_date
FROM credit_draw draw
JOIN contract_product product USING (shard_key, contract_product_ref)
WHERE $1::integer IS NULL OR draw.tenant_id = $1
ORDER BY draw.shard_key, draw.contract_product_ref, draw.place, draw.period_index;
