-- Statements of the invoicer. Each works on sets, so a batch costs a fixed number of them.

-- name: route_inputs
-- Which transaction takes each input (its entity and series) and which document it belongs to.
-- An input that names no cut is missing from the answer.
SELECT i.ordinality::integer - 1 AS index, cp.tenant_id, t.tenant_ref, cp.entity_id,
    e.document_number_format, cp.contract_ref, cp.document_group,
    CASE WHEN i.trigger = 'PERIOD_CUT' THEN coalesce(p.rest_date, p.issue_date)
        ELSE p.issue_date END AS issue_date,
    cp.net_terms = 'DUE_UPON_USAGE' AS bills_events,
    EXISTS (
        SELECT FROM document_input d
        WHERE d.shard_key = i.shard_key AND d.contract_product_ref = i.contract_product_ref
          AND d.period_ref = i.period_ref AND d.trigger = i.trigger
          AND d.cut_number = i.cut_number
    ) AS is_taken
FROM unnest($1::integer[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[])
    WITH ORDINALITY AS i (shard_key, contract_product_ref, period_ref, trigger, cut_number)
JOIN period_cut c ON c.shard_key = i.shard_key AND c.period_ref = i.period_ref
    AND c.cut_number = i.cut_number AND i.trigger = CASE WHEN c.cut_number > 0 THEN 'PERIOD_CUT'
        WHEN c.until_at IS NULL THEN 'PERIOD_OPENED' ELSE 'ISSUE_DUE' END
JOIN billing_period p ON p.shard_key = i.shard_key AND p.period_ref = i.period_ref
    AND p.contract_product_ref = i.contract_product_ref
JOIN contract_product cp ON cp.shard_key = i.shard_key
    AND cp.contract_product_ref = i.contract_product_ref
JOIN entity e ON e.tenant_id = cp.tenant_id AND e.entity_id = cp.entity_id
JOIN tenant t ON t.tenant_id = cp.tenant_id;

-- name: lock_contracts
-- A contract's row is the lock of all that is made for it: its drafts, its numbers in order of
-- issue. Taken first, in one order, so that no two batches wait for each other.
SELECT FROM contract c
JOIN unnest($1::integer[], $2::uuid[]) AS k (shard_key, contract_ref)
    ON c.shard_key = k.shard_key AND c.contract_ref = k.contract_ref
ORDER BY c.shard_key, c.contract_ref
FOR NO KEY UPDATE OF c;

-- name: add_inputs
-- The inputs that were not taken before.
INSERT INTO document_input
    (shard_key, contract_product_ref, period_ref, trigger, cut_number, tenant_id, document_ref)
SELECT shard_key, contract_product_ref, period_ref, trigger, cut_number, $6, document_ref
FROM unnest($1::integer[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[], $7::uuid[])
    AS i (shard_key, contract_product_ref, period_ref, trigger, cut_number, document_ref)
ON CONFLICT DO NOTHING
RETURNING shard_key, contract_product_ref, period_ref, trigger, cut_number, document_ref;

-- name: drop_parked
-- An input that was set aside and has now been taken.
DELETE FROM parked_input p
USING unnest($1::integer[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[])
    AS i (shard_key, contract_product_ref, period_ref, trigger, cut_number)
WHERE p.shard_key = i.shard_key AND p.contract_product_ref = i.contract_product_ref
  AND p.period_ref = i.period_ref AND p.trigger = i.trigger AND p.cut_number = i.cut_number;

-- name: load_standing
-- The documents that exist already, with the last cut of each of their periods.
SELECT d.document_ref, d.state, p.period_ref, max(p.cut_number) AS cut_number
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document d ON d.shard_key = k.shard_key AND d.document_ref = k.document_ref
LEFT JOIN document_product p ON p.shard_key = d.shard_key AND p.document_ref = d.document_ref
    AND p.root_document_ref IS NULL
GROUP BY d.document_ref, d.state, p.period_ref;

-- name: load_terms
-- Every product of the contracts, with the terms that it is sold under; what is being back-filled
-- prices nothing yet.
SELECT cp.contract_product_ref, cp.contract_ref, cp.position, cp.document_group,
    p.name AS product_name, cp.currency, cp.net_terms, cp.tax, cp.discount,
    coalesce(cp.minimum_fee, pr.minimum_fee) AS minimum_fee, cp.commitments, cp.credits,
    cp.billing_start_date, cp.billing_end_date, cp.cycle_unit, cp.cycle_length, cp.issue_day,
    cp.payment_time, cp.timezone, cp.since_date, cp.until_date, cp.ahead_since, cp.lineage_ref
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, contract_ref)
JOIN contract_product cp ON cp.shard_key = k.shard_key AND cp.contract_ref = k.contract_ref
JOIN pricing pr ON pr.tenant_id = cp.tenant_id AND pr.pricing_id = cp.pricing_id
JOIN product p ON p.tenant_id = cp.tenant_id AND p.product_id = pr.product_id
WHERE NOT cp.is_pending
ORDER BY cp.contract_ref, cp.position, cp.version;

-- name: load_cuts
-- The last cut of every period that is in, for each document.
SELECT DISTINCT ON (i.document_ref, i.contract_product_ref, i.period_ref)
    i.shard_key, i.document_ref, i.contract_product_ref, i.period_ref, i.cut_number,
    p.period_index, p.start_at, p.start_date, p.end_date, p.full_start_date, p.full_end_date,
    p.issue_date, coalesce(p.rest_date, p.issue_date) AS rest_date
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document_input i ON i.shard_key = k.shard_key AND i.document_ref = k.document_ref
JOIN billing_period p ON p.shard_key = i.shard_key AND p.period_ref = i.period_ref
WHERE i.trigger = 'PERIOD_CUT'
ORDER BY i.document_ref, i.contract_product_ref, i.period_ref, i.cut_number DESC;

-- name: load_ahead_cuts
-- The periods of which each document bills a part before they are over.
SELECT i.shard_key, i.document_ref, i.contract_product_ref, i.period_ref, i.cut_number,
    p.period_index, p.start_at, p.start_date, p.end_date, p.full_start_date, p.full_end_date,
    p.issue_date, coalesce(p.rest_date, p.issue_date) AS rest_date
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document_input i ON i.shard_key = k.shard_key AND i.document_ref = k.document_ref
JOIN billing_period p ON p.shard_key = i.shard_key AND p.period_ref = i.period_ref
WHERE i.trigger IN ('PERIOD_OPENED', 'ISSUE_DUE');

-- name: find_tenant_ref
SELECT tenant_ref FROM tenant WHERE tenant_id = $1;

-- name: find_opened
-- What was to be billed ahead of periods, with the document that it was for and that document's
-- state; null: it came to nothing. And what was billed ahead of what these have taken the place of,
-- as the first periods of a later version of their contract: by successor_ref.
WITH RECURSIVE wanted AS (
    SELECT p.* FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, period_ref)
    JOIN billing_period p ON p.shard_key = k.shard_key AND p.period_ref = k.period_ref
), former AS (
    -- A version that was itself replaced before it billed anything has given nothing back.
    SELECT w.period_ref AS settled_ref, s.shard_key, s.contract_product_ref, s.from_date,
        s.successor_ref
    FROM wanted w
    JOIN contract_succession s ON s.shard_key = w.shard_key
        AND s.successor_ref = w.contract_product_ref AND s.from_date = w.start_date
    UNION
    SELECT f.settled_ref, s.shard_key, s.contract_product_ref, s.from_date, f.successor_ref
    FROM former f
    JOIN contract_succession s ON s.shard_key = f.shard_key
        AND s.successor_ref = f.contract_product_ref AND s.from_date = f.from_date
)
SELECT i.shard_key, i.document_ref, i.period_ref, cp.contract_ref, cp.document_group,
    own.issue_date, own.successor_ref, own.settled_ref, d.state,
    EXISTS (
        SELECT FROM document_product q
        WHERE q.shard_key = i.shard_key AND q.document_ref = i.document_ref
          AND q.period_ref = i.period_ref AND q.root_document_ref IS NOT NULL) AS is_billed
FROM (
    SELECT w.shard_key, w.contract_product_ref, w.period_ref, w.issue_date,
        NULL::uuid AS successor_ref, w.period_ref AS settled_ref
    FROM wanted w
    UNION ALL
    SELECT b.shard_key, b.contract_product_ref, b.period_ref, b.issue_date, f.successor_ref,
        f.settled_ref
    FROM former f
    JOIN billing_period b ON b.shard_key = f.shard_key
        AND b.contract_product_ref = f.contract_product_ref AND b.start_date >= f.from_date
) own
JOIN document_input i ON i.shard_key = own.shard_key
    AND i.contract_product_ref = own.contract_product_ref AND i.period_ref = own.period_ref
    AND i.trigger IN ('PERIOD_OPENED', 'ISSUE_DUE')
JOIN contract_product cp ON cp.shard_key = own.shard_key
    AND cp.contract_product_ref = own.contract_product_ref
LEFT JOIN document d ON d.shard_key = i.shard_key AND d.document_ref = i.document_ref
ORDER BY cp.position, own.settled_ref, i.period_ref;

-- name: find_sequential
SELECT DISTINCT cp.contract_ref
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, contract_ref)
JOIN contract_product cp ON cp.shard_key = k.shard_key AND cp.contract_ref = k.contract_ref
WHERE cp.payment_time <> 'AFTER_USE';

