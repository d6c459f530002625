-- Statements of the management routes. Each runs in a tenant's transaction and names the tenant.

-- name: add_entity
INSERT INTO entity (tenant_id, entity_ref, name, legal_name, email, registration_number, timezone,
    currency, net_terms, document_number_format, review, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING entity_id;

-- name: find_settings
SELECT refuses_unknown_fields, age_days_max, closing_grace_seconds, closing_waits, late_usage,
    review_documents, reminder_days, updated_at
FROM tenant_setting WHERE tenant_id = $1;

-- name: put_settings
INSERT INTO tenant_setting AS s
    (tenant_id, refuses_unknown_fields, age_days_max, closing_grace_seconds, closing_waits,
     late_usage, review_documents, reminder_days)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id) DO UPDATE SET refuses_unknown_fields = EXCLUDED.refuses_unknown_fields,
    age_days_max = EXCLUDED.age_days_max, closing_waits = EXCLUDED.closing_waits,
    closing_grace_seconds = EXCLUDED.closing_grace_seconds, late_usage = EXCLUDED.late_usage,
    review_documents = EXCLUDED.review_documents, reminder_days = EXCLUDED.reminder_days,
    updated_at = now()
RETURNING refuses_unknown_fields, age_days_max, closing_grace_seconds, closing_waits, late_usage,
    review_documents, reminder_days, updated_at;

-- name: announce_to_all
-- Tell the owners of all partitions that there is something new: none rates meanwhile.
UPDATE rater_partition SET reference_version = reference_version + 1
WHERE partition IN (SELECT partition FROM rater_partition ORDER BY partition FOR UPDATE);

-- name: make_default_entity
-- The first entity of a tenant is its default.
UPDATE tenant SET default_entity_id = $2 WHERE tenant_id = $1 AND default_entity_id IS NULL;

-- name: find_default_entity
SELECT e.* FROM entity e JOIN tenant t ON t.tenant_id = e.tenant_id
    AND t.default_entity_id = e.entity_id
WHERE e.tenant_id = $1;

-- name: find_entity
SELECT * FROM entity WHERE tenant_id = $1 AND entity_ref = $2;

-- name: find_entity_by_name
SELECT * FROM entity WHERE tenant_id = $1 AND lower(name) = lower($2);

-- name: find_entities
SELECT * FROM entity WHERE tenant_id = $1 AND entity_ref = ANY ($2);

-- name: hold_entity
-- Others who change it wait for the end of the transaction.
SELECT FROM entity WHERE tenant_id = $1 AND entity_ref = $2 FOR NO KEY UPDATE;

-- name: change_entity
UPDATE entity SET name = $3, legal_name = $4, email = $5, registration_number = $6, timezone = $7,
    currency = $8, net_terms = $9, document_number_format = $10, review = $11, details = $12
WHERE tenant_id = $1 AND entity_ref = $2
RETURNING *;

-- name: list_entity_names
SELECT entity_ref, name, legal_name FROM entity WHERE tenant_id = $1
ORDER BY lower(name), entity_id;

