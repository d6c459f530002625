-- A customer with a year of usage, made set-wise, for the benchmark of reports.

-- name: make_months
SELECT ensure_usage_month(month) FROM generate_series(288, 299) AS month;

-- name: make_year
-- $2 events of a customer and a meter, evenly over 2024, with refs as they are made: month, then
-- what looks random. $1: the customer's ref.
INSERT INTO usage_event_row (event_ref, occurred_at, fingerprint, rated_at, shard_key, tenant_id,
                             customer_id, meter_id, quantity, additional_data)
SELECT (lpad(to_hex(287 + extract(month FROM at)::integer), 3, '0')
        || substr(md5(number || '/' || customer_id), 4))::uuid,
       at, number, number, shard_key, customer.tenant_id, customer_id, meter_id,
       number % 1000 / 8.0, '{"region": "eu"}'
FROM customer CROSS JOIN meter CROSS JOIN generate_series(1, $2::bigint) AS number
CROSS JOIN LATERAL (
    SELECT timestamptz '2024-01-01T00:00:00Z' + interval '366 days' * (number / ($2 + 1.0)) AS at
) AS placed
WHERE customer_ref = $1;

-- name: make_periods
-- The twelve months of 2024 of every contract product, in UTC.
INSERT INTO billing_period (
    shard_key, period_ref, tenant_id, contract_product_ref, period_index, start_at, end_at,
    start_date, end_date, full_start_date, full_end_date, issue_date, is_partial)
SELECT shard_key, gen_random_uuid(), tenant_id, contract_product_ref, number, start_at,
       start_at + interval '1 month', start_at, start_at + interval '1 month', start_at,
       start_at + interval '1 month', start_at + interval '1 month', false
FROM contract_product CROSS JOIN generate_series(0, 11) AS number
CROSS JOIN LATERAL (
    SELECT timestamptz '2024-01-01T00:00:00Z' + number * interval '1 month' AS start_at) AS placed;

-- name: roll_up
WITH counted AS (
    INSERT INTO rolled_customer (shard_key, customer_id, tenant_id, event_count)
    SELECT shard_key, customer_id, tenant_id, $2 FROM customer WHERE customer_ref = $1
    ON CONFLICT DO NOTHING
)
SELECT shard_key, customer_id, tenant_id FROM customer WHERE customer_ref = $1;

-- name: roll_up_customer
SELECT roll_up_customer($1, $2);

-- name: rollup_bytes
SELECT pg_total_relation_size('usage_rollup');

-- name: sum_rollup
-- What a report must read at least.
SELECT meter_id, slot / 96, sum(quantity), sum(event_count) FROM usage_rollup
WHERE shard_key = $1 AND customer_id = $2 GROUP BY 1, 2;

-- name: sum_events
-- What it would read without sums.
SELECT meter_id, date_trunc('day', occurred_at), sum(quantity), count(*) FROM usage_event
WHERE shard_key = $1 AND customer_id = $2 GROUP BY 1, 2;
