-- How rows hang together, over all tables. $1 is a tenant, or NULL for all of them.

-- name: relations_counted
SELECT (SELECT count(*) FROM customer WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM contract WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM usage_event WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM usage_event_version WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM charge WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM charge_cut WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM document WHERE $1::integer IS NULL OR tenant_id = $1);

-- name: relations_broken
-- Every row beside the row that it belongs to; both must exist, in one tenant. Ids and refs are
-- unique over tenants, so a row of another tenant is found as such.
WITH relation (child, name, parent, tenant_id, parent_tenant_id) AS (
    SELECT 'entity', c.name, 'tenant', c.tenant_id, p.tenant_id
    FROM entity c LEFT JOIN tenant p USING (tenant_id)
    UNION ALL
    SELECT 'tenant', c.name, 'default entity', c.tenant_id, p.tenant_id
    FROM tenant c LEFT JOIN entity p ON p.entity_id = c.default_entity_id
    WHERE c.default_entity_id IS NOT NULL
    UNION ALL
    SELECT 'API key', c.api_key, 'tenant', c.tenant_id, p.tenant_id
    FROM api_key c LEFT JOIN tenant p USING (tenant_id)
    UNION ALL
    SELECT 'customer', c.customer_ref::text, 'entity', c.tenant_id, p.tenant_id
    FROM customer c LEFT JOIN entity p USING (entity_id)
    UNION ALL
    SELECT 'meter', c.usage_product_ref::text, 'tenant', c.tenant_id, p.tenant_id
    FROM meter c LEFT JOIN tenant p USING (tenant_id)
    UNION ALL
    SELECT 'pricing', c.pricing_ref::text, 'product', c.tenant_id, p.tenant_id
    FROM pricing c LEFT JOIN product p USING (product_id)
    UNION ALL
    SELECT 'pricing line', c.line_item_ref::text, 'pricing', c.tenant_id, p.tenant_id
    FROM pricing_line c LEFT JOIN pricing p USING (pricing_id)
    UNION ALL
    SELECT 'pricing line', c.line_item_ref::text, 'meter', c.tenant_id, p.tenant_id
    FROM pricing_line c LEFT JOIN meter p USING (meter_id)
    WHERE c.meter_id IS NOT NULL
    UNION ALL
    SELECT 'contract', c.contract_ref::text, 'customer', c.tenant_id, p.tenant_id
    FROM contract c LEFT JOIN customer p USING (shard_key, customer_id)
    UNION ALL
    SELECT 'contract draft', c.contract_ref::text, 'customer', c.tenant_id, p.tenant_id
    FROM contract_draft c LEFT JOIN customer p USING (shard_key, customer_id)
    UNION ALL
    SELECT 'contract product', c.contract_product_ref::text, 'contract', c.tenant_id, p.tenant_id
    FROM contract_product c LEFT JOIN contract p USING (shard_key, contract_ref)
    UNION ALL
    SELECT 'contract product', c.contract_product_ref::text, 'pricing', c.tenant_id, p.tenant_id
    FROM contract_product c LEFT JOIN pricing p USING (pricing_id)
    UNION ALL
    SELECT 'contract product', c.contract_product_ref::text, 'entity', c.tenant_id, p.tenant_id
    FROM contract_product c LEFT JOIN entity p USING (entity_id)
    UNION ALL
    SELECT 'contract line', c.contract_line_ref::text, 'contract product', c.tenant_id, p.tenant_id
    FROM contract_line c LEFT JOIN contract_product p USING (shard_key, contract_product_ref)
    UNION ALL
    SELECT 'contract line', c.contract_line_ref::text, 'pricing line', c.tenant_id, p.tenant_id
    FROM contract_line c LEFT JOIN pricing_line p USING (pricing_line_id)
    UNION ALL
    SELECT 'task', c.partition || '/' || c.reference_version, 'contract', c.tenant_id, p.tenant_id
    FROM partition_change c LEFT JOIN contract p USING (shard_key, contract_ref, customer_id)
    UNION ALL
    SELECT 'task', c.partition || '/' || c.reference_version, 'change', c.tenant_id, p.tenant_id
    FROM partition_task c
    LEFT JOIN partition_change p USING (partition, reference_version, kind, shard_key, contract_ref)
    UNION ALL
    SELECT 'event', c.event_ref::text, 'customer', c.tenant_id, p.tenant_id
    FROM usage_event c LEFT JOIN customer p USING (shard_key, customer_id)
    UNION ALL
    SELECT 'event', c.event_ref::text, 'meter', c.tenant_id, p.tenant_id
    FROM usage_event c LEFT JOIN meter p USING (meter_id)
    UNION ALL
    SELECT 'version of event', c.event_ref::text, 'event', c.tenant_id, p.tenant_id
    FROM usage_event_version c
    LEFT JOIN usage_event p USING (shard_key, event_ref, customer_id, meter_id)
    UNION ALL
    SELECT 'waiting amendment', c.partition || '/' || c.record_offset, 'tenant', c.tenant_id,
           p.tenant_id
    FROM pending_amendment c LEFT JOIN tenant p USING (tenant_id)
    UNION ALL
    SELECT 'unrated event', c.event_ref::text, 'event', c.tenant_id, p.tenant_id
    FROM unrated_usage c LEFT JOIN usage_event p USING (shard_key, event_ref, customer_id, meter_id)
    UNION ALL
    SELECT 'conflict', c.event_ref::text, 'event', c.tenant_id, p.tenant_id
    FROM usage_conflict c LEFT JOIN usage_event p USING (shard_key, event_ref, customer_id)
    UNION ALL
    SELECT 'dead letter', c.partition || '/' || c.record_offset, 'tenant', c.tenant_id, p.tenant_id
    FROM dead_letter c LEFT JOIN tenant p USING (tenant_id)
    WHERE c.tenant_id IS NOT NULL
    UNION ALL
    SELECT 'period', c.period_ref::text, 'contract product', c.tenant_id, p.tenant_id
    FROM billing_period c LEFT JOIN contract_product p USING (shard_key, contract_product_ref)
    UNION ALL
    SELECT 'charge', c.charge_ref::text, 'period', c.tenant_id, p.tenant_id
    FROM charge c LEFT JOIN billing_period p USING (shard_key, period_ref)
    UNION ALL
    SELECT 'charge', c.charge_ref::text, 'contract line', c.tenant_id, p.tenant_id
    FROM charge c LEFT JOIN contract_line p USING (shard_key, contract_line_ref)
    UNION ALL
    SELECT 'cut', c.period_ref || '/' || c.cut_number, 'period', c.tenant_id, p.tenant_id
    FROM period_cut c LEFT JOIN billing_period p USING (shard_key, period_ref)
    UNION ALL
    SELECT 'cut line', c.period_ref || '/' || c.contract_line_ref, 'cut', c.tenant_id, p.tenant_id
    FROM charge_cut c LEFT JOIN period_cut p USING (shard_key, period_ref, cut_number)
    UNION ALL
    SELECT 'cut line', c.period_ref || '/' || c.contract_line_ref, 'contract line', c.tenant_id,
           p.tenant_id
    FROM charge_cut c LEFT JOIN contract_line p USING (shard_key, contract_line_ref)
    UNION ALL
    SELECT 'cut line', c.period_ref || '/' || c.contract_line_ref, 'charge', c.tenant_id,
           p.tenant_id
    FROM charge_cut c
    LEFT JOIN charge p USING (shard_key, charge_ref, period_ref, contract_line_ref, cell)
    WHERE c.event_count > 0 AND (p.charge_ref IS NOT NULL OR NOT EXISTS (
        -- What was billed ahead of a period that an edit has replaced stays, without its charges.
        SELECT FROM billing_period b JOIN contract_product s USING (shard_key, contract_product_ref)
        WHERE (b.shard_key, b.period_ref, 0) = (c.shard_key, c.period_ref, c.cut_number)
          AND s.until_date <= b.start_date))
    UNION ALL
    SELECT 'document', c.document_ref::text, 'contract', c.tenant_id, p.tenant_id
    FROM document c LEFT JOIN contract p USING (shard_key, contract_ref, customer_id)
    UNION ALL
    SELECT 'document', c.document_ref::text, 'entity', c.tenant_id, p.tenant_id
    FROM document c LEFT JOIN entity p USING (entity_id)
    UNION ALL
    SELECT 'document product', c.document_ref || '/' || c.position, 'document', c.tenant_id,
           p.tenant_id
    FROM document_product c LEFT JOIN document p USING (shard_key, document_ref)
    UNION ALL
    SELECT 'document product', c.document_ref || '/' || c.position, 'period', c.tenant_id,
           p.tenant_id
    FROM document_product c
    LEFT JOIN billing_period p USING (shard_key, period_ref, contract_product_ref)
    UNION ALL
    SELECT 'document line', c.document_ref || '/' || c.item, 'document product', c.tenant_id,
           p.tenant_id
    FROM document_line c
    LEFT JOIN document_product p
        ON (p.shard_key, p.document_ref, p.position)
         = (c.shard_key, c.document_ref, c.product_position)
    UNION ALL
    SELECT 'document line', c.document_ref || '/' || c.item, 'contract line', c.tenant_id,
           p.tenant_id
    FROM document_line c
    LEFT JOIN contract_line p USING (shard_key, contract_line_ref, pricing_line_id)
    UNION ALL
    SELECT 'document line', c.document_ref || '/' || c.item, 'line item', c.tenant_id, p.tenant_id
    FROM document_line c LEFT JOIN pricing_line p USING (pricing_line_id, line_item_ref)
    UNION ALL
    SELECT 'document input', c.period_ref || '/' || c.cut_number, 'cut', c.tenant_id, p.tenant_id
    FROM document_input c LEFT JOIN period_cut p USING (shard_key, period_ref, cut_number)
    WHERE c.trigger <> 'EVENT_DUE'
    UNION ALL
    SELECT 'document input', c.period_ref || '/' || c.cut_number, 'document', c.tenant_id,
           p.tenant_id
    FROM document_input c LEFT JOIN document p USING (shard_key, document_ref)
    -- Where nothing is left to bill of what was billed ahead, there is none.
    WHERE p.document_ref IS NOT NULL OR NOT EXISTS (
        SELECT FROM billing_period b
        WHERE (b.shard_key, b.period_ref) = (c.shard_key, c.period_ref)
          AND b.rest_date IS NOT NULL)
    UNION ALL
    SELECT 'document file', c.document_ref || '/' || c.kind, 'document', c.tenant_id, p.tenant_id
    FROM document_file c LEFT JOIN document p USING (shard_key, document_ref)
    UNION ALL
    SELECT 'document task', c.document_ref || '/' || c.kind, 'document', c.tenant_id, p.tenant_id
    FROM invoicer_outbox c LEFT JOIN document p USING (shard_key, document_ref)
)
SELECT format('%s %s of tenant %s: ', child, name, tenant_id)
       || CASE WHEN parent_tenant_id IS NULL THEN format('its %s does not exist', parent)
               ELSE format('its %s is of tenant %s', parent, parent_tenant_id) END AS witness
