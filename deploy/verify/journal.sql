-- The journal, beside the documents and payments that it is about.

-- name: entries_counted
SELECT count(*) FROM journal_entry WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: entries_unbalanced
SELECT format('entry %s of document %s is off by %s %s', entry_number, document_ref, sum(amount),
              currency) AS witness
FROM journal_line WHERE $1::integer IS NULL OR tenant_id = $1
GROUP BY shard_key, document_ref, entry_number, currency
HAVING sum(amount) <> 0;

-- name: entries_misplaced
-- A document's entries are numbered from its issue on, and are of its day, tenant, entity and
-- currency; what is not issued has none.
SELECT format('entry %s of document %s is not of its %s', e.entry_number,
              coalesce(d.document_number, e.document_ref::text), wrong.what) AS witness
FROM journal_entry e
LEFT JOIN document d ON d.shard_key = e.shard_key AND d.document_ref = e.document_ref
    AND d.number IS NOT NULL
CROSS JOIN LATERAL (
    SELECT CASE WHEN d.document_ref IS NULL THEN 'issue'
                WHEN e.tenant_id <> d.tenant_id THEN 'tenant'
                WHEN e.entity_id <> d.entity_id THEN 'entity'
                WHEN e.currency <> d.currency THEN 'currency'
                WHEN e.kind = 'ISSUE' AND (e.entry_date, e.booked_at) <> (d.issue_date, d.issued_at)
                THEN 'day of issue'
                WHEN (e.kind = 'ISSUE') <> (e.entry_number = 1) THEN 'issue'
           END AS what
) wrong
WHERE wrong.what IS NOT NULL AND ($1::integer IS NULL OR e.tenant_id = $1);

-- name: entries_missing
SELECT format('document %s has %s entries, the last with the number %s', d.document_number,
              coalesce(e.entries, 0), coalesce(e.last, 0)) AS witness
FROM document d
LEFT JOIN (
    SELECT shard_key, document_ref, count(*) AS entries, max(entry_number) AS last
    FROM journal_entry GROUP BY shard_key, document_ref
) e ON e.shard_key = d.shard_key AND e.document_ref = d.document_ref
WHERE d.number IS NOT NULL AND ($1::integer IS NULL OR d.tenant_id = $1)
  AND (e.entries IS NULL OR e.entries <> e.last);

-- name: payments_counted
SELECT count(*) FROM payment WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: payments_misbooked
-- A payment is booked once for its day, and the other way once when it is taken back.
WITH booked AS (
    SELECT shard_key, document_ref, payment_ref, kind, count(*) AS entries, sum(cash) AS cash,
           max(entry_date) AS day
    FROM journal_entry WHERE payment_ref IS NOT NULL GROUP BY 1, 2, 3, 4
), came AS (
    SELECT shard_key, document_ref, payment_ref, tenant_id, 'PAYMENT' AS kind, amount AS cash,
           paid_date AS day
    FROM payment
    UNION ALL
    SELECT shard_key, document_ref, payment_ref, tenant_id, 'REVERSAL', -amount, NULL
    FROM payment WHERE reversed_at IS NOT NULL
)
SELECT format('%s %s of document %s comes to %s, and is booked %s times with %s', lower(kind),
              payment_ref, document_ref, coalesce(came.cash, 0), coalesce(booked.entries, 0),
              coalesce(booked.cash, 0)) AS witness
FROM came FULL JOIN booked USING (shard_key, document_ref, payment_ref, kind)
WHERE ($1::integer IS NULL OR came.tenant_id = $1 OR came.tenant_id IS NULL)
  AND (came.cash IS NULL OR booked.entries IS DISTINCT FROM 1 OR booked.cash <> came.cash
       OR booked.day <> came.day);

-- name: families
-- Every issued document: what it says, what has come for it, and what is booked. The credits that
-- take something off one follow it, in order of issue. ahead: of documents issued before a period's
-- end, what each product of such a period comes to, its discount, and its lines with usage.
SELECT d.document_ref, d.document_number, d.tenant_id, d.currency, d.state, d.kind, d.total,
       d.sub_total - d.total_discount AS net, d.total_tax, d.credits_amount, d.paid_date,
       d.period_end > d.issue_date AS is_early, a.ahead::text AS ahead,
       f.root, coalesce(p.paid, 0) AS paid, p.last_day, j.receivable, j.cash, j.prepaid_credits,
       j.customer_credit, j.deferred_revenue, j.tax, j.revenue, j.bad_debt, j.set_off
FROM document d
CROSS JOIN LATERAL (
    SELECT CASE WHEN d.total < 0 AND d.kind IN ('ADJUSTMENT', 'CREDIT') THEN d.parent_document_ref
                ELSE d.document_ref END AS root
) f
LEFT JOIN (
    SELECT shard_key, document_ref, sum(amount) AS paid, max(paid_date) AS last_day
    FROM payment WHERE reversed_at IS NULL GROUP BY shard_key, document_ref
) p ON p.shard_key = d.shard_key AND p.document_ref = d.document_ref
LEFT JOIN (
    SELECT shard_key, document_ref, sum(receivable) AS receivable, sum(cash) AS cash,
           sum(prepaid_credits) AS prepaid_credits, sum(customer_credit) AS customer_credit,
           sum(deferred_revenue) AS deferred_revenue, sum(tax) AS tax, sum(revenue) AS revenue,
           sum(bad_debt) AS bad_debt, sum(set_off) AS set_off
    FROM journal_entry GROUP BY shard_key, document_ref
) j ON j.shard_key = d.shard_key AND j.document_ref = d.document_ref
LEFT JOIN (
    SELECT own.shard_key, own.document_ref,
           jsonb_agg(jsonb_build_array(own.total, own.discount, coalesce(l.used, 0))) AS ahead
    FROM document_product own
    JOIN document o ON o.shard_key = own.shard_key AND o.document_ref = own.document_ref
        AND o.period_end > o.issue_date AND o.event_ref IS NULL
    JOIN billing_period b ON b.shard_key = own.shard_key AND b.period_ref = own.period_ref
        AND b.end_date > o.issue_date
    LEFT JOIN (
        SELECT shard_key, document_ref, product_position, sum(amount) AS used FROM document_line
        WHERE charge_ref IS NOT NULL OR event_count <> 0
        GROUP BY shard_key, document_ref, product_position
    ) l ON (l.shard_key, l.document_ref, l.product_position)
         = (own.shard_key, own.document_ref, own.position)
    GROUP BY own.shard_key, own.document_ref
) a ON a.shard_key = d.shard_key AND a.document_ref = d.document_ref
WHERE d.number IS NOT NULL AND ($1::integer IS NULL OR d.tenant_id = $1)
ORDER BY d.shard_key, f.root, f.root <> d.document_ref, d.number_in_contract;