-- name: find_settling
SELECT DISTINCT d.shard_key, d.document_ref, d.contract_ref, d.document_group, d.issue_date
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document_adjustment a ON a.shard_key = k.shard_key AND a.document_ref = k.document_ref
JOIN document d ON d.shard_key = a.shard_key AND d.document_ref = a.root_document_ref
WHERE a.is_ahead AND d.state = 'DRAFT';

-- name: drop_documents
WITH gone AS (
    DELETE FROM document_review r USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
    WHERE r.shard_key = k.shard_key AND r.document_ref = k.document_ref
)
DELETE FROM document d USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE d.shard_key = k.shard_key AND d.document_ref = k.document_ref AND d.state = 'DRAFT';

-- name: find_overdue
-- Drafts of contracts that bill ahead which were drawn up before their day, and it has come; and
-- those that are still there a day later. What a person has sent back waits for a person.
SELECT d.tenant_id, d.entity_id, e.document_number_format, d.shard_key, d.document_ref,
    d.contract_ref, d.document_group, d.issue_date
FROM document d
JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
CROSS JOIN LATERAL (
    SELECT min(cp.timezone) AS timezone FROM contract_product cp
    WHERE cp.shard_key = d.shard_key AND cp.contract_ref = d.contract_ref
      AND cp.document_group = d.document_group AND cp.payment_time <> 'AFTER_USE'
) own
CROSS JOIN LATERAL (
    SELECT max(i.received_at) AS received_at FROM document_input i
    WHERE i.shard_key = d.shard_key AND i.document_ref = d.document_ref
) last
WHERE d.state = 'DRAFT' AND d.kind = 'PERIOD' AND own.timezone IS NOT NULL
  AND d.issue_date <= ($1::timestamptz AT TIME ZONE own.timezone)::date
  AND (last.received_at < d.issue_date::timestamp AT TIME ZONE own.timezone
       OR d.issue_date < ($1::timestamptz AT TIME ZONE own.timezone)::date - 1)
  AND NOT EXISTS (
    SELECT FROM document_review r
    WHERE r.shard_key = d.shard_key AND r.document_ref = d.document_ref
      AND r.rejected_at IS NOT NULL)
ORDER BY d.issue_date LIMIT $2;

-- name: load_cut_lines
-- What each line came to at its cut. Never from charge: that goes on.
SELECT c.period_ref, c.contract_line_ref, c.pricing_line_id, c.charge_ref, c.quantity,
    c.event_count, c.amount, c.cell, c.exact_quantity, c.events_digest, l.line_item_ref, l.item,
    l.price
FROM unnest($1::integer[], $2::uuid[], $3::integer[]) AS k (shard_key, period_ref, cut_number)
JOIN charge_cut c ON c.shard_key = k.shard_key AND c.period_ref = k.period_ref
    AND c.cut_number = k.cut_number
JOIN contract_line cl ON cl.shard_key = c.shard_key
    AND cl.contract_line_ref = c.contract_line_ref
JOIN pricing_line l ON l.tenant_id = c.tenant_id AND l.pricing_line_id = c.pricing_line_id
ORDER BY c.period_ref, cl.position, c.cell;

