-- Statements for what people want done with documents, one request in one transaction.

-- name: claim_request
-- The oldest open request that is not among those left for later; another process passes over what
-- this one holds.
SELECT shard_key, request_ref, tenant_id, document_ref, action, details::text AS details, made_by
FROM document_request
WHERE outcome IS NULL AND request_ref <> ALL ($1::uuid[])
ORDER BY requested_at, request_ref
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: finish_request
-- A refused one gives its key back, so that the next one with it is a first one.
UPDATE document_request SET outcome = $3, code = $4, detail = $5, result_ref = $6,
    outcome_at = now(),
    idempotency_key = CASE WHEN $3 = 'DONE' THEN idempotency_key END
WHERE shard_key = $1 AND request_ref = $2;

-- name: request_age_seconds
SELECT coalesce(extract(epoch FROM now() - min(requested_at)), 0)::double precision
FROM document_request WHERE outcome IS NULL;

-- name: lock_contract_of
-- Taken before the document is read: what is read then stays so.
SELECT FROM contract c
JOIN document d ON d.shard_key = c.shard_key AND d.contract_ref = c.contract_ref
WHERE d.shard_key = $1 AND d.document_ref = $2 AND d.tenant_id = $3
FOR NO KEY UPDATE OF c;

-- name: load_subject
SELECT d.*, e.document_number_format, e.timezone
FROM document d
JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
WHERE d.shard_key = $1 AND d.document_ref = $2 AND d.tenant_id = $3;

-- name: act_for_person
SELECT set_config('meterline.cause', 'PERSON', true);

-- name: note_approved
UPDATE document_review SET approved_at = $3, approved_by = $4
WHERE shard_key = $1 AND document_ref = $2;

-- name: note_rejected
UPDATE document_review SET rejected_at = $3, rejected_by = $4, reason = $5
WHERE shard_key = $1 AND document_ref = $2;

-- name: set_state
UPDATE document SET state = $3 WHERE shard_key = $1 AND document_ref = $2;

-- name: find_corrections_of
-- The documents that correct this one and still count.
SELECT h.document_number FROM document h
WHERE h.shard_key = $1 AND h.parent_document_ref = $2 AND h.kind IN ('ADJUSTMENT', 'CREDIT')
  AND h.number IS NOT NULL AND h.state <> 'VOID'
UNION
SELECT h.document_number FROM document_adjustment a
JOIN document h ON h.shard_key = a.shard_key AND h.document_ref = a.document_ref
WHERE a.shard_key = $1 AND a.root_document_ref = $2 AND h.number IS NOT NULL
  AND h.state <> 'VOID' AND h.kind <> 'EVENT'
ORDER BY 1;

-- name: add_void
INSERT INTO document_void (shard_key, document_ref, tenant_id, contract_ref, currency, after_number,
    total, reason, voided_by, voided_at)
SELECT d.shard_key, d.document_ref, d.tenant_id, d.contract_ref, d.currency, (
        SELECT max(o.number_in_contract) FROM document o
        WHERE o.shard_key = d.shard_key AND o.contract_ref = d.contract_ref
          AND o.currency = d.currency),
    d.total, $3, $4, $5
FROM document d WHERE d.shard_key = $1 AND d.document_ref = $2;

-- name: drop_mail
DELETE FROM invoicer_outbox WHERE shard_key = $1 AND document_ref = $2 AND kind IN ('MAIL', 'REMINDER');

-- name: hurry_mail
-- A mail that waits already is sent now.
UPDATE invoicer_outbox SET due_at = now()
WHERE shard_key = $1 AND document_ref = $2 AND kind IN ('MAIL', 'RENDER')
RETURNING kind;

-- name: mail_again
INSERT INTO invoicer_outbox (shard_key, tenant_id, document_ref, kind, copy)
SELECT $1, $3, $2, 'MAIL', 1 + (
    SELECT count(*) FROM document_request
    WHERE shard_key = $1 AND document_ref = $2 AND action = 'SEND' AND outcome = 'DONE');

-- name: load_credited
-- What was taken off a document by now, by people and by what has changed since; below zero.
SELECT count(*) FILTER (WHERE kind = 'CREDIT') AS credits,
    coalesce(sum(total) FILTER (WHERE total < 0 AND state <> 'VOID'), 0) AS total,
    coalesce(sum(total_tax) FILTER (WHERE total < 0 AND state <> 'VOID'), 0) AS total_tax
