-- What proves credits that people have made. $1: the tenant. $2: the shard. $3: the credit's ref.

-- name: find_credit
SELECT * FROM document
WHERE tenant_id = $1 AND shard_key = $2 AND document_ref = $3 AND kind = 'CREDIT';

-- name: find_credited
-- The document that it is a credit of.
SELECT d.* FROM document own
JOIN document d ON d.shard_key = own.shard_key AND d.document_ref = own.parent_document_ref
WHERE own.tenant_id = $1 AND own.shard_key = $2 AND own.document_ref = $3;

-- name: sum_taken_before
-- What was taken off that document when the credit was made: one that is void now may have counted.
SELECT coalesce(sum(t.total), 0) AS total, coalesce(sum(t.total_tax), 0) AS total_tax
FROM document own
JOIN document t ON t.shard_key = own.shard_key AND t.parent_document_ref = own.parent_document_ref
    AND t.kind IN ('ADJUSTMENT', 'CREDIT') AND t.number_in_contract < own.number_in_contract
LEFT JOIN document_void v ON v.shard_key = t.shard_key AND v.document_ref = t.document_ref
WHERE own.tenant_id = $1 AND own.shard_key = $2 AND own.document_ref = $3
  AND t.total < 0 AND (v.voided_at IS NULL OR v.voided_at > own.issued_at);

-- name: list_lines_credited
-- The lines of that document in their order, and what credits before this one took off each.
SELECT l.product_position, l.position, l.item, l.amount, l.quantity, l.exact_quantity,
    p.total AS product_total, p.discount_rate, p.tax_rate,
    coalesce(taken.amount, 0) AS credited, coalesce(taken.quantity, 0) AS credited_quantity
FROM document own
JOIN document_line l ON l.shard_key = own.shard_key AND l.document_ref = own.parent_document_ref
JOIN document_product p ON p.shard_key = l.shard_key AND p.document_ref = l.document_ref
    AND p.position = l.product_position
LEFT JOIN LATERAL (
    SELECT sum(c.amount) AS amount, sum(c.quantity) AS quantity
    FROM document_line_credit c
    JOIN document d ON d.shard_key = c.shard_key AND d.document_ref = c.document_ref
    LEFT JOIN document_void v ON v.shard_key = d.shard_key AND v.document_ref = d.document_ref
    WHERE c.shard_key = l.shard_key AND c.parent_document_ref = l.document_ref
      AND c.product_position = l.product_position AND c.line_position = l.position
      AND d.number_in_contract < own.number_in_contract
      AND (v.voided_at IS NULL OR v.voided_at > own.issued_at)
) taken ON true
WHERE own.tenant_id = $1 AND own.shard_key = $2 AND own.document_ref = $3
ORDER BY l.product_position, l.position;

-- name: list_line_credits
-- What the credit took off which lines, in its order.
SELECT c.product_position, c.line_position, c.amount, c.quantity, c.total, l.item
FROM document_line_credit c
JOIN document_line l ON l.shard_key = c.shard_key AND l.document_ref = c.parent_document_ref
    AND l.product_position = c.product_position AND l.position = c.line_position
WHERE c.tenant_id = $1 AND c.shard_key = $2 AND c.document_ref = $3
ORDER BY c.position;