-- name: load_parties
-- Who bills whom and how it is paid, as it is now. The terms of the product go before the
-- customer's own; images and settings are no part of a document.
SELECT cp.contract_product_ref, c.customer_id, jsonb_strip_nulls(jsonb_build_object(
    'customer', (cu.details - '{icon_data,settings,billing_bank_transfer_details,
            billing_online_payment_details,billing_crypto_details}'::text[])
        || jsonb_build_object('customer_ref', cu.customer_ref, 'name', cu.name,
            'legal_name', cu.legal_name, 'email', cu.email, 'external_id', cu.external_id),
    'entity', (e.details - '{icon_data,logo,settings}'::text[])
        || jsonb_build_object('entity_ref', e.entity_ref, 'name', e.name,
            'legal_name', e.legal_name, 'email', e.email,
            'registration_number', e.registration_number),
    'contract', jsonb_build_object('contract_ref', c.contract_ref,
        'contract_number', c.contract_number, 'po_number', c.po_number),
    'note', cp.note,
    'billing_bank_transfer_details', coalesce(cp.details -> 'billing_bank_transfer_details',
        cu.details -> 'billing_bank_transfer_details'),
    'billing_online_payment_details', coalesce(cp.details -> 'billing_online_payment_details',
        cu.details -> 'billing_online_payment_details'),
    'billing_crypto_details', coalesce(cp.details -> 'billing_crypto_details',
        cu.details -> 'billing_crypto_details')
)) AS parties
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, contract_product_ref)
JOIN contract_product cp ON cp.shard_key = k.shard_key
    AND cp.contract_product_ref = k.contract_product_ref
JOIN contract c ON c.shard_key = cp.shard_key AND c.contract_ref = cp.contract_ref
JOIN customer cu ON cu.shard_key = c.shard_key AND cu.customer_id = c.customer_id
JOIN entity e ON e.tenant_id = cp.tenant_id AND e.entity_id = cp.entity_id;

-- name: add_drafts
-- Documents as drafts; one that is a draft already is drawn anew.
INSERT INTO document (
    tenant_id, entity_id, state, shard_key, document_ref, customer_id,
    contract_ref, document_group, accounting_event_type, currency, net_terms, issue_date,
    period_start, period_end, is_partial_period, sub_total, total_discount, total_tax,
    credits_amount, total, parties, kind, parent_document_ref, event_ref, event_due_id)
SELECT $1, $2, 'DRAFT', d.*
FROM unnest($3::integer[], $4::uuid[], $5::integer[], $6::uuid[], $7::smallint[], $8::text[],
    $9::text[], $10::text[], $11::date[], $12::date[], $13::date[], $14::boolean[],
    $15::numeric[], $16::numeric[], $17::numeric[], $18::numeric[], $19::numeric[],
    $20::jsonb[], $21::text[], $22::uuid[], $23::uuid[], $24::bigint[]) AS d
ON CONFLICT (shard_key, document_ref) DO UPDATE SET
    (accounting_event_type, currency, net_terms, period_start, period_end, is_partial_period,
     sub_total, total_discount, total_tax, credits_amount, total, parties)
    = (excluded.accounting_event_type, excluded.currency, excluded.net_terms,
       excluded.period_start, excluded.period_end, excluded.is_partial_period,
       excluded.sub_total, excluded.total_discount, excluded.total_tax,
       excluded.credits_amount, excluded.total, excluded.parties);

-- name: load_spent
-- What lineages of products have come to so far, period by period, with what was issued as
-- differences.
SELECT k.lineage_ref, p.period_ref, sum(p.total) AS total
FROM unnest($1::integer[], $2::uuid[], $3::uuid[]) AS k (shard_key, contract_ref, lineage_ref)
JOIN contract_product cp ON cp.shard_key = k.shard_key AND cp.contract_ref = k.contract_ref
    AND cp.lineage_ref = k.lineage_ref
JOIN document_product p ON p.shard_key = cp.shard_key
    AND p.contract_product_ref = cp.contract_product_ref
JOIN document d ON d.shard_key = p.shard_key AND d.document_ref = p.document_ref
WHERE p.root_document_ref IS NULL OR d.number IS NOT NULL OR EXISTS (
    SELECT FROM document_adjustment a
    WHERE a.shard_key = p.shard_key AND a.document_ref = p.document_ref
      AND a.root_document_ref = p.root_document_ref AND a.is_ahead)
GROUP BY k.lineage_ref, p.period_ref
HAVING bool_or(p.root_document_ref IS NULL);

-- name: load_draws
-- What was drawn from the credits of lineages of products, less what was given back.
SELECT k.lineage_ref, b.start_date, w.place, sum(w.amount) AS amount
FROM unnest($1::integer[], $2::uuid[], $3::uuid[]) AS k (shard_key, contract_ref, lineage_ref)
JOIN contract_product cp ON cp.shard_key = k.shard_key AND cp.contract_ref = k.contract_ref
    AND cp.lineage_ref = k.lineage_ref
JOIN credit_draw w ON w.shard_key = cp.shard_key
    AND w.contract_product_ref = cp.contract_product_ref
JOIN billing_period b ON b.shard_key = w.shard_key
    AND b.contract_product_ref = w.contract_product_ref AND b.period_index = w.period_index
GROUP BY k.lineage_ref, b.start_date, w.place
HAVING sum(w.amount) <> 0;

-- name: find_looking_back
-- The issued documents that a commitment over the contract is on, which these products add to.
SELECT DISTINCT d.shard_key, d.document_ref, d.contract_ref, d.document_group, d.issue_date
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, contract_product_ref)
JOIN contract_product one ON one.shard_key = k.shard_key
    AND one.contract_product_ref = k.contract_product_ref
JOIN contract_product kin ON kin.shard_key = one.shard_key
    AND kin.contract_ref = one.contract_ref AND kin.lineage_ref = one.lineage_ref
JOIN document_product p ON p.shard_key = kin.shard_key
    AND p.contract_product_ref = kin.contract_product_ref
JOIN document d ON d.shard_key = p.shard_key AND d.document_ref = p.document_ref
WHERE p.root_document_ref IS NULL AND d.number IS NOT NULL
  AND p.true_ups @> '[{"over": "CONTRACT"}]';

-- name: drop_draws
DELETE FROM credit_draw w
USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE w.shard_key = k.shard_key AND w.document_ref = k.document_ref;

-- name: drop_adjustments
DELETE FROM document_adjustment a
USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE a.shard_key = k.shard_key AND a.document_ref = k.document_ref;

-- name: drop_lines
DELETE FROM document_line l
USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE l.shard_key = k.shard_key AND l.document_ref = k.document_ref;

