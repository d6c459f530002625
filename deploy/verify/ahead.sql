-- What is billed of periods before they are over. $1 is a tenant, or NULL for all of them.

-- name: aheads_counted
SELECT count(*) FROM document_adjustment WHERE is_ahead AND ($1::integer IS NULL OR tenant_id = $1);

-- name: aheads
-- Each part that a document bills ahead, or gives back, once a line of the period's cut 0, with what
-- the document says of it and the terms that it is under. is_own: the cut was made for this document,
-- else it is given back.
SELECT part.document_ref, part.root_document_ref, part.position, part.cut_number, part.product_name,
       part.minimum_fee, part.sub_total, part.total, part.discount, part.discount_rate,
       part.tax_rate, part.true_ups::text AS true_ups, part.period_ref,
       terms.discount AS discount_percent, terms.tax, document.currency, document.kind,
       input.document_ref = part.document_ref AS is_own, period.rest_date,
       start_date, end_date, full_start_date, full_end_date,
       cut.contract_line_ref, price.price::text AS price, cut.quantity AS cut_quantity,
       cut.event_count AS cut_events, cut.events_digest AS cut_digest,
       line.quantity, line.event_count, line.amount, line.events_digest,
       sum(line.amount) OVER own AS lines_amount,
       (SELECT count(*) FROM document_line every
        WHERE (every.shard_key, every.document_ref, every.product_position)
            = (part.shard_key, part.document_ref, part.position)) AS lines,
       count(line.shard_key) OVER own AS lines_cut
FROM document_adjustment ahead
JOIN document USING (shard_key, document_ref)
JOIN document_product part
    ON (part.shard_key, part.document_ref, part.root_document_ref)
     = (ahead.shard_key, ahead.document_ref, ahead.root_document_ref)
JOIN contract_product terms
    ON (terms.shard_key, terms.contract_product_ref)
     = (part.shard_key, part.contract_product_ref)
JOIN billing_period period
    ON (period.shard_key, period.period_ref) = (part.shard_key, part.period_ref)
LEFT JOIN document_input input
    ON (input.shard_key, input.contract_product_ref, input.period_ref)
     = (part.shard_key, part.contract_product_ref, part.period_ref)
    AND input.trigger IN ('PERIOD_OPENED', 'ISSUE_DUE')
LEFT JOIN charge_cut cut
    ON (cut.shard_key, cut.period_ref, cut.cut_number) = (part.shard_key, part.period_ref, 0)
LEFT JOIN pricing_line price ON price.pricing_line_id = cut.pricing_line_id
LEFT JOIN document_line line
    ON (line.shard_key, line.document_ref, line.product_position, line.contract_line_ref)
     = (part.shard_key, part.document_ref, part.position, cut.contract_line_ref)
WHERE ahead.is_ahead AND ($1::integer IS NULL OR ahead.tenant_id = $1)
WINDOW own AS (PARTITION BY part.shard_key, part.document_ref, part.position)
ORDER BY ahead.shard_key, ahead.document_ref, part.position;

-- name: taxes
-- What documents bill ahead, and the tax that they state for it.
SELECT ahead.document_ref, document.currency, sum(ahead.total_tax) AS total_tax
FROM document_adjustment ahead JOIN document USING (shard_key, document_ref)
WHERE ahead.is_ahead AND ($1::integer IS NULL OR ahead.tenant_id = $1)
GROUP BY ahead.shard_key, ahead.document_ref, document.currency
ORDER BY ahead.document_ref;

-- name: unsettled
-- A part that is billed ahead is settled by the document that it names, or given back: where a
-- period was closed, or replaced by a shorter one, no part of it is left alone.
SELECT format('period %s is billed ahead by %s, and document %s, which settles it, is issued '
              'without it', part.period_ref, part.document_ref, root.document_number) AS witness
FROM document_adjustment ahead
JOIN document_product part
    ON (part.shard_key, part.document_ref, part.root_document_ref)
     = (ahead.shard_key, ahead.document_ref, ahead.root_document_ref)
JOIN document root
    ON (root.shard_key, root.document_ref) = (ahead.shard_key, ahead.root_document_ref)
