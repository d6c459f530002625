-- name: lock_bootstrap
-- One process at a time prepares a database.
SELECT pg_advisory_xact_lock(hashtext('meterline_bootstrap'));

-- name: find_log
-- The log of usage events that this database rates: there is at most one.
SELECT topic, partitions FROM event_log;

-- name: add_log
INSERT INTO event_log (log_id, topic, partitions) VALUES ($1, $2, $3);

-- name: add_log_partitions
-- Rating starts at the first record of every partition.
INSERT INTO rater_partition (partition, log_id)
SELECT partition, $1 FROM generate_series(0, $2::integer - 1) AS partition;

-- name: has_tenant
SELECT EXISTS (SELECT FROM tenant);

-- name: has_api_key
SELECT EXISTS (SELECT FROM api_key WHERE api_key = $1 AND revoked_at IS NULL);

-- name: add_tenant
INSERT INTO tenant (tenant_ref, name) VALUES ($1, $2) RETURNING tenant_id;

-- name: add_default_entity
WITH added AS (
    INSERT INTO entity (tenant_id, entity_ref, name, legal_name, timezone, currency)
    VALUES ($1, $2, $3, $3, $4, $5) RETURNING tenant_id, entity_id
)
UPDATE tenant SET default_entity_id = added.entity_id
FROM added WHERE tenant.tenant_id = added.tenant_id;

-- name: add_api_key
INSERT INTO api_key (tenant_id, api_key_ref, api_key, password_hash, scopes)
VALUES ($1, $2, $3, $4, $5);

-- name: add_admin
INSERT INTO admin_user (tenant_id, admin_ref, email, password_hash, scopes)
VALUES ($1, $2, $3, $4, $5);
