-- Webhooks of any tenant, for whoever may see them all. A null tenant or endpoint means any. Secrets
-- are never read.

-- name: list_endpoints
-- Endpoints with what is on its way to each, and what was given up.
SELECT t.tenant_ref, e.endpoint_ref, e.url, e.events, e.is_enabled, e.disabled_reason,
    e.failing_since, e.created_at, coalesce(d.pending, 0) AS pending, coalesce(d.dead, 0) AS dead,
    d.waiting_since
FROM webhook_endpoint e JOIN tenant t USING (tenant_id)
LEFT JOIN (
    SELECT tenant_id, endpoint_ref, count(*) FILTER (WHERE state = 'PENDING') AS pending,
        count(*) FILTER (WHERE state = 'DEAD') AS dead,
        min(created_at) FILTER (WHERE state = 'PENDING') AS waiting_since
    FROM webhook_delivery WHERE state <> 'DELIVERED' GROUP BY tenant_id, endpoint_ref
) d ON d.tenant_id = e.tenant_id AND d.endpoint_ref = e.endpoint_ref
WHERE $1::integer IS NULL OR e.tenant_id = $1
ORDER BY t.tenant_ref, e.created_at, e.endpoint_ref LIMIT $2;

-- name: list_deliveries
-- The newest deliveries; $3: of those that failed alone, at least once and not delivered since.
SELECT d.delivery_id, t.tenant_ref, e.endpoint_ref, e.url, v.type, v.subject_ref, v.event_ref,
    v.occurred_at, d.state, d.attempts, CASE WHEN d.state = 'PENDING' THEN d.due_at END AS due_at,
    d.last_at, d.last_status, d.last_error
FROM webhook_delivery d
JOIN webhook_endpoint e ON e.tenant_id = d.tenant_id AND e.endpoint_ref = d.endpoint_ref
JOIN webhook_event v ON v.tenant_id = d.tenant_id AND v.event_ref = d.event_ref
JOIN tenant t ON t.tenant_id = d.tenant_id
WHERE ($1::integer IS NULL OR d.tenant_id = $1) AND ($2::uuid IS NULL OR d.endpoint_ref = $2)
  AND (NOT $3::boolean OR (d.state <> 'DELIVERED' AND d.attempts > 0))
ORDER BY d.delivery_id DESC LIMIT $4;

-- name: find_endpoint
SELECT tenant_id FROM webhook_endpoint WHERE endpoint_ref = $1 FOR NO KEY UPDATE;

-- name: send_at_once
-- What failed and is tried again later is due now.
UPDATE webhook_delivery SET due_at = now()
WHERE tenant_id = $1 AND endpoint_ref = $2 AND state = 'PENDING' AND attempts > 0
  AND ($3::bigint IS NULL OR delivery_id = $3)
RETURNING delivery_id;

-- name: send_anew
-- What was given up goes out again, as a delivery of its own with the same webhook-id; once, while
-- the new one is on its way.
INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref)
SELECT d.tenant_id, d.endpoint_ref, d.event_ref FROM webhook_delivery d
WHERE d.tenant_id = $1 AND d.endpoint_ref = $2 AND d.state = 'DEAD'
  AND ($3::bigint IS NULL OR d.delivery_id = $3)
  AND NOT EXISTS (
    SELECT FROM webhook_delivery n
    WHERE n.tenant_id = d.tenant_id AND n.event_ref = d.event_ref
      AND n.endpoint_ref = d.endpoint_ref AND n.delivery_id > d.delivery_id
      AND n.state IN ('PENDING', 'DELIVERED'))
GROUP BY d.tenant_id, d.endpoint_ref, d.event_ref
ORDER BY min(d.delivery_id)
RETURNING delivery_id;

-- name: turn_on
UPDATE webhook_endpoint SET is_enabled = true, disabled_reason = NULL, failing_since = NULL
WHERE tenant_id = $1 AND endpoint_ref = $2 AND NOT is_enabled RETURNING endpoint_ref;