-- name: drop_products
DELETE FROM document_product p
USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE p.shard_key = k.shard_key AND p.document_ref = k.document_ref;

-- name: load_billed
-- What was issued for documents: each, once it is issued, with what corrects it or has billed ahead
-- of it (drafts, too: what they bill ahead stays), added up. What it takes along for others is not its own, and events that its last cut does
-- not hold are the next one's.
SELECT k.document_ref AS root, coalesce(d.currency, later.currency) AS currency,
    coalesce(d.total_tax, 0) - coalesce(along.total_tax, 0) + coalesce(later.total_tax, 0)
    AS total_tax, (
        SELECT count(*) FROM document a
        WHERE a.shard_key = k.shard_key AND a.parent_document_ref = k.document_ref
          AND a.kind = 'ADJUSTMENT') AS adjustments
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
CROSS JOIN LATERAL (
    SELECT max(c.cut_offset) AS cut_offset
    FROM document_input i
    JOIN period_cut c ON c.shard_key = i.shard_key AND c.period_ref = i.period_ref
        AND c.cut_number = i.cut_number
    WHERE i.shard_key = k.shard_key AND i.document_ref = k.document_ref
      AND i.trigger = 'PERIOD_CUT'
) last
LEFT JOIN document d ON d.shard_key = k.shard_key AND d.document_ref = k.document_ref
    AND d.number IS NOT NULL
LEFT JOIN LATERAL (
    SELECT sum(a.total_tax) AS total_tax FROM document_adjustment a
    WHERE a.shard_key = d.shard_key AND a.document_ref = d.document_ref
) along ON true
LEFT JOIN LATERAL (
    SELECT sum(a.total_tax) AS total_tax, min(h.currency) AS currency
    FROM document_adjustment a
    JOIN document h ON h.shard_key = a.shard_key AND h.document_ref = a.document_ref
    LEFT JOIN event_due e ON e.shard_key = h.shard_key AND e.contract_ref = h.contract_ref
        AND e.due_id = h.event_due_id
    WHERE a.shard_key = k.shard_key AND a.root_document_ref = k.document_ref
      AND (h.number IS NOT NULL OR a.is_ahead)
      AND (e.due_id IS NULL OR e.rated_below <= last.cut_offset)
) later ON true
WHERE coalesce(d.currency, later.currency) IS NOT NULL;

-- name: load_billed_products
SELECT k.document_ref AS root, p.contract_product_ref, p.period_ref,
    sum(p.minimum_fee) AS minimum_fee, sum(p.sub_total) AS sub_total, sum(p.total) AS total,
    sum(p.discount) AS discount, min(p.discount_rate) AS discount_rate,
    min(p.tax_rate) AS tax_rate, array_agg(p.true_ups::text) AS true_ups
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
CROSS JOIN LATERAL (
    SELECT max(c.cut_offset) AS cut_offset
    FROM document_input i
    JOIN period_cut c ON c.shard_key = i.shard_key AND c.period_ref = i.period_ref
        AND c.cut_number = i.cut_number
    WHERE i.shard_key = k.shard_key AND i.document_ref = k.document_ref
      AND i.trigger = 'PERIOD_CUT'
) last
CROSS JOIN LATERAL (
    SELECT own.* FROM document_product own
    JOIN document h ON h.shard_key = own.shard_key AND h.document_ref = own.document_ref
    WHERE own.shard_key = k.shard_key AND own.document_ref = k.document_ref
      AND own.root_document_ref IS NULL AND h.number IS NOT NULL
    UNION ALL
    SELECT own.* FROM document_product own
    JOIN document h ON h.shard_key = own.shard_key AND h.document_ref = own.document_ref
    LEFT JOIN event_due e ON e.shard_key = h.shard_key AND e.contract_ref = h.contract_ref
        AND e.due_id = h.event_due_id
    WHERE own.shard_key = k.shard_key AND own.root_document_ref = k.document_ref
      AND (h.number IS NOT NULL OR EXISTS (
        SELECT FROM document_adjustment a
        WHERE a.shard_key = own.shard_key AND a.document_ref = own.document_ref
          AND a.root_document_ref = own.root_document_ref AND a.is_ahead))
      AND (e.due_id IS NULL OR e.rated_below <= last.cut_offset)
) p
GROUP BY k.document_ref, p.contract_product_ref, p.period_ref;

-- name: load_billed_lines
-- Quantities as texts: some are fractions that no decimal number holds.
SELECT k.document_ref AS root, p.contract_product_ref, p.period_ref, l.contract_line_ref,
    l.cell, array_agg(coalesce(l.exact_quantity, l.quantity::text)) AS quantities,
    sum(l.amount) AS amount, sum(l.event_count) AS event_count, sum(coalesce(l.fees, 0)) AS fees
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
CROSS JOIN LATERAL (
    SELECT max(c.cut_offset) AS cut_offset
    FROM document_input i
    JOIN period_cut c ON c.shard_key = i.shard_key AND c.period_ref = i.period_ref
        AND c.cut_number = i.cut_number
    WHERE i.shard_key = k.shard_key AND i.document_ref = k.document_ref
      AND i.trigger = 'PERIOD_CUT'
) last
CROSS JOIN LATERAL (
    SELECT own.* FROM document_product own
    JOIN document h ON h.shard_key = own.shard_key AND h.document_ref = own.document_ref
    WHERE own.shard_key = k.shard_key AND own.document_ref = k.document_ref
      AND own.root_document_ref IS NULL AND h.number IS NOT NULL
    UNION ALL
    SELECT own.* FROM document_product own
    JOIN document h ON h.shard_key = own.shard_key AND h.document_ref = own.document_ref
    LEFT JOIN event_due e ON e.shard_key = h.shard_key AND e.contract_ref = h.contract_ref
        AND e.due_id = h.event_due_id
    WHERE own.shard_key = k.shard_key AND own.root_document_ref = k.document_ref
      AND (h.number IS NOT NULL OR EXISTS (
        SELECT FROM document_adjustment a
        WHERE a.shard_key = own.shard_key AND a.document_ref = own.document_ref
          AND a.root_document_ref = own.root_document_ref AND a.is_ahead))
      AND (e.due_id IS NULL OR e.rated_below <= last.cut_offset)
) p
JOIN document_line l ON l.shard_key = k.shard_key AND l.document_ref = p.document_ref
    AND l.product_position = p.position