FROM relation
WHERE parent_tenant_id IS DISTINCT FROM tenant_id
  AND ($1::integer IS NULL OR $1 IN (tenant_id, parent_tenant_id));

-- name: tenants
SELECT tenant_id, tenant_ref::text AS tenant_ref FROM tenant;

-- name: refs_counted
SELECT (SELECT count(*) FROM customer WHERE $1::integer IS NULL OR tenant_id = $1)
     + (SELECT count(*) FROM usage_event WHERE $1::integer IS NULL OR tenant_id = $1);

-- name: refs_broken
-- $2, $3: tenants and their 5 bits. The first 12 hexadecimal digits of a ref say where it lives:
-- 3 the month, 9 the customer's 31 bits and the tenant's 5.
WITH tenant_bits AS (SELECT * FROM unnest($2::integer[], $3::bigint[]) AS t (tenant_id, bits)),
named (kind, ref, shard_key, tenant_id) AS (
    SELECT 'event', event_ref, shard_key, tenant_id FROM usage_event
    UNION ALL
    SELECT 'version of event', event_ref, shard_key, tenant_id FROM usage_event_version
    UNION ALL
    SELECT 'waiting amendment of event', event_ref, shard_key, tenant_id FROM pending_amendment
    UNION ALL
    SELECT 'contract', contract_ref, shard_key, tenant_id FROM contract
    UNION ALL
    SELECT 'contract draft', contract_ref, shard_key, tenant_id FROM contract_draft
    UNION ALL
    SELECT 'contract product', contract_product_ref, shard_key, tenant_id FROM contract_product
    UNION ALL
    SELECT 'contract line', contract_line_ref, shard_key, tenant_id FROM contract_line
    UNION ALL
    SELECT 'period', period_ref, shard_key, tenant_id FROM billing_period
    UNION ALL
    SELECT 'charge', charge_ref, shard_key, tenant_id FROM charge
    UNION ALL
    SELECT 'document', document_ref, shard_key, tenant_id FROM document
)
SELECT format('%s %s: its ref names another place than shard key %s of tenant %s',
              kind, ref, shard_key, tenant_id) AS witness
