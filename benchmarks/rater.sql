-- Reference data of the rater's benchmark, made set-wise, and what its run comes to.

-- name: make_tenant
WITH made AS (
    INSERT INTO tenant (tenant_ref, name) VALUES (gen_random_uuid(), 'Benchmark')
    RETURNING tenant_id
)
INSERT INTO entity (tenant_id, entity_ref, name, legal_name, timezone, currency)
SELECT tenant_id, gen_random_uuid(), 'Benchmark', 'Benchmark Inc.', 'UTC', 'USD' FROM made;

-- name: make_meters
-- $1 meters, and a draft with a line for each: half of them with a price a unit, half tiered.
WITH product AS (
    INSERT INTO product (tenant_id, product_ref, name)
    SELECT tenant_id, gen_random_uuid(), 'Benchmark' FROM tenant
    RETURNING tenant_id, product_id
), pricing AS (
    INSERT INTO pricing (tenant_id, pricing_ref, product_id, name, is_published)
    SELECT tenant_id, gen_random_uuid(), product_id, 'Benchmark', false FROM product
    RETURNING tenant_id, pricing_id
), meter AS (
    INSERT INTO meter (tenant_id, usage_product_ref, name, aggregation)
    SELECT tenant_id, gen_random_uuid(), 'Meter ' || number, 'SUM'
    FROM pricing, generate_series(1, $1::integer) AS number
    RETURNING tenant_id, meter_id
)
INSERT INTO pricing_line (tenant_id, line_item_ref, pricing_id, position, item, meter_id, price)
SELECT tenant_id, gen_random_uuid(), pricing_id, row_number() OVER (ORDER BY meter_id),
       'Item ' || meter_id, meter_id,
       CASE meter_id % 2 WHEN 0 THEN '{"model": "PER_UNIT", "price": "0.0125"}'
       ELSE '{"model": "GRADUATED", "tiers": [
           {"up_to": "100", "unit_price": "0.03", "flat_fee": "1"},
           {"up_to": "10000", "unit_price": "0.02", "flat_fee": "0"},
           {"up_to": null, "unit_price": "0.01", "flat_fee": "0"}]}' END::jsonb
FROM meter JOIN pricing USING (tenant_id);

-- name: make_customers
INSERT INTO customer (shard_key, customer_ref, tenant_id, entity_id, name, email, currency)
SELECT made.shard_key, made.ref, entity.tenant_id, entity.entity_id, made.ref::text,
       'billing@example.com', 'USD'
FROM unnest($1::uuid[], $2::integer[]) AS made (ref, shard_key), entity;

-- name: make_contracts
-- In force before the log begins, so that there is nothing to back-fill.
INSERT INTO contract (shard_key, contract_ref, tenant_id, customer_id, contract_number,
                      invoice_mode, closing, state)
SELECT shard_key, gen_random_uuid(), tenant_id, customer_id, customer_id, 'COLLECTIVE', 'MANUAL',
       'ACTIVE'
FROM customer;

-- name: make_products
INSERT INTO contract_product (
    shard_key, contract_product_ref, tenant_id, contract_ref, position, document_group,
    pricing_id, entity_id, currency, timezone, billing_start_date, cycle_unit, cycle_length,
    payment_time, tax, discount, net_terms)
SELECT contract.shard_key, gen_random_uuid(), contract.tenant_id, contract.contract_ref, 0, 0,
       pricing.pricing_id, entity.entity_id, 'USD', 'UTC', date '2024-01-01', 'MONTHLY', 1,
       'AFTER_USE', 0, 0, '30'
FROM contract JOIN pricing USING (tenant_id) JOIN entity USING (tenant_id);

-- name: make_lines
INSERT INTO contract_line (shard_key, contract_line_ref, tenant_id, contract_product_ref,
                           position, pricing_line_id)
SELECT p.shard_key, gen_random_uuid(), p.tenant_id, p.contract_product_ref, l.position,
       l.pricing_line_id
FROM contract_product p JOIN pricing_line l USING (tenant_id, pricing_id);

-- name: make_copy_target
CREATE TABLE copy_target (LIKE usage_event_row INCLUDING CONSTRAINTS INCLUDING INDEXES);

-- name: what_came_of_it
SELECT (SELECT sum(rated) FROM rater_partition)::bigint AS rated,
       (SELECT sum(event_count) FROM charge)::bigint AS counted,
       (SELECT count(*) FROM charge) AS charges,
       (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('usage_event_row'))::bigint
       AS event_bytes,
       pg_total_relation_size('charge') AS charge_bytes;

-- name: make_rows
-- Events of before: the rows from number $3 on, $4 of them, of the $1 that there will be in the month
-- $2 of the refs. A hundred each are of one customer that nobody rates; they come in the order of
-- the key, as a rater's polls do customer by customer. The digests are random, as those of refs are.
INSERT INTO usage_event_row (event_ref, occurred_at, fingerprint, rated_at, shard_key, tenant_id,
                             customer_id, meter_id, quantity, additional_data)
SELECT (lpad(to_hex($2::integer), 3, '0') || substr(md5(number::text), 4))::uuid,
       timestamptz '2024-01-15', number, number,
       number / 100 * (2147483647 / ($1::bigint / 100)), 1, 1, 1, number % 1000, ''
FROM generate_series($3::bigint, $3 + $4::bigint - 1) AS number;

-- name: end_with_january
WITH closing AS (UPDATE contract SET closing = 'AUTOMATIC')
UPDATE contract_product SET billing_end_date = date '2024-01-31';

-- name: make_january_events
-- $1 events of one unit for each customer. The month is the 288th of the refs, 3 hexadecimal digits.
INSERT INTO usage_event_row (event_ref, occurred_at, fingerprint, rated_at, shard_key, tenant_id,
                             customer_id, meter_id, quantity, additional_data)
SELECT ('120' || substr(md5(customer_id || '/' || number), 4))::uuid,
       timestamptz '2024-01-02T00:00:00Z' + number * interval '1 day', 0, -1, shard_key,
       customer.tenant_id, customer_id, meter_id, 1, '{"region": "eu", "number": 7}'
FROM customer CROSS JOIN meter CROSS JOIN generate_series(1, $1::integer) AS number;

-- name: cuts_told
SELECT (SELECT count(*) FROM period_cut) - (SELECT count(*) FROM undigested_cut)
     - (SELECT count(*) FROM rater_outbox);

-- name: all_events
SELECT event_ref || ',' || occurred_at || ',' || quantity || ',' || additional_data AS text
FROM usage_event ORDER BY shard_key, event_ref;
