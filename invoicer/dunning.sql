-- What is not paid in time: documents become late, and customers are reminded.

-- name: act_for_clock
SELECT set_config('meterline.cause', 'CLOCK', true);

-- name: load_overdue
-- A page of what is past its due date by the entity's clock and not late yet, behind a place; and
-- whether it becomes late: something is due, and it has left. Those that are still to be drawn are
-- due from the day on which they leave. What is due takes a while to add up, so it is of a page.
WITH candidate AS MATERIALIZED (
    SELECT d.shard_key, d.document_ref, d.due_date, d.total FROM document d
    JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
    WHERE d.state IN ('ISSUED', 'SENT', 'PARTIALLY_PAID') AND d.total > 0
      AND d.due_date <= ($1::timestamptz AT TIME ZONE 'UTC')::date + 1
      AND d.due_date < ($1::timestamptz AT TIME ZONE e.timezone)::date
      AND (d.due_date, d.shard_key, d.document_ref) > ($3::date, $4::integer, $5::uuid)
    ORDER BY d.due_date, d.shard_key, d.document_ref LIMIT $2
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
SELECT c.due_date, c.shard_key, c.document_ref, CASE WHEN o.is_drawn
    THEN document_due(c.shard_key, c.document_ref, c.total) > 0 ELSE false END AS is_late
FROM candidate c
CROSS JOIN LATERAL (
    SELECT count(*) = 0 AS is_drawn FROM invoicer_outbox own
    WHERE own.shard_key = c.shard_key AND own.document_ref = c.document_ref
      AND own.kind = 'RENDER'
) o
ORDER BY c.due_date, c.shard_key, c.document_ref;

-- name: mark_late
UPDATE document d SET state = 'LATE'
FROM unnest($1::integer[], $2::uuid[]) AS k (shard_key, document_ref)
WHERE d.shard_key = k.shard_key AND d.document_ref = k.document_ref;

-- name: load_unreminded
-- A page of unpaid documents behind a place with a step of their tenant's schedule behind the last
-- one made that lies less than $6 days back; and whether something is due of them.
WITH candidate AS MATERIALIZED (
    SELECT d.shard_key, d.document_ref, d.tenant_id, d.due_date, d.total, s.reminder_days AS steps,
        ($1::timestamptz AT TIME ZONE e.timezone)::date AS today, r.made
    FROM document d
    JOIN tenant_setting s ON s.tenant_id = d.tenant_id AND s.reminder_days <> '{}'
    JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(days), '{}') AS made FROM document_reminder r
        WHERE r.shard_key = d.shard_key AND r.document_ref = d.document_ref
    ) r
    WHERE d.state IN ('ISSUED', 'SENT', 'PARTIALLY_PAID', 'LATE') AND d.total > 0
      AND d.due_date BETWEEN ($1::timestamptz AT TIME ZONE 'UTC')::date - 380
                         AND ($1::timestamptz AT TIME ZONE 'UTC')::date + 70
      AND EXISTS (
          SELECT FROM unnest(s.reminder_days) AS step
          WHERE d.due_date + step <= ($1::timestamptz AT TIME ZONE e.timezone)::date
            AND d.due_date + step > ($1::timestamptz AT TIME ZONE e.timezone)::date - $6::integer
            AND step > ALL (r.made))
      AND (d.due_date, d.shard_key, d.document_ref) > ($3::date, $4::integer, $5::uuid)
    ORDER BY d.due_date, d.shard_key, d.document_ref LIMIT $2
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
SELECT c.*, document_due(c.shard_key, c.document_ref, c.total) > 0 AS is_due
FROM candidate c ORDER BY c.due_date, c.shard_key, c.document_ref;

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