GROUP BY k.document_ref, p.contract_product_ref, p.period_ref, l.contract_line_ref, l.cell;

-- name: find_late_usage
SELECT late_usage FROM tenant_setting WHERE tenant_id = $1;

-- name: find_waiting
SELECT w.document_ref FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN waiting_adjustment w ON w.shard_key = k.shard_key AND w.document_ref = k.document_ref;

-- name: load_issue_dates
-- The days of the issued documents of these documents' contracts and groups.
SELECT DISTINCT d.contract_ref, d.document_group, d.issue_date
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document own ON own.shard_key = k.shard_key AND own.document_ref = k.document_ref
JOIN document d ON d.shard_key = own.shard_key AND d.contract_ref = own.contract_ref
    AND d.document_group = own.document_group
WHERE d.kind = 'PERIOD' AND d.number_in_contract IS NOT NULL
UNION
-- Those on which there was nothing to bill have none.
SELECT cp.contract_ref, cp.document_group, coalesce(p.rest_date, p.issue_date)
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document own ON own.shard_key = k.shard_key AND own.document_ref = k.document_ref
JOIN contract_product cp ON cp.shard_key = own.shard_key AND cp.contract_ref = own.contract_ref
    AND cp.document_group = own.document_group AND cp.payment_time <> 'AFTER_USE'
JOIN billing_period p ON p.shard_key = cp.shard_key
    AND p.contract_product_ref = cp.contract_product_ref AND p.last_cut_number > 0
JOIN document_input i ON i.shard_key = p.shard_key AND i.period_ref = p.period_ref
    AND i.trigger = 'PERIOD_CUT'
WHERE NOT EXISTS (
    SELECT FROM document d WHERE d.shard_key = i.shard_key AND d.document_ref = i.document_ref);

-- name: add_waiting
INSERT INTO waiting_adjustment (tenant_id, shard_key, document_ref, contract_ref, document_group)
SELECT $1, k.* FROM unnest($2::integer[], $3::uuid[], $4::uuid[], $5::smallint[]) AS k
ON CONFLICT DO NOTHING;

-- name: find_drafts
-- Periods' documents of contracts and groups that are not issued yet.
SELECT d.shard_key, d.document_ref, d.contract_ref, d.document_group, d.issue_date
FROM unnest($1::integer[], $2::uuid[], $3::smallint[]) AS k (shard_key, contract_ref, document_group)
JOIN document d ON d.shard_key = k.shard_key AND d.contract_ref = k.contract_ref
    AND d.document_group = k.document_group
WHERE d.kind = 'PERIOD' AND d.number_in_contract IS NULL;

-- name: load_waiting
-- What waits for the next documents of contracts and groups.
SELECT w.shard_key, w.document_ref, w.contract_ref, w.document_group, d.issue_date, w.carrier_ref
FROM unnest($1::integer[], $2::uuid[], $3::smallint[]) AS k (shard_key, contract_ref, document_group)
JOIN waiting_adjustment w ON w.shard_key = k.shard_key AND w.contract_ref = k.contract_ref
    AND w.document_group = k.document_group
JOIN document d ON d.shard_key = w.shard_key AND d.document_ref = w.document_ref;

-- name: set_carriers
UPDATE waiting_adjustment w SET carrier_ref = k.carrier_ref
FROM unnest($1::integer[], $2::uuid[], $3::uuid[]) AS k (shard_key, document_ref, carrier_ref)
WHERE w.shard_key = k.shard_key AND w.document_ref = k.document_ref;

-- name: drop_waiting
-- What was on documents that are issued now.
DELETE FROM waiting_adjustment w
USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE w.shard_key = k.shard_key AND w.carrier_ref = k.document_ref;

-- name: drop_stranded
DELETE FROM waiting_adjustment w
USING unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE w.shard_key = k.shard_key AND w.document_ref = k.document_ref AND w.carrier_ref IS NULL
RETURNING w.document_ref;

-- name: list_waiting
-- A page of what waits and is on no draft, with whose documents these are.
SELECT w.shard_key, w.document_ref, w.contract_ref, w.document_group, d.issue_date, w.tenant_id,
    d.entity_id, e.document_number_format
FROM waiting_adjustment w
JOIN document d ON d.shard_key = w.shard_key AND d.document_ref = w.document_ref
JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
WHERE w.carrier_ref IS NULL AND w.since < $1 AND (w.shard_key, w.document_ref) > ($2, $3)
ORDER BY w.shard_key, w.document_ref
LIMIT $4;

-- name: load_contract_totals
-- Where each contract stands: its last number, and the money of its documents by currency, less
-- what was voided since that one was issued.
SELECT DISTINCT ON (d.contract_ref, d.currency)
    d.contract_ref, d.currency, d.number_in_contract,
    d.total_in_contract - coalesce((
        SELECT sum(v.total) FROM document_void v
        WHERE v.shard_key = d.shard_key AND v.contract_ref = d.contract_ref
          AND v.currency = d.currency AND v.after_number = d.number_in_contract
    ), 0) AS total_in_contract
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, contract_ref)
JOIN document d ON d.shard_key = k.shard_key AND d.contract_ref = k.contract_ref
WHERE d.number_in_contract IS NOT NULL
ORDER BY d.contract_ref, d.currency, d.number_in_contract DESC;

-- name: take_numbers
-- The row stays locked until this transaction ends, so a number is never lost and never repeated.
INSERT INTO document_sequence (tenant_id, entity_id, series, next_number)
VALUES ($1, $2, $3, 1 + $4::bigint)
ON CONFLICT (tenant_id, entity_id, series)
DO UPDATE SET next_number = document_sequence.next_number + $4::bigint
RETURNING next_number - $4::bigint;

-- name: issue_documents
UPDATE document d SET state = 'ISSUED', series = $1, issued_at = $2, number = n.number,
    document_number = n.document_number, number_in_contract = n.number_in_contract,
    total_in_contract = n.total_in_contract, due_date = n.due_date
FROM unnest($3::integer[], $4::uuid[], $5::bigint[], $6::text[], $7::integer[], $8::numeric[],
    $9::date[]) AS n (shard_key, document_ref, number, document_number, number_in_contract,
    total_in_contract, due_date)