FROM named JOIN tenant_bits USING (tenant_id)
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND ('x' || substr(translate(left(ref::text, 13), '-', ''), 4))::bit(36)::bigint
      <> (shard_key::bigint << 5 | bits);

-- name: customers
SELECT customer_ref::text AS customer_ref, shard_key FROM customer
WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: events_counted
SELECT count(*) FROM usage_event WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: months_broken
SELECT format('event %s is of %s', event_ref, occurred_at) AS witness
FROM usage_event
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND ('x' || left(event_ref::text, 3))::bit(12)::integer
      <> (extract(year FROM occurred_at) - 2000) * 12 + extract(month FROM occurred_at) - 1;

-- name: twins
-- An event stamped within 3 days of a month's bound is looked for beyond the bound before it
-- counts. So none may have a twin there that was rated before it.
WITH near AS (
    SELECT shard_key, event_ref, rated_at,
           CASE WHEN occurred_at - date_trunc('month', occurred_at) <= interval '3 days' THEN -1
                WHEN date_trunc('month', occurred_at) + interval '1 month' - occurred_at
                     <= interval '3 days' THEN 1 END AS step
    FROM usage_event
    WHERE $1::integer IS NULL OR tenant_id = $1
),
alias AS (
    SELECT shard_key, event_ref, rated_at,
           (lpad(to_hex(('x' || left(event_ref::text, 3))::bit(12)::integer + step), 3, '0')
            || substr(event_ref::text, 4))::uuid AS twin_ref
    FROM near
    WHERE step IS NOT NULL
)
SELECT format('event %s is the event %s again, stamped anew', alias.event_ref, twin_ref) AS witness
FROM alias JOIN usage_event twin
    ON (twin.shard_key, twin.event_ref) = (alias.shard_key, alias.twin_ref)
