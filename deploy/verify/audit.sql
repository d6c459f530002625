-- The audit log. $1 is a tenant, or NULL for all of them.

-- name: entries
-- Each tenant's entries in their order.
SELECT tenant_id, number, entry, hash FROM audit_entry
WHERE $1::integer IS NULL OR tenant_id = $1 ORDER BY tenant_id, number;

-- name: heads
-- Where each tenant's chain ends, or is said to end.
SELECT tenant_id, number, hash FROM audit_head WHERE $1::integer IS NULL OR tenant_id = $1;