WHERE d.shard_key = n.shard_key AND d.document_ref = n.document_ref
RETURNING d.shard_key, d.document_ref, d.tenant_id, d.entity_id, d.kind, d.event_ref, d.currency,
    d.net_terms, d.issue_date, d.period_end, d.sub_total, d.total_discount, d.total_tax,
    d.credits_amount, d.total < 0 AND d.kind IN ('ADJUSTMENT', 'CREDIT') AND EXISTS (
        SELECT FROM document r
        WHERE r.shard_key = d.shard_key AND r.document_ref = d.parent_document_ref
          AND r.number IS NOT NULL) AS is_credit;

-- name: queue_renders
INSERT INTO invoicer_outbox (shard_key, tenant_id, document_ref, kind)
SELECT k.shard_key, $1, k.document_ref, 'RENDER'
FROM unnest($2::integer[], $3::uuid[]) AS k (shard_key, document_ref);

-- name: park_input
INSERT INTO parked_input
    (shard_key, contract_product_ref, period_ref, trigger, cut_number, error)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (shard_key, contract_product_ref, period_ref, trigger, cut_number)
DO UPDATE SET error = excluded.error, parked_at = now();

-- name: find_lost_cuts
-- Cuts that no document took up, oldest first: their message was lost, or is still on its way.
SELECT p.contract_product_ref, c.period_ref, c.cut_number, own.trigger, c.cut_at
FROM period_cut c
JOIN billing_period p ON p.shard_key = c.shard_key AND p.period_ref = c.period_ref
CROSS JOIN LATERAL (
    SELECT CASE WHEN c.cut_number > 0 THEN 'PERIOD_CUT' WHEN c.until_at IS NULL
        THEN 'PERIOD_OPENED' ELSE 'ISSUE_DUE' END AS trigger
) own
WHERE c.cut_at >= $1 AND c.cut_at < $2
  AND NOT EXISTS (
      SELECT FROM document_input i
      WHERE i.shard_key = c.shard_key AND i.contract_product_ref = p.contract_product_ref
        AND i.period_ref = c.period_ref AND i.trigger = own.trigger
        AND i.cut_number = c.cut_number)
  AND NOT EXISTS (
      SELECT FROM parked_input i
      WHERE i.shard_key = c.shard_key AND i.contract_product_ref = p.contract_product_ref
        AND i.period_ref = c.period_ref AND i.trigger = own.trigger
        AND i.cut_number = c.cut_number)
ORDER BY c.cut_at
LIMIT $3;

-- name: count_parked
SELECT count(*) FROM parked_input;

-- name: count_under_review
-- What waits for people, and for how long the oldest of it has.
SELECT count(*) AS documents,
    coalesce(extract(epoch FROM now() - min(r.held_at)), 0)::float8 AS age
FROM document d
JOIN document_review r ON r.shard_key = d.shard_key AND r.document_ref = d.document_ref
WHERE d.state = 'UNDER_REVIEW';

-- name: claim_outbox
-- Work that is due; another process passes over what this one holds.
SELECT shard_key, outbox_id, document_ref, attempts, copy
FROM invoicer_outbox
WHERE kind = $2 AND due_at <= now()
ORDER BY due_at, outbox_id
LIMIT $1
FOR UPDATE SKIP LOCKED;

-- name: submit_documents
-- Documents go on their way to the customer: payment is due from the entity's local day on which
-- they first do, but for one that is due on the day of its event.
UPDATE document d SET submission_date = now(), due_date = CASE
        WHEN d.net_terms = 'DUE_UPON_USAGE' THEN d.due_date
        ELSE (now() AT TIME ZONE e.timezone)::date
            + CASE WHEN d.net_terms ~ '^[0-9]+$' THEN d.net_terms::integer ELSE 0 END
    END
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref), entity e
WHERE d.shard_key = k.shard_key AND d.document_ref = k.document_ref
  AND e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id AND d.submission_date IS NULL;

-- name: add_mail
-- A document is mailed once its files are there, whatever has come for it meanwhile; one that had
-- files before is drawn again, and not mailed again.
INSERT INTO invoicer_outbox (shard_key, tenant_id, document_ref, kind)
SELECT d.shard_key, d.tenant_id, d.document_ref, 'MAIL'
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document d USING (shard_key, document_ref)
WHERE d.state <> 'VOID' AND NOT EXISTS (
    SELECT FROM document_file f
    WHERE f.shard_key = d.shard_key AND f.document_ref = d.document_ref);

-- name: find_file
SELECT content FROM document_file WHERE shard_key = $1 AND document_ref = $2 AND kind = $3;

-- name: mark_sent
UPDATE document SET state = 'SENT'
WHERE shard_key = $1 AND document_ref = $2 AND state = 'ISSUED';

-- name: load_issued
SELECT document_ref, accounting_event_type, document_number, number_in_contract,
    document.currency, document.net_terms, issue_date, due_date, period_start, period_end, sub_total,
    total_discount, total_tax, credits_amount, total, parties,
    coalesce(entity.details ->> 'logo', '') AS logo, (
        SELECT string_agg(other.document_number, ', ') FROM document other
        WHERE other.shard_key = document.shard_key AND document.kind IN ('ADJUSTMENT', 'CREDIT')
          AND CASE WHEN document.event_ref IS NULL OR document.kind = 'CREDIT'
              THEN other.document_ref = document.parent_document_ref
              ELSE other.event_ref = document.event_ref AND other.kind = 'EVENT'
              AND other.contract_ref = document.contract_ref
              AND other.document_group = document.document_group END) AS corrects,
    document.kind = 'PERIOD' AND EXISTS (
        SELECT FROM document_adjustment a
        JOIN document child ON child.shard_key = a.shard_key AND child.document_ref = a.document_ref
        WHERE a.shard_key = document.shard_key AND a.root_document_ref = document.document_ref
          AND (child.event_ref IS NOT NULL
               AND child.number_in_contract < document.number_in_contract
               OR a.is_ahead)
        UNION ALL
        SELECT FROM document_adjustment back
        WHERE back.shard_key = document.shard_key AND back.document_ref = document.document_ref
          AND back.is_ahead AND back.sub_total < 0) AS is_rest,
    kind = 'EVENT' AS bills_event
FROM document
JOIN unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
    USING (shard_key, document_ref)
JOIN entity ON entity.tenant_id = document.tenant_id AND entity.entity_id = document.entity_id
WHERE number IS NOT NULL;

