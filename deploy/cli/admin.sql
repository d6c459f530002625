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