-- name: add_customer
INSERT INTO customer (shard_key, tenant_id, customer_ref, entity_id, name, legal_name, email,
    currency, tax, net_terms, external_id, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: find_customer
SELECT c.*, e.entity_ref, e.name AS entity_name
FROM customer c JOIN entity e ON e.tenant_id = c.tenant_id AND e.entity_id = c.entity_id
WHERE c.tenant_id = $1 AND c.shard_key = $2 AND c.customer_ref = $3;

-- name: hold_customer
-- Others who change it wait for the end of the transaction.
SELECT FROM customer WHERE tenant_id = $1 AND shard_key = $2 AND customer_ref = $3
FOR NO KEY UPDATE;

-- name: change_customer
UPDATE customer SET entity_id = $4, name = $5, legal_name = $6, email = $7, currency = $8,
    tax = $9, net_terms = $10, external_id = $11, details = $12
WHERE tenant_id = $1 AND shard_key = $2 AND customer_ref = $3;

-- name: list_customer_names
SELECT customer_ref, name, legal_name FROM customer WHERE tenant_id = $1
ORDER BY lower(name), customer_id;

-- name: count_customers_named
SELECT count_customers_named($1);

-- name: list_customers_named
-- A page of those whose name contains a text, ASC or DESC.
SELECT customer_ref, name, legal_name FROM customers_named($1, $2, $3, $4);

-- name: add_meter
INSERT INTO meter (tenant_id, usage_product_ref, name, unit, aggregation, unique_key, formula,
    relation, parent_meter_id, parent_factor)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: find_meter
SELECT m.*, t.usage_product_ref AS toward_ref
FROM meter m LEFT JOIN meter t ON t.tenant_id = m.tenant_id AND t.meter_id = m.parent_meter_id
WHERE m.tenant_id = $1 AND m.usage_product_ref = $2;

-- name: hold_meter
-- Nobody prices it before the end of the transaction.
SELECT m.*, t.usage_product_ref AS toward_ref
FROM meter m LEFT JOIN meter t ON t.tenant_id = m.tenant_id AND t.meter_id = m.parent_meter_id
WHERE m.tenant_id = $1 AND m.usage_product_ref = $2 FOR UPDATE OF m;

-- name: lock_meters
-- One at a time changes a tenant's meters or prices them.
SELECT pg_advisory_xact_lock(hashtext('meterline_meter'), $1);

-- name: list_links
-- A tenant's meters that count toward others or that others count toward, and those named.
SELECT meter_id, name, aggregation, parent_meter_id, parent_factor FROM meter
WHERE tenant_id = $1 AND (parent_meter_id IS NOT NULL OR meter_id = ANY ($2) OR meter_id IN (
    SELECT parent_meter_id FROM meter WHERE tenant_id = $1));

-- name: find_priced_above
-- The name of a meter that a line item prices, of those that one counts toward or would count
-- toward. $3: its parent to be, or null.
SELECT m.name FROM meter m WHERE m.tenant_id = $1 AND m.meter_id IN (
    SELECT toward_id FROM meter_feed
    WHERE tenant_id = $1 AND meter_id IN ($2, $3) AND toward_id <> $2)
AND EXISTS (SELECT FROM pricing_line p WHERE p.tenant_id = $1 AND p.meter_id = m.meter_id)
ORDER BY m.meter_id LIMIT 1;

-- name: is_meter_priced
SELECT EXISTS (SELECT FROM pricing_line WHERE tenant_id = $1 AND meter_id = $2);

-- name: change_meter
UPDATE meter SET name = $3, unit = $4, aggregation = $5, unique_key = $6, relation = $7,
    parent_meter_id = $8, parent_factor = $9
WHERE tenant_id = $1 AND meter_id = $2;

-- name: find_meters
SELECT usage_product_ref, meter_id, aggregation FROM meter
WHERE tenant_id = $1 AND usage_product_ref = ANY ($2);

-- name: list_meters
-- A page, in the order they were made.
SELECT m.*, t.usage_product_ref AS toward_ref
FROM meter m LEFT JOIN meter t ON t.tenant_id = m.tenant_id AND t.meter_id = m.parent_meter_id
WHERE m.tenant_id = $1 AND m.meter_id > $2::bigint ORDER BY m.meter_id LIMIT $3;

-- name: add_product
INSERT INTO product (tenant_id, product_ref, name) VALUES ($1, $2, $3) RETURNING product_id;

-- name: hold_product
SELECT product_id, product_ref, name FROM product WHERE tenant_id = $1 AND product_ref = $2
FOR NO KEY UPDATE;

-- name: change_product
UPDATE product SET name = $3 WHERE tenant_id = $1 AND product_ref = $2;

-- name: add_pricing
-- A draft.
INSERT INTO pricing (tenant_id, pricing_ref, product_id, name, minimum_fee, is_published)
VALUES ($1, $2, $3, $4, $5, false)
RETURNING pricing_id;

-- name: hold_pricing
SELECT p.pricing_id, p.product_id, p.name, p.minimum_fee, p.is_published, o.product_ref
FROM pricing p JOIN product o ON o.tenant_id = p.tenant_id AND o.product_id = p.product_id
WHERE p.tenant_id = $1 AND p.pricing_ref = $2
FOR NO KEY UPDATE OF p;

-- name: change_draft
UPDATE pricing SET name = $3, minimum_fee = $4 WHERE tenant_id = $1 AND pricing_id = $2;

-- name: delete_draft_lines
DELETE FROM pricing_line WHERE tenant_id = $1 AND pricing_id = $2 AND base_line_id IS NULL;

-- name: copy_pricing_lines
-- The line items of one pricing into another, under refs of their own.
INSERT INTO pricing_line (tenant_id, line_item_ref, pricing_id, position, item, meter_id, price)
SELECT tenant_id, gen_random_uuid(), $3, position, item, meter_id, price FROM pricing_line
WHERE tenant_id = $1 AND pricing_id = $2 AND base_line_id IS NULL
RETURNING line_item_ref, item, position;

-- name: find_template_meter
-- The oldest meter whose events and cells can be priced, too.
SELECT usage_product_ref FROM meter WHERE tenant_id = $1 AND aggregation IN ('SUM', 'COUNT')
ORDER BY meter_id LIMIT 1;

-- name: add_pricing_line
INSERT INTO pricing_line (tenant_id, line_item_ref, pricing_id, position, item, meter_id, price)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: add_own_line
-- What a contract has in the place of a line item.
INSERT INTO pricing_line (tenant_id, line_item_ref, pricing_id, position, item, meter_id, price,
    base_line_id, contract_ref)
SELECT tenant_id, $3, pricing_id, position, $4, $5, $6, pricing_line_id, $7 FROM pricing_line
WHERE tenant_id = $1 AND pricing_line_id = $2
RETURNING pricing_line_id;

-- name: publish_pricing
UPDATE pricing SET is_published = true WHERE tenant_id = $1 AND pricing_ref = $2
RETURNING pricing_id;

-- name: list_pricings
SELECT p.pricing_id, p.pricing_ref, p.name AS pricing_name, p.minimum_fee, p.is_published,
    o.product_ref, o.name AS product_name
FROM pricing p JOIN product o ON o.tenant_id = p.tenant_id AND o.product_id = p.product_id
WHERE p.tenant_id = $1 AND (p.is_published OR $2)
ORDER BY p.pricing_id;

-- name: find_pricings
SELECT p.pricing_id, p.pricing_ref, p.minimum_fee, p.is_published, p.name AS pricing_name,
    o.name AS product_name
FROM pricing p JOIN product o ON o.tenant_id = p.tenant_id AND o.product_id = p.product_id
WHERE p.tenant_id = $1 AND p.pricing_ref = ANY ($2);

-- name: list_pricing_lines
SELECT l.pricing_id, l.pricing_line_id, l.line_item_ref, l.item, l.price, m.usage_product_ref,
    m.meter_id, m.aggregation
FROM pricing_line l LEFT JOIN meter m ON m.tenant_id = l.tenant_id AND m.meter_id = l.meter_id
WHERE l.tenant_id = $1 AND l.pricing_id = ANY ($2) AND l.base_line_id IS NULL
ORDER BY l.pricing_id, l.position;

-- name: count_partitions
-- How many partitions the log of usage events has.
SELECT partitions FROM event_log;

-- name: limit_lock_wait
-- For the rest of the transaction.
SELECT set_config('lock_timeout', $1, true);

-- name: lock_partition
-- Tell the owner of a partition that there is something new. The row stays locked until the end of
-- the transaction, so no event is rated meanwhile and next_offset is exact.
UPDATE rater_partition SET reference_version = reference_version + 1 WHERE partition = $1
RETURNING reference_version, next_offset;

-- name: wake_owner
-- At the commit; whoever misses it notices the version soon.
SELECT pg_notify('meterline_partition', $1);

-- name: find_archived_usage
-- The last month of a customer's archived usage that counts toward some meters, from a month on.
SELECT max(u.month) FROM archived_usage u
JOIN meter_feed f ON f.tenant_id = u.tenant_id AND f.meter_id = u.meter_id
JOIN meter m ON m.tenant_id = f.tenant_id AND m.meter_id = f.toward_id
WHERE u.shard_key = $1 AND u.customer_id = $2 AND m.usage_product_ref = ANY ($3::uuid[])
  AND u.month BETWEEN $4 AND $5 HAVING count(*) > 0;

-- name: add_partition_change
INSERT INTO partition_change (partition, reference_version, kind, shard_key, tenant_id,
    customer_id, contract_ref, recorded_offset, close_through, contract_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: take_contract_number
UPDATE tenant SET next_contract_number = next_contract_number + 1 WHERE tenant_id = $1
RETURNING next_contract_number - 1;

-- name: add_contract
INSERT INTO contract (shard_key, contract_ref, tenant_id, customer_id, contract_number, po_number,
    invoice_mode, closing, state, closes_after, review)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'ACTIVE', CASE WHEN NOT $9::boolean THEN now() END, $10);

-- name: transaction_time
SELECT now();

-- name: add_contract_product
INSERT INTO contract_product (shard_key, contract_product_ref, tenant_id, contract_ref, position,
    document_group, pricing_id, entity_id, currency, timezone, billing_start_date,
    billing_end_date, cycle_unit, cycle_length, issue_day, payment_time, tax, discount, net_terms,
    minimum_fee, note, term_end_date, details, commitments, credits, overrides, version, since_date,
    until_date, ahead_since, carries_on_ref, is_pending)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25, $26, $27, $28, NULL, $29, $30, $27 > 1);

