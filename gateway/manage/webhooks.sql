-- Webhook endpoints of a tenant, and what is on its way to them. Secrets are written, never read.

-- name: count_endpoints
SELECT count(*) FROM webhook_endpoint WHERE tenant_id = $1;

-- name: add_endpoint
INSERT INTO webhook_endpoint (tenant_id, endpoint_ref, url, description, events, secret)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: find_endpoint
SELECT endpoint_ref, url, description, events, is_enabled, disabled_reason, failing_since,
    old_until, created_at
FROM webhook_endpoint WHERE tenant_id = $1 AND endpoint_ref = $2;

-- name: list_endpoints
SELECT endpoint_ref, url, description, events, is_enabled, disabled_reason, failing_since,
    old_until, created_at
FROM webhook_endpoint WHERE tenant_id = $1 ORDER BY created_at, endpoint_ref;

-- name: change_endpoint
-- One that is turned on again starts anew.
UPDATE webhook_endpoint SET url = $3, description = $4, events = $5, is_enabled = $6,
    disabled_reason = CASE WHEN $6 THEN NULL ELSE coalesce(disabled_reason, 'turned off') END,
    failing_since = CASE WHEN $6 AND NOT is_enabled THEN NULL ELSE failing_since END
WHERE tenant_id = $1 AND endpoint_ref = $2;

-- name: rotate_secret
UPDATE webhook_endpoint SET secret = $3 WHERE tenant_id = $1 AND endpoint_ref = $2;

-- name: delete_endpoint
DELETE FROM webhook_endpoint WHERE tenant_id = $1 AND endpoint_ref = $2;

-- name: add_test
INSERT INTO webhook_event (tenant_id, event_ref, type, subject_ref, payload)
VALUES ($1, $2, $3, $4, $5);

-- name: add_delivery
INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref) VALUES ($1, $2, $3)
RETURNING delivery_id;

-- name: replay_one
INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref)
SELECT tenant_id, endpoint_ref, event_ref FROM webhook_delivery
WHERE tenant_id = $1 AND endpoint_ref = $2 AND delivery_id = $3
RETURNING delivery_id;

-- name: replay_span
-- What happened in a span of time and the endpoint hears of, oldest first; what is on its way is
-- left alone.
INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref)
SELECT v.tenant_id, e.endpoint_ref, v.event_ref
FROM webhook_event v
JOIN webhook_endpoint e ON e.tenant_id = v.tenant_id AND e.endpoint_ref = $2
WHERE v.tenant_id = $1 AND v.occurred_at >= $3 AND v.occurred_at < $4
  AND (e.events = '{}' OR v.type = ANY (e.events)) AND v.type <> 'webhook.test'
  AND NOT EXISTS (
    SELECT FROM webhook_delivery d
    WHERE d.tenant_id = v.tenant_id AND d.event_ref = v.event_ref
      AND d.endpoint_ref = e.endpoint_ref AND d.state = 'PENDING')
ORDER BY v.occurred_at, v.event_ref
LIMIT $5
RETURNING delivery_id;

-- name: list_deliveries
-- A page, newest first.
SELECT d.delivery_id, d.event_ref, v.type, v.subject_ref, v.occurred_at, d.state, d.attempts,
    CASE WHEN d.state = 'PENDING' THEN d.due_at END AS due_at, d.last_at, d.last_status,
    d.last_error
FROM webhook_delivery d
JOIN webhook_event v ON v.tenant_id = d.tenant_id AND v.event_ref = d.event_ref
WHERE d.tenant_id = $1 AND d.endpoint_ref = $2 AND d.delivery_id < $3
ORDER BY d.delivery_id DESC LIMIT $4;