WHERE twin.rated_at < alias.rated_at;

-- name: feeds_counted
SELECT count(*) FROM meter_feed WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: feeds_broken
-- What is written down of a meter is what walking up from it comes to, and no walk is too long.
SELECT format('meter %s counts toward meter %s %s, %s is written down', meter_id, toward_id,
              coalesce('times ' || walked.factor, 'not at all'),
              coalesce('times ' || trim_scale(feed.factor), 'nothing')) AS witness
FROM (
    SELECT tenant_id, meter_id, toward_id, factor, steps FROM fed_meter JOIN meter USING (meter_id)
) AS walked
FULL JOIN meter_feed feed USING (tenant_id, meter_id, toward_id)
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND (walked.factor IS DISTINCT FROM feed.factor OR steps > 9);

-- name: periods
-- Every stored period beside the terms that it is cut from, in order of time.
SELECT period_ref, period.contract_product_ref, period_index, start_at, end_at, start_date,
       end_date, full_start_date, full_end_date, issue_date, rest_date, is_partial, billing_start_date,
       billing_end_date, cycle_unit, cycle_length, issue_day, payment_time, timezone,
       since_date, until_date, ahead_since, EXISTS (
           SELECT FROM period_cut own
           WHERE (own.shard_key, own.period_ref) = (period.shard_key, period.period_ref)
             AND cut_number = 0) AS is_opened
FROM billing_period period
JOIN contract_product product USING (shard_key, contract_product_ref)
WHERE $1::integer IS NULL OR period.tenant_id = $1
ORDER BY shard_key, period.contract_product_ref, start_at;