-- name: copy_contract_product
-- The same product once more, in a version of its own, from one day on and before another. It is
-- billed as a whole behind its end: what was billed ahead of it is given back then.
INSERT INTO contract_product (shard_key, contract_product_ref, tenant_id, contract_ref, position,
    document_group, pricing_id, entity_id, currency, timezone, billing_start_date,
    billing_end_date, cycle_unit, cycle_length, issue_day, payment_time, tax, discount, net_terms,
    minimum_fee, note, term_end_date, details, commitments, credits, overrides, version, since_date, until_date,
    carries_on_ref, is_pending)
SELECT shard_key, $4, tenant_id, contract_ref, position, document_group, pricing_id, entity_id,
    currency, timezone, billing_start_date, billing_end_date, cycle_unit, cycle_length, issue_day,
    'AFTER_USE', tax, discount, net_terms, minimum_fee, note, term_end_date, details, commitments, credits,
    overrides, $5, $6::date, $7, CASE WHEN $6::date IS NOT NULL THEN lineage_ref END, true
FROM contract_product
WHERE tenant_id = $1 AND shard_key = $2 AND contract_product_ref = $3;

-- name: add_contract_version
INSERT INTO contract_version (shard_key, contract_ref, version, tenant_id, kind, includes_current,
    made_by)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: add_succession
INSERT INTO contract_succession (shard_key, contract_product_ref, version, tenant_id, contract_ref,
    kind, from_date, successor_ref)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: hold_contract
-- Others who change it wait for the end of the transaction.
SELECT k.*, c.customer_ref, c.name AS customer_name
FROM contract k JOIN customer c ON c.shard_key = k.shard_key AND c.customer_id = k.customer_id
WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.contract_ref = $3
FOR NO KEY UPDATE OF k;

-- name: change_contract
-- An AUTOMATIC one that was MANUAL closes also what has ended by now.
UPDATE contract SET version = $4, po_number = $5, closing = $6, review = $7, invoice_mode = $8,
    state = $9,
    closes_after = CASE WHEN closing = $6 THEN closes_after END
WHERE tenant_id = $1 AND shard_key = $2 AND contract_ref = $3;

