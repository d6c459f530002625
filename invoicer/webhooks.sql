-- Statements for webhooks on their way.

-- name: claim_endpoint
-- An endpoint with something due that nobody is delivering to, the one that waited longest first.
UPDATE webhook_endpoint e SET leased_until = now() + $1::interval
FROM (
    SELECT tenant_id, endpoint_ref FROM webhook_endpoint own
    WHERE is_enabled AND (leased_until IS NULL OR leased_until < now())
      AND EXISTS (
        SELECT FROM webhook_delivery d
        WHERE d.tenant_id = own.tenant_id AND d.endpoint_ref = own.endpoint_ref
          AND d.state = 'PENDING' AND d.due_at <= now())
    ORDER BY leased_until NULLS FIRST
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
) found
WHERE e.tenant_id = found.tenant_id AND e.endpoint_ref = found.endpoint_ref
RETURNING e.tenant_id, e.endpoint_ref;

-- name: next_delivery
-- The oldest one that is due, with all that it takes; the lease goes on with it.
UPDATE webhook_endpoint e SET leased_until = now() + $3::interval
FROM (
    SELECT delivery_id, event_ref, attempts FROM webhook_delivery
    WHERE tenant_id = $1 AND endpoint_ref = $2 AND state = 'PENDING' AND due_at <= now()
    ORDER BY due_at, delivery_id
    LIMIT 1
) d, webhook_event v
WHERE e.tenant_id = $1 AND e.endpoint_ref = $2 AND e.is_enabled
  AND v.tenant_id = $1 AND v.event_ref = d.event_ref
RETURNING d.delivery_id, d.attempts, v.event_ref, v.payload, e.url, e.secret,
    CASE WHEN e.old_until > now() THEN e.old_secret END AS old_secret;

-- name: note_attempt
-- Postponed by $5, dead without it, delivered without an error.
UPDATE webhook_delivery SET attempts = attempts + 1, last_at = now(), last_status = $3::integer,
    last_error = $4::text, due_at = now() + coalesce($5::interval, interval '0'),
    state = CASE WHEN $4::text IS NULL THEN 'DELIVERED' WHEN $5::interval IS NULL THEN 'DEAD' ELSE 'PENDING' END
WHERE tenant_id = $1 AND delivery_id = $2;

-- name: note_health
-- What fails for long is turned off, with a reason that its owner reads.
UPDATE webhook_endpoint SET
    failing_since = CASE WHEN $3::text IS NULL THEN NULL ELSE coalesce(failing_since, now()) END,
    is_enabled = is_enabled AND ($3 IS NULL OR failing_since IS NULL
                                 OR failing_since > now() - $4::interval),
    disabled_reason = CASE
        WHEN $3 IS NOT NULL AND is_enabled AND failing_since <= now() - $4::interval
        THEN 'nothing was taken since ' || failing_since || '; at last: ' || $3
        ELSE disabled_reason END
WHERE tenant_id = $1 AND endpoint_ref = $2
RETURNING is_enabled;

-- name: release_endpoint
UPDATE webhook_endpoint SET leased_until = NULL WHERE tenant_id = $1 AND endpoint_ref = $2;

-- name: count_waiting
SELECT count(*) FILTER (WHERE state = 'DEAD') AS dead,
    coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'PENDING')), 0)
    ::double precision AS age
FROM webhook_delivery WHERE state <> 'DELIVERED';

-- name: prune_events
DELETE FROM webhook_event WHERE (tenant_id, event_ref) IN (
    SELECT tenant_id, event_ref FROM webhook_event
    WHERE occurred_at < now() - interval '30 days' ORDER BY occurred_at LIMIT 1000);