FROM document
WHERE shard_key = $1 AND parent_document_ref = $2 AND kind IN ('ADJUSTMENT', 'CREDIT')
  AND number IS NOT NULL;

-- name: add_credit
-- A draft that takes an amount off a document, for the same parties; the reason is its note.
INSERT INTO document (shard_key, document_ref, tenant_id, customer_id, contract_ref, entity_id,
    document_group, kind, parent_document_ref, accounting_event_type, state, currency, net_terms,
    issue_date, period_start, period_end, is_partial_period, sub_total, total_discount, total_tax,
    credits_amount, total, parties)
SELECT d.shard_key, $3, d.tenant_id, d.customer_id, d.contract_ref, d.entity_id, d.document_group,
    'CREDIT', d.document_ref, 'CREDIT', 'DRAFT', d.currency, d.net_terms, $4, d.period_start,
    d.period_end, d.is_partial_period, $5::numeric - $6::numeric, 0, $6::numeric, 0, $5::numeric,
    d.parties || jsonb_build_object('note', $7::text)
FROM document d WHERE d.shard_key = $1 AND d.document_ref = $2;

-- name: load_billed_lines
-- The lines of a document in their order, and what credits that count took off each.
SELECT l.product_position, l.position, l.item, l.amount, l.quantity, l.exact_quantity,
    p.total AS product_total, p.discount_rate, p.tax_rate,
    coalesce(taken.amount, 0) AS credited, coalesce(taken.quantity, 0) AS credited_quantity
FROM document_line l
JOIN document_product p ON p.shard_key = l.shard_key AND p.document_ref = l.document_ref
    AND p.position = l.product_position
LEFT JOIN (
    SELECT c.product_position, c.line_position, sum(c.amount) AS amount, sum(c.quantity) AS quantity
    FROM document_line_credit c
    JOIN document d ON d.shard_key = c.shard_key AND d.document_ref = c.document_ref
    WHERE c.shard_key = $1 AND c.parent_document_ref = $2 AND d.state <> 'VOID'
    GROUP BY c.product_position, c.line_position
) taken ON taken.product_position = l.product_position AND taken.line_position = l.position
WHERE l.shard_key = $1 AND l.document_ref = $2
ORDER BY l.product_position, l.position;

-- name: act_for_payment
SELECT set_config('meterline.cause', 'PAYMENT', true);

-- name: act_for_nobody
SELECT set_config('meterline.cause', '', true);

-- name: load_account
-- What a document asks for, what has come for it, and what is left to be paid.
SELECT d.total, document_due(d.shard_key, d.document_ref, d.total) AS left, came.*
FROM document d
CROSS JOIN LATERAL (
    SELECT coalesce(sum(p.amount), 0) AS paid, max(p.paid_date) AS paid_date FROM payment p
    WHERE p.shard_key = d.shard_key AND p.document_ref = d.document_ref AND p.reversed_at IS NULL
) came
WHERE d.shard_key = $1 AND d.document_ref = $2;

-- name: find_payment_of
SELECT amount, paid_date FROM payment
WHERE shard_key = $1 AND document_ref = $2 AND reference = $3 AND reversed_at IS NULL;

-- name: add_payment
INSERT INTO payment (shard_key, document_ref, tenant_id, payment_ref, amount, paid_date, method,
    reference, recorded_by, recorded_at)
VALUES ($1, $2, $3, gen_random_uuid(), $4, $5, $6, $7, $8, $9)
RETURNING payment_ref;

-- name: take_payment_back
UPDATE payment SET reversed_at = $4, reversed_by = $5, reversal_reason = $6
WHERE shard_key = $1 AND document_ref = $2 AND payment_ref = $3 AND reversed_at IS NULL
RETURNING true;

-- name: has_payment
SELECT true FROM payment WHERE shard_key = $1 AND document_ref = $2 AND payment_ref = $3;

-- name: settle
UPDATE document SET state = $3, paid_date = $4
WHERE shard_key = $1 AND document_ref = $2 AND (state, paid_date) IS DISTINCT FROM ($3, $4);

-- name: has_payments
SELECT true FROM payment
WHERE shard_key = $1 AND document_ref = $2 AND reversed_at IS NULL LIMIT 1;