-- name: list_contract_versions
-- What became of contracts, oldest first; whether the charges of each version count already.
SELECT v.contract_ref, v.version, v.kind, v.includes_current, v.made_by, v.made_at,
    c.partition IS NULL OR coalesce(t.is_swapped OR t.state = 'DONE', false) AS is_in_force
FROM contract_version v
LEFT JOIN partition_change c ON c.shard_key = v.shard_key AND c.contract_ref = v.contract_ref
    AND c.kind = 'CONTRACT' AND c.contract_version = v.version
LEFT JOIN partition_task t ON t.partition = c.partition
    AND t.reference_version = c.reference_version
WHERE v.tenant_id = $1 AND v.shard_key = $2 AND v.contract_ref = ANY ($3)
ORDER BY v.contract_ref, v.version;

-- name: list_contract_changes
-- What the audit log has of a contract, the newest first; $3: from an entry on, null: from the last.
SELECT number, entry::jsonb ->> 'at' AS at, entry::jsonb ->> 'actor' AS actor,
    entry::jsonb ->> 'action' AS action,
    -- Publishing keeps the terms, and its entry has them afterwards alone.
    CASE entry::jsonb ->> 'action' WHEN 'contract.published' THEN entry::json ->> 'after'
    ELSE entry::json ->> 'before' END AS before
FROM audit_entry
WHERE tenant_id = $1 AND subject = $2 AND ($3::bigint IS NULL OR number <= $3)
  AND starts_with(entry::jsonb ->> 'action', 'contract.')
  AND entry::jsonb ->> 'action' <> 'contract.closing_asked'
ORDER BY number DESC LIMIT $4;

-- name: find_closed_since
-- The first period from a day on, of some contract products, that was closed, or billed ahead; $5:
-- what was billed ahead of the one that begins with that day does not count.
SELECT min(start_date) FROM billing_period p
WHERE tenant_id = $1 AND shard_key = $2 AND contract_product_ref = ANY ($3::uuid[])
  AND start_date >= $4 AND (last_cut_number > 0 OR (NOT $5 OR start_date > $4) AND EXISTS (
    SELECT FROM period_cut c WHERE c.shard_key = $2 AND c.period_ref = p.period_ref));

-- name: have_billed_ahead
-- Whether some contract products have billed a part of a period from a day on.
SELECT EXISTS (
    SELECT FROM billing_period p
    JOIN period_cut c ON c.shard_key = p.shard_key AND c.period_ref = p.period_ref
    WHERE p.tenant_id = $1 AND p.shard_key = $2 AND p.contract_product_ref = ANY ($3::uuid[])
      AND p.start_date >= $4);

-- name: add_contract_line
INSERT INTO contract_line (shard_key, contract_line_ref, tenant_id, contract_product_ref, position,
    pricing_line_id)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: find_contract
SELECT k.*, c.customer_ref, c.name AS customer_name, c.legal_name AS customer_legal_name
FROM contract k JOIN customer c ON c.shard_key = k.shard_key AND c.customer_id = k.customer_id
WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.contract_ref = $3;

-- name: list_contracts
-- A page of a customer's contracts, in the order they were made.
SELECT k.*, c.customer_ref, c.name AS customer_name, c.legal_name AS customer_legal_name
FROM contract k JOIN customer c ON c.shard_key = k.shard_key AND c.customer_id = k.customer_id
WHERE k.tenant_id = $1 AND k.shard_key = $2 AND c.customer_ref = $3
ORDER BY k.contract_number LIMIT $4 OFFSET $5;

