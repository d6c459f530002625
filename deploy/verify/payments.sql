-- Whether documents stand where the payments for them say.

-- name: payments_counted
SELECT count(*) FROM payment WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: payments_broken
-- A document is paid when all has come, its last day that of its last payment; partially, when some
-- has; it may be late then, or given up, and is in no other state.
WITH account AS (
    SELECT shard_key, document_ref, sum(amount) AS paid, max(paid_date) AS last_day
    FROM payment WHERE reversed_at IS NULL AND ($1::integer IS NULL OR tenant_id = $1)
    GROUP BY shard_key, document_ref
), asked AS (
    SELECT d.shard_key, d.document_ref, d.document_number, d.state, d.paid_date, a.last_day,
           coalesce(a.paid, 0) AS paid,
           d.total + coalesce((
               SELECT sum(c.total) FROM document c
               WHERE c.shard_key = d.shard_key AND c.parent_document_ref = d.document_ref
                 AND c.kind IN ('ADJUSTMENT', 'CREDIT') AND c.total < 0 AND c.number IS NOT NULL
                 AND c.state <> 'VOID'), 0) AS total
    FROM document d LEFT JOIN account a USING (shard_key, document_ref)
    WHERE ($1::integer IS NULL OR d.tenant_id = $1)
      AND (a.paid IS NOT NULL OR d.paid_date IS NOT NULL OR d.state IN ('PAID', 'PARTIALLY_PAID'))
)
SELECT format('document %s is %s, paid on %s; of %s it has %s, the last on %s',
              coalesce(document_number, document_ref::text), state, coalesce(paid_date::text, 'no day'),
              total, paid, coalesce(last_day::text, 'no day')) AS witness
FROM asked
WHERE (state = 'PAID') <> (paid_date IS NOT NULL)
   OR (state = 'PAID' AND (abs(paid) < abs(total) OR paid_date <> last_day))
   OR (state = 'PARTIALLY_PAID' AND paid = 0)
   OR (state NOT IN ('PAID', 'PARTIALLY_PAID', 'LATE', 'UNCOLLECTIBLE') AND paid <> 0);

-- name: payments_of_nothing
-- Money has the sign of what it is for, and no more digits than its currency has.
SELECT format('payment %s of %s for document %s, whose total is %s %s', p.payment_ref, p.amount,
              coalesce(d.document_number, d.document_ref::text), d.total, d.currency) AS witness
FROM payment p JOIN document d USING (shard_key, document_ref)
WHERE ($1::integer IS NULL OR p.tenant_id = $1)
  AND (d.number IS NULL OR sign(p.amount) = -sign(d.total) OR p.tenant_id <> d.tenant_id);
