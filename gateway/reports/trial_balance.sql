-- The journal added up, account by account. Each statement names the tenant.

-- name: find_entity_id
SELECT entity_id FROM entity WHERE tenant_id = $1 AND entity_ref = $2;

-- name: add_up_journal
-- By currency and account, in the order of the accounts: what stood before the first day, what was
-- debited and credited until the last, and what stands then. A null means any.
SELECT l.currency, l.account,
    coalesce(sum(l.amount) FILTER (WHERE l.entry_date < $3), 0) AS opening,
    coalesce(sum(l.amount) FILTER (WHERE l.amount > 0 AND ($3::date IS NULL OR l.entry_date >= $3)),
             0) AS debits,
    coalesce(-sum(l.amount) FILTER (WHERE l.amount < 0 AND ($3 IS NULL OR l.entry_date >= $3)), 0)
    AS credits,
    sum(l.amount) AS balance
FROM journal_line l
WHERE l.tenant_id = $1 AND ($2::integer IS NULL OR l.entity_id = $2)
  AND ($4::date IS NULL OR l.entry_date <= $4)
GROUP BY l.currency, l.position, l.account
ORDER BY l.currency, l.position;