-- name: add_contract_draft
INSERT INTO contract_draft (shard_key, contract_ref, tenant_id, customer_id, terms, closes_ended,
    made_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: find_contract_draft
SELECT terms FROM contract_draft
WHERE tenant_id = $1 AND shard_key = $2 AND contract_ref = $3;

-- name: hold_contract_draft
-- Others who edit, publish or drop it wait for the end of the transaction.
SELECT terms, closes_ended, made_at FROM contract_draft
WHERE tenant_id = $1 AND shard_key = $2 AND contract_ref = $3
FOR UPDATE;

-- name: change_contract_draft
UPDATE contract_draft SET terms = $4, closes_ended = $5
WHERE tenant_id = $1 AND shard_key = $2 AND contract_ref = $3;

-- name: drop_contract_draft
DELETE FROM contract_draft WHERE tenant_id = $1 AND shard_key = $2 AND contract_ref = $3;

-- name: list_contract_drafts
-- The drafts on a page of a customer's contracts, which they come after: $5 of the page is taken.
SELECT d.terms FROM contract_draft d
JOIN customer c ON c.shard_key = d.shard_key AND c.customer_id = d.customer_id
WHERE d.tenant_id = $1 AND d.shard_key = $2 AND c.customer_ref = $3
ORDER BY d.made_at, d.contract_ref
LIMIT $4::integer - $5::integer OFFSET greatest($6::bigint - (
    SELECT count(*) FROM contract k
    JOIN customer o ON o.shard_key = k.shard_key AND o.customer_id = k.customer_id
    WHERE k.tenant_id = $1 AND k.shard_key = $2 AND o.customer_ref = $3), 0);

-- name: list_contract_products
-- The products of contracts as their last versions have them; $4: those of all versions. ends_date:
-- the day from which an edit or the end of the contract has another one, or none, in its place,
-- whether or not it was swapped in yet. successors: what takes its place.
SELECT p.*, i.pricing_ref, i.name AS pricing_name, o.name AS product_name, e.entity_ref,
    e.name AS entity_name, least(p.until_date, s.from_date) AS ends_date, s.successors,
    coalesce(s.is_over, false) AS is_over
FROM contract_product p
LEFT JOIN LATERAL (
    SELECT min(from_date) AS from_date,
        array_agg(successor_ref) FILTER (WHERE successor_ref IS NOT NULL) AS successors,
        bool_or(kind = 'EDITED' OR successor_ref IS NOT NULL) AS is_over
    FROM contract_succession own
    WHERE own.shard_key = p.shard_key AND own.contract_product_ref = p.contract_product_ref
) s ON true
JOIN pricing i ON i.tenant_id = p.tenant_id AND i.pricing_id = p.pricing_id
JOIN product o ON o.tenant_id = i.tenant_id AND o.product_id = i.product_id
JOIN entity e ON e.tenant_id = p.tenant_id AND e.entity_id = p.entity_id
WHERE p.tenant_id = $1 AND p.shard_key = $2 AND p.contract_ref = ANY ($3)
  AND ($4 OR NOT coalesce(s.is_over, false))
ORDER BY p.contract_ref, p.position, p.version;

-- name: list_credit_draws
-- What documents have drawn from the credits of contract products.
SELECT w.contract_product_ref, b.start_date, w.place, w.amount, w.document_ref, d.document_number
FROM credit_draw w
JOIN billing_period b ON b.shard_key = w.shard_key
    AND b.contract_product_ref = w.contract_product_ref AND b.period_index = w.period_index
JOIN document d ON d.shard_key = w.shard_key AND d.document_ref = w.document_ref
WHERE w.tenant_id = $1 AND w.shard_key = $2 AND w.contract_product_ref = ANY ($3)
ORDER BY b.start_date, w.contract_product_ref, w.place, d.number_in_contract;

-- name: list_contract_lines
-- What is overridden is known by the line item of its pricing; own_line_id: its own price version.
SELECT l.contract_product_ref, coalesce(i.base_line_id, l.pricing_line_id) AS pricing_line_id,
    l.pricing_line_id AS own_line_id, coalesce(b.line_item_ref, i.line_item_ref) AS line_item_ref,
    i.item, i.meter_id, m.aggregation
FROM contract_line l
JOIN contract_product p ON p.shard_key = l.shard_key
    AND p.contract_product_ref = l.contract_product_ref
JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
LEFT JOIN pricing_line b ON b.tenant_id = i.tenant_id AND b.pricing_line_id = i.base_line_id
LEFT JOIN meter m ON m.tenant_id = i.tenant_id AND m.meter_id = i.meter_id
WHERE l.tenant_id = $1 AND l.shard_key = $2 AND p.contract_ref = ANY ($3)
ORDER BY l.contract_product_ref, l.position;

-- name: find_contract_zones
SELECT k.customer_id, array_agg(DISTINCT p.timezone) AS timezones
FROM contract k JOIN contract_product p ON p.shard_key = k.shard_key
    AND p.contract_ref = k.contract_ref
WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.contract_ref = $3
GROUP BY k.customer_id;

-- name: list_closings
-- What was asked to be closed, oldest first, and how far its partition's owner has got.
SELECT c.close_through, c.requested_at, coalesce(t.state, 'PENDING') AS state,
    coalesce(t.periods_closed, 0) AS periods_closed, t.finished_at
FROM partition_change c LEFT JOIN partition_task t ON t.partition = c.partition
    AND t.reference_version = c.reference_version
WHERE c.tenant_id = $1 AND c.shard_key = $2 AND c.contract_ref = $3 AND c.kind = 'CLOSE'
ORDER BY c.reference_version;

-- name: find_document
SELECT d.*, k.contract_number FROM document d
JOIN contract k ON k.shard_key = d.shard_key AND k.contract_ref = d.contract_ref
WHERE d.tenant_id = $1 AND d.shard_key = $2 AND d.document_ref = $3;

-- name: list_terms_of_shard
-- Every product of the contracts in a shard, which is mostly one customer's, with who bills whom.
SELECT cp.contract_product_ref, cp.contract_ref, cp.document_group, p.name AS product_name,
    cp.currency, cp.net_terms, cp.tax, cp.discount,
    coalesce(cp.minimum_fee, pr.minimum_fee) AS minimum_fee, cp.commitments::text AS commitments, cp.credits::text AS credits,
    cp.lineage_ref,
    CASE WHEN cp.commitments = '[]' THEN 0 ELSE (
        SELECT coalesce(sum(o.total), 0)
        FROM contract_product kin JOIN document_product o
            ON o.shard_key = kin.shard_key AND o.contract_product_ref = kin.contract_product_ref
        JOIN document od ON od.shard_key = o.shard_key AND od.document_ref = o.document_ref
        WHERE kin.shard_key = cp.shard_key AND kin.contract_ref = cp.contract_ref
          AND kin.lineage_ref = cp.lineage_ref
          AND (o.root_document_ref IS NULL OR od.number IS NOT NULL)
    ) END AS spent,
    cp.billing_start_date, cp.billing_end_date, cp.cycle_unit, cp.cycle_length, cp.issue_day,
    cp.payment_time, cp.timezone, cp.since_date, cp.until_date, cp.ahead_since, k.contract_number, t.tenant_ref,
    jsonb_build_object(
        'customer', jsonb_build_object(
            'customer_ref', cu.customer_ref, 'name', cu.name, 'legal_name', cu.legal_name),
        'entity', jsonb_build_object(
            'entity_ref', e.entity_ref, 'name', e.name, 'legal_name', e.legal_name),
        'billing_bank_transfer_details', coalesce(cp.details -> 'billing_bank_transfer_details',
            cu.details -> 'billing_bank_transfer_details'),
        'billing_online_payment_details', coalesce(cp.details -> 'billing_online_payment_details',
            cu.details -> 'billing_online_payment_details'),
        'billing_crypto_details', coalesce(cp.details -> 'billing_crypto_details',
            cu.details -> 'billing_crypto_details'))::text AS parties
FROM contract k
JOIN tenant t ON t.tenant_id = k.tenant_id
JOIN customer cu ON cu.shard_key = k.shard_key AND cu.customer_id = k.customer_id
JOIN contract_product cp ON cp.shard_key = k.shard_key AND cp.contract_ref = k.contract_ref
JOIN entity e ON e.tenant_id = cp.tenant_id AND e.entity_id = cp.entity_id
JOIN pricing pr ON pr.tenant_id = cp.tenant_id AND pr.pricing_id = cp.pricing_id
JOIN product p ON p.tenant_id = pr.tenant_id AND p.product_id = pr.product_id
WHERE k.tenant_id = $1 AND k.shard_key = $2 AND NOT cp.is_pending
ORDER BY k.contract_number, cp.position, cp.version;

-- name: list_billed_ahead
-- What the lines of products had come to when these periods were billed ahead.
SELECT c.contract_line_ref, b.start_at, c.charge_ref, c.cell, c.quantity, c.event_count,
    c.exact_quantity, c.amount
FROM billing_period b
JOIN charge_cut c ON c.shard_key = b.shard_key AND c.period_ref = b.period_ref
    AND c.cut_number = 0
WHERE b.tenant_id = $1 AND b.shard_key = $2 AND b.contract_product_ref = ANY ($3::uuid[])
    AND b.start_at = ANY ($4::timestamptz[]);

-- name: list_former_ahead
-- What is billed ahead of periods whose place others have taken. $3, $4: the contract products that
-- have, and the first days of their periods.
WITH RECURSIVE former AS (
    SELECT s.contract_product_ref, s.from_date
    FROM unnest($3::uuid[], $4::date[]) AS k (contract_product_ref, start_date)
    JOIN contract_succession s ON s.tenant_id = $1 AND s.shard_key = $2
        AND s.successor_ref = k.contract_product_ref AND s.from_date = k.start_date
    UNION
    SELECT s.contract_product_ref, s.from_date
    FROM former f
    JOIN contract_succession s ON s.tenant_id = $1 AND s.shard_key = $2
        AND s.successor_ref = f.contract_product_ref AND s.from_date = f.from_date
)
SELECT b.contract_product_ref, b.start_at, b.issue_date
FROM former f
JOIN billing_period b ON b.tenant_id = $1 AND b.shard_key = $2
    AND b.contract_product_ref = f.contract_product_ref AND b.start_date >= f.from_date
JOIN period_cut c ON c.shard_key = b.shard_key AND c.period_ref = b.period_ref AND c.cut_number = 0
JOIN contract_product cp ON cp.shard_key = b.shard_key
    AND cp.contract_product_ref = b.contract_product_ref
-- On a document that was issued without it, it is not billed.
WHERE NOT EXISTS (
    SELECT FROM document_input i
    JOIN document d ON d.shard_key = i.shard_key AND d.document_ref = i.document_ref
    LEFT JOIN document_product p ON p.shard_key = i.shard_key AND p.document_ref = i.document_ref
        AND p.period_ref = i.period_ref
    WHERE i.shard_key = b.shard_key AND i.contract_product_ref = b.contract_product_ref
      AND i.period_ref = b.period_ref AND d.number IS NOT NULL AND p.period_ref IS NULL)
ORDER BY b.issue_date, cp.position, b.start_at;

-- name: list_lines_of_products
SELECT l.contract_product_ref, l.contract_line_ref, l.pricing_line_id, pl.line_item_ref, pl.item,
    pl.price::text AS price, m.meter_id, m.usage_product_ref, m.aggregation, m.formula
FROM contract_line l
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
LEFT JOIN meter m ON m.tenant_id = pl.tenant_id AND m.meter_id = pl.meter_id
WHERE l.tenant_id = $1 AND l.shard_key = $2 AND l.contract_product_ref = ANY ($3::uuid[])
ORDER BY l.position;

-- name: list_charges_so_far
-- What the lines of products have come to in the periods that begin at these instants.
SELECT c.contract_line_ref, b.start_at, c.charge_ref, c.cell, c.quantity, c.event_count,
    c.exact_quantity, c.amount
FROM billing_period b
JOIN charge c ON c.shard_key = b.shard_key AND c.period_ref = b.period_ref
WHERE b.tenant_id = $1 AND b.shard_key = $2 AND b.contract_product_ref = ANY ($3::uuid[])
    AND b.start_at = ANY ($4::timestamptz[]);

-- name: sum_before_event
-- What a customer's events between two instants come to in lines of a meter, of those rated before
-- an offset: those that were never amended, and of the others the last amendments. units: what as
-- many events count as.
SELECT coalesce(sum(round(e.quantity * f.factor, 18)), 0) AS quantity, count(*) AS event_count,
    coalesce(sum(round(f.factor, 18)), 0) AS units
FROM (
    SELECT u.meter_id, u.quantity FROM usage_event u
    WHERE u.tenant_id = $1 AND u.shard_key = $2 AND u.customer_id = $3
      AND u.event_ref > $5 AND u.event_ref < $6 AND u.occurred_at >= $7 AND u.occurred_at < $8
      AND u.rated_at < $9
      AND NOT EXISTS (SELECT FROM usage_event_version v
                      WHERE v.shard_key = $2 AND v.event_ref = u.event_ref)
    UNION ALL
    SELECT v.meter_id, v.quantity FROM usage_event_version v
    JOIN usage_event u ON u.shard_key = v.shard_key AND u.event_ref = v.event_ref
    WHERE v.tenant_id = $1 AND v.shard_key = $2 AND v.customer_id = $3
      AND v.occurred_at >= $7 AND v.occurred_at < $8 AND v.kind <> 'DELETE' AND u.rated_at < $9
      AND NOT EXISTS (SELECT FROM usage_event_version later
                      WHERE later.shard_key = $2 AND later.event_ref = v.event_ref
                        AND later.rated_at > v.rated_at)
) e
JOIN meter_feed f ON f.tenant_id = $1 AND f.meter_id = e.meter_id AND f.toward_id = $4;

-- name: list_meters_above
-- In which meters' lines the events of a meter count, and times what. is_computed: a formula makes
-- the billable quantity of some of the events there.
SELECT f.toward_id, f.factor, EXISTS (
    SELECT FROM meter_feed other
    JOIN meter m ON m.tenant_id = other.tenant_id AND m.meter_id = other.meter_id
    WHERE other.tenant_id = $1 AND other.toward_id = f.toward_id AND m.formula IS NOT NULL
) AS is_computed
FROM meter_feed f WHERE f.tenant_id = $1 AND f.meter_id = $2;

-- name: list_documents
-- A page of all between two issue dates, newest first, behind a date and a ref. Neither may be null:
-- a condition that may be none finds no index.
SELECT d.*, k.contract_number
FROM (
    SELECT d.* FROM document d
    WHERE d.tenant_id = $1 AND d.issue_date BETWEEN $2 AND $3
      AND (d.issue_date, d.document_ref) < ($4::date, $5::uuid)
    ORDER BY d.issue_date DESC, d.document_ref DESC LIMIT $6 OFFSET $7
) d
JOIN contract k ON k.shard_key = d.shard_key AND k.contract_ref = d.contract_ref
ORDER BY d.issue_date DESC, d.document_ref DESC;

-- name: list_documents_in_state
-- The same of one state.
SELECT d.*, k.contract_number
FROM (
    SELECT d.* FROM document d
    WHERE d.tenant_id = $1 AND d.issue_date BETWEEN $2 AND $3
      AND (d.issue_date, d.document_ref) < ($4::date, $5::uuid) AND d.state = $8
    ORDER BY d.issue_date DESC, d.document_ref DESC LIMIT $6 OFFSET $7
) d
JOIN contract k ON k.shard_key = d.shard_key AND k.contract_ref = d.contract_ref
ORDER BY d.issue_date DESC, d.document_ref DESC;

-- name: list_documents_of
-- The same of some customers' or contracts' documents; a null is any state. The shard keys, $9, are
-- those of the customers or contracts, and an empty list of refs means any. Each customer's newest
-- are read by themselves, in order.
SELECT d.*, k.contract_number
FROM (
    SELECT DISTINCT c.shard_key, c.customer_id
    FROM customer c LEFT JOIN contract k ON k.shard_key = c.shard_key
        AND k.customer_id = c.customer_id AND k.contract_ref = ANY ($11::uuid[])
    WHERE c.tenant_id = $1 AND c.shard_key = ANY ($9::integer[])
      AND (cardinality($10::uuid[]) = 0 OR c.customer_ref = ANY ($10))
      AND (cardinality($11) = 0 OR k.contract_ref IS NOT NULL)
) w
CROSS JOIN LATERAL (
    SELECT o.* FROM document o
    WHERE o.tenant_id = $1 AND o.shard_key = w.shard_key AND o.customer_id = w.customer_id
      AND o.issue_date BETWEEN $2 AND $3
      AND (o.issue_date, o.document_ref) < ($4::date, $5::uuid)
      AND ($8::text IS NULL OR o.state = $8)
      AND (cardinality($11) = 0 OR o.contract_ref = ANY ($11))
    ORDER BY o.issue_date DESC, o.document_ref DESC LIMIT $6::bigint + $7::bigint
) d
JOIN contract k ON k.shard_key = d.shard_key AND k.contract_ref = d.contract_ref
ORDER BY d.issue_date DESC, d.document_ref DESC LIMIT $6 OFFSET $7;

-- name: add_up_documents
-- What documents come to; a null is any state, an empty list of refs any.
SELECT d.currency, d.state, d.accounting_event_type, count(*) AS documents, sum(d.total) AS total
FROM document d JOIN customer c ON c.shard_key = d.shard_key AND c.customer_id = d.customer_id
WHERE d.tenant_id = $1 AND d.issue_date BETWEEN $2 AND $3 AND ($4::text IS NULL OR d.state = $4)
    AND (cardinality($5::integer[]) = 0 OR d.shard_key = ANY ($5))
    AND (cardinality($6::uuid[]) = 0 OR c.customer_ref = ANY ($6))
    AND (cardinality($7::uuid[]) = 0 OR d.contract_ref = ANY ($7))
GROUP BY d.currency, d.state, d.accounting_event_type
ORDER BY d.currency, d.state, d.accounting_event_type;

-- name: list_document_products
-- With the days of their periods, and of differences the number of the document that they are to.
SELECT p.*, b.start_date, b.end_date, r.document_number AS root_number, EXISTS (
        SELECT FROM document_adjustment a
        WHERE a.shard_key = p.shard_key AND a.document_ref = p.document_ref
          AND a.root_document_ref = p.root_document_ref AND a.is_ahead) AS is_ahead
FROM document_product p
LEFT JOIN billing_period b ON b.shard_key = p.shard_key AND b.period_ref = p.period_ref
LEFT JOIN document r ON r.shard_key = p.shard_key AND r.document_ref = p.root_document_ref
WHERE p.tenant_id = $1 AND p.shard_key = ANY ($2) AND p.document_ref = ANY ($3)
ORDER BY p.document_ref, p.position;

-- name: list_document_adjustments
-- What documents correct of others, which ones correct them, and whether such a thing waits.
SELECT a.document_ref, 'OTHER' AS relation, r.document_ref AS other_ref, r.document_number,
    a.sub_total, a.total_discount, a.total_tax, a.credits_amount
FROM document_adjustment a
LEFT JOIN document r ON r.shard_key = a.shard_key AND r.document_ref = a.root_document_ref
WHERE a.tenant_id = $1 AND a.shard_key = ANY ($2) AND a.document_ref = ANY ($3) AND NOT a.is_ahead
UNION ALL
SELECT a.root_document_ref, 'ITSELF', h.document_ref, h.document_number,
    a.sub_total, a.total_discount, a.total_tax, a.credits_amount
FROM document_adjustment a
JOIN document h ON h.shard_key = a.shard_key AND h.document_ref = a.document_ref
WHERE a.tenant_id = $1 AND a.shard_key = ANY ($2) AND a.root_document_ref = ANY ($3)
    AND NOT a.is_ahead
UNION ALL
SELECT w.document_ref, 'WAITING', NULL, NULL, NULL, NULL, NULL, NULL
FROM waiting_adjustment w
WHERE w.tenant_id = $1 AND w.shard_key = ANY ($2) AND w.document_ref = ANY ($3)
    AND w.carrier_ref IS NULL
ORDER BY document_number, other_ref;

-- name: list_document_lines
SELECT * FROM document_line
WHERE tenant_id = $1 AND shard_key = ANY ($2) AND document_ref = ANY ($3)
ORDER BY document_ref, product_position, position;

-- name: find_document_file
SELECT d.document_number, d.state, f.content, f.sha256
FROM document d LEFT JOIN document_file f ON f.shard_key = d.shard_key
    AND f.document_ref = d.document_ref AND f.kind = $4 AND f.tenant_id = d.tenant_id
WHERE d.tenant_id = $1 AND d.shard_key = $2 AND d.document_ref = $3;

-- name: name_of_caller
-- Who stands behind a ref of a key or an admin.
SELECT left('key ' || api_key, 255) FROM api_key WHERE tenant_id = $1 AND api_key_ref = $2
UNION ALL
SELECT left('admin ' || email, 255) FROM admin_user WHERE tenant_id = $1 AND admin_ref = $2
LIMIT 1;

-- name: list_unbilled_charges
-- What the lines of products have come to in the periods that have no document yet.
SELECT c.contract_line_ref, b.start_at, c.charge_ref, c.cell, c.quantity, c.event_count,
    c.exact_quantity, trim_scale(c.amount) AS amount
FROM billing_period b
JOIN charge c ON c.shard_key = b.shard_key AND c.period_ref = b.period_ref
WHERE b.tenant_id = $1 AND b.shard_key = $2 AND b.contract_product_ref = ANY ($3::uuid[])
    AND (b.start_at = ANY ($4::timestamptz[]) OR NOT EXISTS (
        SELECT FROM document_input i
        WHERE i.shard_key = b.shard_key AND i.contract_product_ref = b.contract_product_ref
          AND i.period_ref = b.period_ref));

-- name: list_billed_periods
-- What the documents of products' periods come to, adjustments with them.
SELECT o.contract_product_ref, b.start_at, sum(o.total) AS total
FROM document_product o
JOIN billing_period b ON b.shard_key = o.shard_key AND b.period_ref = o.period_ref
WHERE o.tenant_id = $1 AND o.shard_key = $2 AND o.contract_product_ref = ANY ($3::uuid[])
GROUP BY 1, 2;
