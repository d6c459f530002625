-- What people want done with documents, and what has become of it. Each statement names the tenant.

-- name: has_document
SELECT true FROM document WHERE tenant_id = $1 AND shard_key = $2 AND document_ref = $3;

-- name: add_request
-- A request that is repeated with its key is the first one.
INSERT INTO document_request (tenant_id, shard_key, request_ref, document_ref, action, details,
    made_by, idempotency_key, fingerprint)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (tenant_id, idempotency_key) DO NOTHING
RETURNING request_ref;

-- name: find_by_key
SELECT shard_key, request_ref, fingerprint FROM document_request
WHERE tenant_id = $1 AND idempotency_key = $2;

-- name: find_outcome
SELECT outcome, code, detail, result_ref FROM document_request
WHERE tenant_id = $1 AND shard_key = $2 AND request_ref = $3;

-- name: list_marks
-- What people have done with documents: held and approved or sent back, voided, credited.
SELECT r.document_ref, 'review' AS mark, jsonb_build_object('held_at', r.held_at,
    'redraws', r.redraws, 'redrawn_at', r.redrawn_at, 'approved_at', r.approved_at,
    'approved_by', r.approved_by, 'rejected_at', r.rejected_at, 'rejected_by', r.rejected_by,
    'reason', r.reason)::text AS said
FROM document_review r
WHERE r.tenant_id = $1 AND r.shard_key = ANY ($2) AND r.document_ref = ANY ($3)
UNION ALL
SELECT v.document_ref, 'voided', jsonb_build_object('voided_at', v.voided_at,
    'voided_by', v.voided_by, 'reason', v.reason)::text
FROM document_void v
WHERE v.tenant_id = $1 AND v.shard_key = ANY ($2) AND v.document_ref = ANY ($3)
UNION ALL
SELECT c.parent_document_ref, 'credited_by', jsonb_agg(jsonb_build_object(
    'invoice_ref', c.document_ref, 'document_number', c.document_number, 'state', c.state,
    'total', c.total) ORDER BY c.number)::text
FROM document c
WHERE c.tenant_id = $1 AND c.shard_key = ANY ($2) AND c.parent_document_ref = ANY ($3)
    AND c.kind = 'CREDIT' AND c.number IS NOT NULL
GROUP BY c.parent_document_ref
UNION ALL
SELECT c.document_ref, 'credited_lines', jsonb_agg(jsonb_build_object(
    'line_item_ref', l.line_item_ref, 'item', l.item, 'quantity', c.quantity, 'amount', c.amount,
    'total', c.total) ORDER BY c.position)::text
FROM document_line_credit c
JOIN document_line l ON l.shard_key = c.shard_key AND l.document_ref = c.parent_document_ref
    AND l.product_position = c.product_position AND l.position = c.line_position
WHERE c.tenant_id = $1 AND c.shard_key = ANY ($2) AND c.document_ref = ANY ($3)
GROUP BY c.document_ref
UNION ALL
SELECT p.document_ref, 'payments', jsonb_agg(jsonb_build_object(
    'payment_ref', p.payment_ref, 'amount', p.amount, 'paid_date', p.paid_date,
    'method', p.method, 'reference', p.reference, 'recorded_by', p.recorded_by,
    'recorded_at', p.recorded_at, 'reversed_at', p.reversed_at, 'reversed_by', p.reversed_by,
    'reversal_reason', p.reversal_reason) ORDER BY p.recorded_at, p.payment_ref)::text
FROM payment p
WHERE p.tenant_id = $1 AND p.shard_key = ANY ($2) AND p.document_ref = ANY ($3)
GROUP BY p.document_ref
UNION ALL
SELECT a.document_ref, m.mark, m.value::text
FROM (
    SELECT d.document_ref, d.state, d.total,
        document_due(d.shard_key, d.document_ref, d.total) AS due
    FROM document d
    WHERE d.tenant_id = $1 AND d.shard_key = ANY ($2) AND d.document_ref = ANY ($3)
      AND d.number IS NOT NULL
) a
CROSS JOIN LATERAL (VALUES
    ('amount_due', CASE WHEN a.state = 'VOID' THEN 0 WHEN a.total < 0 THEN least(a.due, 0)
                   ELSE greatest(a.due, 0) END),
    ('overpaid', CASE WHEN a.state = 'VOID' THEN 0 WHEN a.total < 0 THEN greatest(a.due, 0)
                 ELSE -least(a.due, 0) END)
) AS m (mark, value);
