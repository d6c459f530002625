-- What `meterline admin` asks beside what the gateway does itself.

-- name: list_tenants
SELECT tenant_id, tenant_ref, name FROM tenant ORDER BY tenant_id;

-- name: list_audit_entries
-- The newest of a tenant (null: of all, and of the installation), between two times, of an actor.
SELECT e.number, e.entry, e.hash, t.tenant_ref
FROM audit_entry e LEFT JOIN tenant t USING (tenant_id)
WHERE ($1::integer IS NULL OR e.tenant_id = $1)
    AND ($2::timestamptz IS NULL OR audit_time(e.entry) >= $2)
    AND ($3::timestamptz IS NULL OR audit_time(e.entry) < $3)
    AND ($4::text IS NULL OR e.entry::jsonb ->> 'actor' = $4)
ORDER BY audit_time(e.entry) DESC, e.tenant_id, e.number DESC LIMIT $5;

-- name: list_mails
-- Mails that are not with their customers yet, of a tenant (null: of all), the oldest first. A
-- refused one is tried no more.
SELECT t.tenant_ref, o.document_ref, d.document_number,
    d.parties #>> '{customer,email}' AS email, o.attempts, o.last_error, o.created_at,
    CASE o.due_at WHEN 'infinity' THEN NULL ELSE o.due_at END AS due_at,
    CASE WHEN o.due_at = 'infinity' THEN 'REFUSED'
         WHEN o.attempts > 0 THEN 'POSTPONED' ELSE 'WAITING' END AS state
FROM invoicer_outbox o
JOIN document d USING (shard_key, document_ref)
JOIN tenant t ON t.tenant_id = o.tenant_id
WHERE o.kind IN ('MAIL', 'REMINDER') AND ($1::integer IS NULL OR o.tenant_id = $1)
ORDER BY o.created_at, o.outbox_id LIMIT $2;

-- name: mail_again
-- Try waiting mails of a tenant (null: of all) now: one document's, or everyone's.
UPDATE invoicer_outbox o SET due_at = now(), attempts = 0
FROM document d
WHERE o.kind IN ('MAIL', 'REMINDER') AND ($1::integer IS NULL OR o.tenant_id = $1)
    AND d.shard_key = o.shard_key AND d.document_ref = o.document_ref
    AND ($2::text IS NULL OR d.document_number = $2);
