-- Statements of the journal: what entries are made from, set-wise.

-- name: load_unserved
-- The products of documents whose periods end after the day of issue, and what of each has usage.
SELECT p.document_ref, p.total, p.discount, coalesce(l.used, 0) AS used
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document d ON d.shard_key = k.shard_key AND d.document_ref = k.document_ref
JOIN document_product p ON p.shard_key = d.shard_key AND p.document_ref = d.document_ref
JOIN billing_period b ON b.shard_key = p.shard_key AND b.period_ref = p.period_ref
    AND b.end_date > d.issue_date
CROSS JOIN LATERAL (
    SELECT sum(l.amount) AS used FROM document_line l
    WHERE l.shard_key = p.shard_key AND l.document_ref = p.document_ref
      AND l.product_position = p.position AND (l.charge_ref IS NOT NULL OR l.event_count <> 0)
) l;

-- name: load_billed_ahead
-- What the documents that credits are for have billed, and what of it was billed ahead.
SELECT c.document_ref, e.deferred_revenue, e.deferred_revenue + e.revenue AS net
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document c ON c.shard_key = k.shard_key AND c.document_ref = k.document_ref
JOIN journal_entry e ON e.shard_key = c.shard_key AND e.document_ref = c.parent_document_ref
    AND e.entry_number = 1;

-- name: load_families
-- Documents with all the credits that take something off them: where each stands, and what is
-- booked for it. Of a document that is such a credit, the family that it is in.
WITH family AS MATERIALIZED (
    SELECT DISTINCT d.shard_key,
        CASE WHEN d.total < 0 AND d.kind IN ('ADJUSTMENT', 'CREDIT') THEN d.parent_document_ref
        ELSE d.document_ref END AS root
    FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
    JOIN document d ON d.shard_key = k.shard_key AND d.document_ref = k.document_ref
), member AS (
    SELECT d.*, f.root FROM family f
    JOIN document d ON d.shard_key = f.shard_key AND d.document_ref = f.root
    UNION ALL
    SELECT c.*, f.root FROM family f
    JOIN document c ON c.shard_key = f.shard_key AND c.parent_document_ref = f.root
    WHERE c.total < 0 AND c.kind IN ('ADJUSTMENT', 'CREDIT')
)
SELECT m.shard_key, m.root, m.document_ref, m.tenant_id, m.entity_id, m.currency, m.state,
    m.submission_date IS NOT NULL AS was_sent, m.total, came.*, booked.*
FROM member m
CROSS JOIN LATERAL (
    SELECT coalesce(sum(p.amount), 0) AS paid, max(p.paid_date) AS paid_date FROM payment p
    WHERE p.shard_key = m.shard_key AND p.document_ref = m.document_ref AND p.reversed_at IS NULL
) came
CROSS JOIN LATERAL (
    SELECT max(e.entry_number) AS entries, sum(e.receivable) AS receivable, sum(e.cash) AS cash,
        sum(e.prepaid_credits) AS prepaid_credits, sum(e.customer_credit) AS customer_credit,
        sum(e.deferred_revenue) AS deferred_revenue, sum(e.tax) AS tax,
        sum(e.revenue) AS revenue, sum(e.bad_debt) AS bad_debt, sum(e.set_off) AS set_off
    FROM journal_entry e
    WHERE e.shard_key = m.shard_key AND e.document_ref = m.document_ref
) booked
WHERE m.number IS NOT NULL
ORDER BY m.shard_key, m.root, m.number_in_contract;
