-- The journal for whoever may see all of it. Each statement takes the tenant, and a null for any
-- entity, shard, customer, document, first and last day.

-- name: find_customer
SELECT tenant_id, shard_key, customer_id FROM customer WHERE customer_ref = $1 AND shard_key = $2;

-- name: find_entity
SELECT tenant_id, entity_id FROM entity WHERE entity_ref = $1;

-- name: add_up
SELECT l.currency, l.account, coalesce(sum(l.amount) FILTER (WHERE l.amount > 0), 0) AS debits,
    coalesce(-sum(l.amount) FILTER (WHERE l.amount < 0), 0) AS credits, sum(l.amount) AS balance
FROM journal_line l
JOIN document d ON d.shard_key = l.shard_key AND d.document_ref = l.document_ref
WHERE l.tenant_id = $1 AND ($2::integer IS NULL OR l.entity_id = $2)
  AND ($3::integer IS NULL OR l.shard_key = $3)
  AND ($4::integer IS NULL OR d.customer_id = $4)
  AND ($5::uuid IS NULL OR l.document_ref = $5)
  AND ($6::date IS NULL OR l.entry_date >= $6) AND ($7::date IS NULL OR l.entry_date <= $7)
GROUP BY l.currency, l.position, l.account
ORDER BY l.currency, l.position;

-- name: list_entries
-- The newest entries, in the order in which they were booked; $8 at the most.
SELECT e.entry_date, e.booked_at, d.document_number, e.document_ref, e.entry_number, e.kind,
    e.payment_ref, e.currency, lines.lines
FROM (
    SELECT e.* FROM journal_entry e
    JOIN document d ON d.shard_key = e.shard_key AND d.document_ref = e.document_ref
    WHERE e.tenant_id = $1 AND ($2::integer IS NULL OR e.entity_id = $2)
      AND ($3::integer IS NULL OR e.shard_key = $3)
      AND ($4::integer IS NULL OR d.customer_id = $4)
      AND ($5::uuid IS NULL OR e.document_ref = $5)
      AND ($6::date IS NULL OR e.entry_date >= $6) AND ($7::date IS NULL OR e.entry_date <= $7)
    ORDER BY e.booked_at DESC, d.number_in_contract DESC, e.entry_number DESC LIMIT $8
) e
JOIN document d ON d.shard_key = e.shard_key AND d.document_ref = e.document_ref
CROSS JOIN LATERAL (
    SELECT array_agg(ROW(l.account, l.amount) ORDER BY l.position) AS lines FROM journal_line l
    WHERE l.shard_key = e.shard_key AND l.document_ref = e.document_ref
      AND l.entry_number = e.entry_number
) lines
ORDER BY e.booked_at, d.number_in_contract, e.document_ref, e.entry_number;