-- name: load_issued_products
SELECT p.document_ref, p.position, p.product_name, p.minimum_fee, p.sub_total, p.total, p.true_ups,
    p.discount, p.discount_rate, p.tax_rate, b.start_date, b.end_date, b.full_start_date,
    b.full_end_date, CASE WHEN a.is_ahead THEN NULL ELSE r.document_number END AS corrects,
    p.root_document_ref IS NOT NULL AND (NOT coalesce(a.is_ahead, false) OR p.total < 0)
    AS is_difference, coalesce(a.is_ahead, false) AS is_ahead
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document_product p ON p.shard_key = k.shard_key AND p.document_ref = k.document_ref
JOIN billing_period b ON b.shard_key = p.shard_key AND b.period_ref = p.period_ref
LEFT JOIN document r ON r.shard_key = p.shard_key AND r.document_ref = p.root_document_ref
LEFT JOIN document_adjustment a ON a.shard_key = p.shard_key AND a.document_ref = p.document_ref
    AND a.root_document_ref = p.root_document_ref
ORDER BY p.document_ref, p.position;

-- name: load_issued_adjustments
-- What documents correct of earlier ones along with what they bill.
SELECT d.document_ref, coalesce(r.document_number, '') AS corrects, d.total_tax, r.issue_date,
    r.document_ref AS root
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document d ON d.shard_key = k.shard_key AND d.document_ref = k.document_ref
    AND d.kind = 'CREDIT'
JOIN document r ON r.shard_key = d.shard_key AND r.document_ref = d.parent_document_ref
UNION ALL
SELECT a.document_ref, coalesce(r.document_number, '') AS corrects, a.total_tax, r.issue_date,
    r.document_ref
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document_adjustment a ON a.shard_key = k.shard_key AND a.document_ref = k.document_ref
JOIN document d ON d.shard_key = k.shard_key AND d.document_ref = k.document_ref
    AND d.kind <> 'EVENT'
    AND NOT a.is_ahead
LEFT JOIN document r ON r.shard_key = a.shard_key AND r.document_ref = a.root_document_ref
ORDER BY document_ref, issue_date, root;

-- name: load_issued_lines
SELECT l.document_ref, l.product_position, l.item, l.quantity, l.event_count, l.amount,
    l.exact_quantity, l.cell, l.fees, l.tiers, r.price
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document_line l ON l.shard_key = k.shard_key AND l.document_ref = k.document_ref
JOIN pricing_line r ON r.tenant_id = l.tenant_id AND r.pricing_line_id = l.pricing_line_id
ORDER BY l.document_ref, l.product_position, l.position;

-- name: add_files
-- A document that was rendered before keeps its files.
INSERT INTO document_file (shard_key, document_ref, kind, tenant_id, content, sha256)
SELECT f.shard_key, f.document_ref, f.kind, d.tenant_id, f.content, sha256(f.content)
FROM unnest($1::integer[], $2::uuid[], $3::text[], $4::bytea[])
    AS f (shard_key, document_ref, kind, content)
JOIN document d ON d.shard_key = f.shard_key AND d.document_ref = f.document_ref
ON CONFLICT DO NOTHING;

-- name: finish_outbox
DELETE FROM invoicer_outbox o
USING unnest($1::integer[], $2::bigint[]) AS k (shard_key, outbox_id)
WHERE o.shard_key = k.shard_key AND o.outbox_id = k.outbox_id;

-- name: postpone_outbox
UPDATE invoicer_outbox SET attempts = attempts + 1, last_error = $3,
    due_at = coalesce(now() + $4::interval, 'infinity')
WHERE shard_key = $1 AND outbox_id = $2;

-- name: outbox_age_seconds
SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::double precision
FROM invoicer_outbox WHERE kind = 'RENDER';

-- name: count_refused_mails
SELECT count(*) FROM invoicer_outbox WHERE kind IN ('MAIL', 'REMINDER') AND due_at = 'infinity';

-- name: find_event_issuer
-- Whose contract it is that bills events, and how far these have their documents.
SELECT k.tenant_id, t.tenant_ref, p.entity_id, e.document_number_format, k.customer_id,
    coalesce(b.billed_through, -1) AS billed_through
FROM contract k
JOIN tenant t ON t.tenant_id = k.tenant_id
JOIN contract_product p ON p.shard_key = k.shard_key AND p.contract_ref = k.contract_ref
JOIN entity e ON e.tenant_id = p.tenant_id AND e.entity_id = p.entity_id
LEFT JOIN event_billing b ON b.shard_key = k.shard_key AND b.contract_ref = k.contract_ref
WHERE k.shard_key = $1 AND k.contract_ref = $2
ORDER BY p.position LIMIT 1;

-- name: load_due
-- The next changes of events of a contract, in the order of rating: the event as it counts from then
-- on, and as it had counted for the contract before.
SELECT d.due_id, d.event_ref, d.place, d.rated_below, e.meter_id, before.place AS place_before,
    coalesce(v.kind, 'FIRST') AS kind, coalesce(v.occurred_at, e.occurred_at) AS occurred_at,
    coalesce(v.quantity, e.quantity) AS quantity,
    CASE WHEN v.kind IS NULL THEN e.additional_data ELSE v.additional_data END AS additional_data,
    coalesce(o.kind, 'FIRST') AS kind_before,
    coalesce(o.occurred_at, e.occurred_at) AS occurred_at_before,
    coalesce(o.quantity, e.quantity) AS quantity_before,
    CASE WHEN o.kind IS NULL THEN e.additional_data ELSE o.additional_data END
    AS additional_data_before
FROM (
    SELECT * FROM event_due
    WHERE shard_key = $1 AND contract_ref = $2 AND due_id > $3
    ORDER BY due_id LIMIT $4
) d
JOIN usage_event e ON e.shard_key = $1 AND e.event_ref = d.event_ref
LEFT JOIN usage_event_version v ON v.shard_key = $1 AND v.event_ref = d.event_ref
    AND v.rated_at = d.place
LEFT JOIN LATERAL (
    SELECT own.place FROM event_due own
    WHERE own.shard_key = $1 AND own.contract_ref = $2 AND own.event_ref = d.event_ref
      AND own.due_id < d.due_id
    ORDER BY own.due_id DESC LIMIT 1
) before ON true
LEFT JOIN usage_event_version o ON o.shard_key = $1 AND o.event_ref = d.event_ref
    AND o.rated_at = before.place
ORDER BY d.due_id;

