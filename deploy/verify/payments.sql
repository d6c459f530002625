-- Whether documents stand where the payments for them say.

-- name: payments_counted
SELECT count(*) FROM payment WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: payments_of_nothing
-- Money has the sign of what it is for, and no more digits than its currency has.
SELECT format('payment %s of %s for document %s, whose total is %s %s', p.payment_ref, p.amount,
              coalesce(d.document_number, d.document_ref::text), d.total, d.currency) AS witness
FROM payment p JOIN document d USING (shard_key, document_ref)
WHERE ($1::integer IS NULL OR p.tenant_id = $1)
  AND (d.number IS NULL OR sign(p.amount) = -sign(d.total) OR p.tenant_id <> d.tenant_id);
