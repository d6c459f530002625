-- Reference data that the gateway keeps in memory.

-- name: list_tenants
-- Every tenant and the version of its reference data.
SELECT t.tenant_id, t.tenant_ref, coalesce(v.version, 0) AS version,
    (SELECT max(archived_until) FROM rater_partition) AS archived_until
FROM tenant t LEFT JOIN reference_version v USING (tenant_id);

-- name: find_settings
SELECT refuses_unknown_fields, age_days_max FROM tenant_setting WHERE tenant_id = $1;

-- name: list_customers_since
SELECT customer_ref, shard_key, name, external_id FROM customer
WHERE tenant_id = $1 AND reference_version > $2;

-- name: list_meters_since
-- parent_ref: the meter that its events count toward.
SELECT m.usage_product_ref, m.name, m.formula, p.usage_product_ref AS parent_ref
FROM meter m LEFT JOIN meter p ON p.tenant_id = m.tenant_id AND p.meter_id = m.parent_meter_id
WHERE m.tenant_id = $1 AND m.reference_version > $2;

-- name: list_formats_since
-- A deleted one is news, too.
SELECT format_ref, name, definition, deleted_at IS NOT NULL AS is_deleted
FROM usage_format WHERE tenant_id = $1 AND reference_version > $2;

-- name: list_coverages_since
-- What contracts that are newer price, a row a line that measures something: all versions of their
-- products, each within the days that it is to count on once it was swapped in.
SELECT c.customer_ref, m.usage_product_ref, k.contract_ref, k.contract_number, e.entity_ref,
    p.position, p.version, p.document_group, p.currency, p.billing_start_date, p.billing_end_date,
    p.cycle_unit, p.cycle_length, p.issue_day, p.payment_time, p.timezone, p.net_terms,
    p.ahead_since, p.since_date, least(p.until_date, (
        SELECT min(s.from_date) FROM contract_succession s
        WHERE s.shard_key = p.shard_key AND s.contract_product_ref = p.contract_product_ref
    )) AS until_date, pl.price::text AS price
FROM contract k
JOIN customer c ON c.shard_key = k.shard_key AND c.customer_id = k.customer_id
JOIN contract_product p ON p.shard_key = k.shard_key AND p.contract_ref = k.contract_ref
JOIN entity e ON e.tenant_id = p.tenant_id AND e.entity_id = p.entity_id
JOIN contract_line l
    ON l.shard_key = p.shard_key AND l.contract_product_ref = p.contract_product_ref
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
JOIN meter m ON m.tenant_id = pl.tenant_id AND m.meter_id = pl.meter_id
WHERE k.tenant_id = $1 AND k.reference_version > $2;

-- name: list_api_keys_since
SELECT tenant_id, api_key_ref, api_key, password_hash, next_password_hash, password_number, scopes,
    expires_at, revoked_at
FROM api_key WHERE tenant_id = $1 AND reference_version > $2;

-- name: find_api_key
SELECT tenant_id, api_key_ref, api_key, password_hash, next_password_hash, password_number, scopes,
    expires_at, revoked_at
FROM api_key WHERE api_key = $1 AND revoked_at IS NULL;

-- name: list_revoked_tokens_since
-- Those that would be believed otherwise.
SELECT token_id, expires_at FROM revoked_token
WHERE tenant_id = $1 AND reference_version > $2 AND expires_at > now() - interval '5 minutes';

-- name: find_customers
-- Customers of a tenant by their refs, with the shard keys computed from them.
SELECT customer_ref, shard_key, name, external_id FROM customer
WHERE tenant_id = $1
  AND (shard_key, customer_ref) IN (SELECT * FROM unnest($2::integer[], $3::uuid[]));

-- name: find_meters
-- Meters by their refs, and those that they count toward.
SELECT DISTINCT m.usage_product_ref, m.name, m.formula, p.usage_product_ref AS parent_ref
FROM meter named
JOIN meter_feed f ON f.tenant_id = named.tenant_id AND f.meter_id = named.meter_id
JOIN meter m ON m.tenant_id = f.tenant_id AND m.meter_id = f.toward_id
LEFT JOIN meter p ON p.tenant_id = m.tenant_id AND p.meter_id = m.parent_meter_id
WHERE named.tenant_id = $1 AND named.usage_product_ref = ANY($2::uuid[]);

-- name: find_log
-- The identity and the partitions of the topic of usage events.
SELECT log_id, partitions FROM event_log WHERE topic = $1;

-- name: list_progress
-- How far each partition of the log is rated.
SELECT partition, next_offset FROM rater_partition;