-- name: load_event_lines
-- The lines of a contract that events feed.
SELECT l.contract_line_ref, l.contract_product_ref, l.pricing_line_id, pl.line_item_ref, pl.item,
    pl.price::text AS price, m.meter_id, m.aggregation, m.formula,
    EXISTS (SELECT FROM meter_feed f WHERE f.tenant_id = m.tenant_id
            AND f.toward_id = m.meter_id AND f.meter_id <> m.meter_id) AS is_fed
FROM contract_product cp
JOIN contract_line l ON l.shard_key = cp.shard_key
    AND l.contract_product_ref = cp.contract_product_ref
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
JOIN meter m ON m.tenant_id = pl.tenant_id AND m.meter_id = pl.meter_id
WHERE cp.shard_key = $1 AND cp.contract_ref = $2 AND NOT cp.is_pending
ORDER BY cp.position, l.position;

-- name: load_event_periods
SELECT b.contract_product_ref, b.start_at, b.period_ref
FROM unnest($2::uuid[], $3::timestamptz[]) AS k (contract_product_ref, start_at)
JOIN billing_period b ON b.shard_key = $1 AND b.contract_product_ref = k.contract_product_ref
    AND b.start_at = k.start_at;

-- name: load_event_totals
SELECT contract_line_ref, period_ref, cell, quantity, event_count, progress
FROM event_total
WHERE shard_key = $1 AND contract_line_ref = ANY ($2::uuid[]) AND period_ref = ANY ($3::uuid[]);

-- name: save_event_totals
INSERT INTO event_total
    (shard_key, tenant_id, contract_line_ref, period_ref, cell, quantity, event_count, progress)
SELECT $1, $2, t.* FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::numeric[], $7::bigint[],
    $8::text[]) AS t
ON CONFLICT (shard_key, contract_line_ref, period_ref, cell) DO UPDATE SET
    quantity = excluded.quantity, event_count = excluded.event_count, progress = excluded.progress;

-- name: load_events_as_of
-- The events of a meter in a stretch of time, as a contract has rated them up to a change.
SELECT e.event_ref, coalesce(v.occurred_at, e.occurred_at) AS occurred_at,
    coalesce(v.quantity, e.quantity) AS quantity,
    CASE WHEN v.kind IS NULL THEN e.additional_data ELSE v.additional_data END AS additional_data
FROM (
    SELECT DISTINCT ON (event_ref) event_ref, place FROM event_due
    WHERE shard_key = $1 AND contract_ref = $2 AND due_id <= $3
    ORDER BY event_ref, due_id DESC
) d
JOIN usage_event e ON e.shard_key = $1 AND e.event_ref = d.event_ref
LEFT JOIN usage_event_version v ON v.shard_key = $1 AND v.event_ref = d.event_ref
    AND v.rated_at = d.place
WHERE e.meter_id = $4 AND v.kind IS DISTINCT FROM 'DELETE'
  AND coalesce(v.occurred_at, e.occurred_at) >= $5
  AND coalesce(v.occurred_at, e.occurred_at) < $6
ORDER BY 2, 1;

-- name: load_unpaid
-- What the documents of events that are parts of others come to, after credits.
SELECT a.root_document_ref,
    sum(a.sub_total - a.total_discount + a.total_tax - a.credits_amount) AS total
FROM document_adjustment a
WHERE a.shard_key = $1 AND a.root_document_ref = ANY ($2::uuid[])
GROUP BY a.root_document_ref;

-- name: move_billed
INSERT INTO event_billing (shard_key, contract_ref, tenant_id, billed_through)
VALUES ($1, $2, $3, $4)
ON CONFLICT (shard_key, contract_ref) DO UPDATE SET billed_through = excluded.billed_through;

-- name: find_due_contracts
-- Contracts with events that are due and have no documents yet.
SELECT p.shard_key, p.contract_ref
FROM (
    SELECT DISTINCT shard_key, contract_ref FROM contract_product
    WHERE net_terms = 'DUE_UPON_USAGE'
) p
LEFT JOIN event_billing b ON b.shard_key = p.shard_key AND b.contract_ref = p.contract_ref
WHERE EXISTS (
    SELECT FROM event_due d
    WHERE d.shard_key = p.shard_key AND d.contract_ref = p.contract_ref
      AND d.due_id > coalesce(b.billed_through, -1) AND d.due_at < $1);

-- name: drop_parked_events
DELETE FROM parked_input
WHERE shard_key = $1 AND contract_product_ref = $2 AND trigger = 'EVENT_DUE';

-- name: find_overtaken
-- Which of these documents are issued at a cut that holds what was rated below an offset.
SELECT d.shard_key, d.document_ref, d.contract_ref, d.document_group, d.issue_date
FROM document d
WHERE d.shard_key = $1 AND d.document_ref = ANY ($2::uuid[]) AND d.number IS NOT NULL
  AND $3 <= (
    SELECT max(c.cut_offset)
    FROM document_input i
    JOIN period_cut c ON c.shard_key = i.shard_key AND c.period_ref = i.period_ref
        AND c.cut_number = i.cut_number
    WHERE i.shard_key = d.shard_key AND i.document_ref = d.document_ref
      AND i.trigger = 'PERIOD_CUT');

-- name: find_reviewed
-- Those of some documents that wait for a person: the contract says so, or its entity where the
-- contract says nothing, or the tenant where neither does.
SELECT d.document_ref
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
JOIN document d ON d.shard_key = k.shard_key AND d.document_ref = k.document_ref
JOIN contract c ON c.shard_key = d.shard_key AND c.contract_ref = d.contract_ref
JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
LEFT JOIN tenant_setting s ON s.tenant_id = d.tenant_id
WHERE coalesce(
    nullif(c.review, 'INHERITED'), nullif(e.review, 'INHERITED'),
    CASE WHEN s.review_documents THEN 'REQUIRED' END) = 'REQUIRED';

-- name: hold_documents
UPDATE document d SET state = 'UNDER_REVIEW'
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE d.shard_key = k.shard_key AND d.document_ref = k.document_ref;

-- name: note_held
-- One that was rejected and comes back is held anew.
INSERT INTO document_review (tenant_id, shard_key, document_ref, held_at)
SELECT $1, k.shard_key, k.document_ref, $4
FROM unnest($2::integer[], $3::uuid[]) AS k (shard_key, document_ref)
ON CONFLICT (shard_key, document_ref) DO UPDATE SET held_at = excluded.held_at;

-- name: note_redrawn
UPDATE document_review r SET redraws = redraws + 1, redrawn_at = $3
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE r.shard_key = k.shard_key AND r.document_ref = k.document_ref;