WHERE ahead.is_ahead AND root.number IS NOT NULL AND part.sub_total >= 0
  AND ($1::integer IS NULL OR ahead.tenant_id = $1)
  AND NOT EXISTS (
    SELECT FROM document_product own
    WHERE (own.shard_key, own.period_ref) = (part.shard_key, part.period_ref)
      AND (own.document_ref = root.document_ref AND own.root_document_ref IS NULL
           OR own.document_ref <> part.document_ref
              AND own.root_document_ref = part.root_document_ref AND own.total = -part.total))
UNION ALL
-- … and where a later version has taken the period's place and is billed, it gives the part back.
SELECT format('period %s is billed ahead by %s, and document %s, which bills what took its place, '
              'is issued without giving it back', part.period_ref, part.document_ref,
              later.document_number) AS witness
FROM (
    WITH RECURSIVE heir AS (
        SELECT shard_key, contract_product_ref, from_date, successor_ref
        FROM contract_succession WHERE successor_ref IS NOT NULL
        UNION
        SELECT heir.shard_key, heir.contract_product_ref, heir.from_date, next.successor_ref
        FROM heir JOIN contract_succession next
            ON (next.shard_key, next.contract_product_ref, next.from_date)
             = (heir.shard_key, heir.successor_ref, heir.from_date)
        WHERE next.successor_ref IS NOT NULL
    )
    SELECT * FROM heir
) AS heir
JOIN billing_period old
    ON (old.shard_key, old.contract_product_ref) = (heir.shard_key, heir.contract_product_ref)
    AND old.start_date >= heir.from_date
JOIN document_product part
    ON (part.shard_key, part.period_ref) = (old.shard_key, old.period_ref)
    AND part.root_document_ref IS NOT NULL AND part.total >= 0
JOIN document_adjustment ahead
    ON (ahead.shard_key, ahead.document_ref, ahead.root_document_ref)
     = (part.shard_key, part.document_ref, part.root_document_ref)
JOIN billing_period anew
    ON (anew.shard_key, anew.contract_product_ref, anew.start_date)
     = (heir.shard_key, heir.successor_ref, heir.from_date)
JOIN document_product billed
    ON (billed.shard_key, billed.period_ref) = (anew.shard_key, anew.period_ref)
    AND billed.root_document_ref IS NULL
JOIN document later
    ON (later.shard_key, later.document_ref) = (billed.shard_key, billed.document_ref)
WHERE ahead.is_ahead AND later.kind = 'PERIOD' AND later.number IS NOT NULL
  AND ($1::integer IS NULL OR ahead.tenant_id = $1)
  AND NOT EXISTS (
    SELECT FROM document_product back
    WHERE (back.shard_key, back.document_ref, back.period_ref)
        = (later.shard_key, later.document_ref, part.period_ref))
UNION ALL
SELECT format('period %s was given back %s of the %s that was billed ahead of it', period_ref,
              back, ahead) AS witness
FROM (
    SELECT own.period_ref, own.tenant_id, -sum(own.total) FILTER (WHERE own.total < 0) AS back,
           sum(own.total) FILTER (WHERE own.total >= 0) AS ahead
    FROM document_adjustment part
    JOIN document_product own
        ON (own.shard_key, own.document_ref, own.root_document_ref)
         = (part.shard_key, part.document_ref, part.root_document_ref)
    WHERE part.is_ahead GROUP BY 1, 2
) AS sums
WHERE ($1::integer IS NULL OR tenant_id = $1) AND back > 0 AND back IS DISTINCT FROM ahead;

-- name: unmade
-- Where there was nothing to bill there is no document; and what its inputs hold is as little as that.
SELECT format('line %s of period %s at cut %s is on no document', cut.contract_line_ref,
              cut.period_ref, cut.cut_number) AS witness
FROM document_input input
JOIN billing_period period USING (shard_key, period_ref)
JOIN charge_cut cut USING (shard_key, period_ref, cut_number)
LEFT JOIN charge_cut ahead
    ON (ahead.shard_key, ahead.period_ref, ahead.cut_number, ahead.contract_line_ref, ahead.cell)
     = (cut.shard_key, cut.period_ref, 0, cut.contract_line_ref, cut.cell)
    AND cut.cut_number > 0
WHERE ($1::integer IS NULL OR input.tenant_id = $1) AND period.rest_date IS NOT NULL
  AND NOT EXISTS (
    SELECT FROM document
    WHERE (document.shard_key, document.document_ref) = (input.shard_key, input.document_ref))
  AND (cut.amount <> coalesce(ahead.amount, 0)
       OR cut.event_count <> coalesce(ahead.event_count, 0));
