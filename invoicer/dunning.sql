-- What is not paid in time: documents become late, and customers are reminded.

-- name: act_for_clock
SELECT set_config('meterline.cause', 'CLOCK', true);

-- name: mark_late
-- Documents that are past their due date by the entity's clock while something is due. Those that
-- are still to be drawn are due from the day on which they leave.
UPDATE document SET state = 'LATE'
WHERE (shard_key, document_ref) IN (
    SELECT d.shard_key, d.document_ref FROM document d
    JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
    WHERE d.state IN ('ISSUED', 'SENT', 'PARTIALLY_PAID') AND d.total > 0
      AND d.due_date <= ($1::timestamptz AT TIME ZONE 'UTC')::date + 1
      AND d.due_date < ($1::timestamptz AT TIME ZONE e.timezone)::date
      -- In this order: what is due takes a while to add up.
      AND CASE WHEN EXISTS (
              SELECT FROM invoicer_outbox o
              WHERE o.shard_key = d.shard_key AND o.document_ref = d.document_ref
                AND o.kind = 'RENDER')
          THEN false ELSE document_due(d.shard_key, d.document_ref, d.total) > 0 END
    ORDER BY d.due_date LIMIT $2
    FOR NO KEY UPDATE OF d SKIP LOCKED);

-- name: load_unreminded
-- Documents of which something is due, with a step of their tenant's schedule behind the last one
-- made that lies less than $3 days back.
SELECT d.shard_key, d.document_ref, d.tenant_id, d.due_date, s.reminder_days AS steps,
    ($1::timestamptz AT TIME ZONE e.timezone)::date AS today,
    coalesce(r.made, '{}') AS made
FROM document d
JOIN tenant_setting s ON s.tenant_id = d.tenant_id AND s.reminder_days <> '{}'
JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
CROSS JOIN LATERAL (
    SELECT array_agg(days) AS made FROM document_reminder r
    WHERE r.shard_key = d.shard_key AND r.document_ref = d.document_ref
) r
WHERE d.state IN ('ISSUED', 'SENT', 'PARTIALLY_PAID', 'LATE') AND d.total > 0
  AND d.due_date BETWEEN ($1::timestamptz AT TIME ZONE 'UTC')::date - 380
                     AND ($1::timestamptz AT TIME ZONE 'UTC')::date + 70
  AND EXISTS (
      SELECT FROM unnest(s.reminder_days) AS step
      WHERE d.due_date + step <= ($1::timestamptz AT TIME ZONE e.timezone)::date
        AND d.due_date + step > ($1::timestamptz AT TIME ZONE e.timezone)::date - $3::integer
        AND step > ALL (coalesce(r.made, '{}')))
  AND document_due(d.shard_key, d.document_ref, d.total) > 0
ORDER BY d.due_date LIMIT $2
FOR NO KEY UPDATE OF d SKIP LOCKED;

-- name: add_reminders
WITH made AS (
    INSERT INTO document_reminder (shard_key, document_ref, tenant_id, days, made_at)
    SELECT *, $5::timestamptz
    FROM unnest($1::integer[], $2::uuid[], $3::integer[], $4::integer[])
    RETURNING shard_key, document_ref, tenant_id, days
)
INSERT INTO invoicer_outbox (shard_key, tenant_id, document_ref, kind, copy)
SELECT shard_key, tenant_id, document_ref, 'REMINDER', days FROM made;

-- name: load_due
-- What is due of a document that a reminder is for; nothing any more once it is paid or void.
SELECT document_due(d.shard_key, d.document_ref, d.total) AS due FROM document d
WHERE d.shard_key = $1 AND d.document_ref = $2
  AND d.state IN ('ISSUED', 'SENT', 'PARTIALLY_PAID', 'LATE');
