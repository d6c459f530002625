-- Formats as the management routes keep them. Each runs in a tenant's transaction.

-- name: add_format
INSERT INTO usage_format (tenant_id, format_ref, name, definition) VALUES ($1, $2, $3, $4);

-- name: count_formats
SELECT count(*) FROM usage_format WHERE tenant_id = $1 AND deleted_at IS NULL;

-- name: find_format
SELECT * FROM usage_format WHERE tenant_id = $1 AND format_ref = $2 AND deleted_at IS NULL;

-- name: hold_format
SELECT * FROM usage_format WHERE tenant_id = $1 AND format_ref = $2 AND deleted_at IS NULL
FOR UPDATE;

-- name: list_formats
-- A page, in the order they were made.
SELECT * FROM usage_format WHERE tenant_id = $1 AND format_id > $2::bigint AND deleted_at IS NULL
ORDER BY format_id LIMIT $3;

-- name: change_format
UPDATE usage_format SET name = $3, definition = $4, updated_at = now()
WHERE tenant_id = $1 AND format_id = $2
RETURNING *;

-- name: delete_format
-- The row stays, so that every process learns of it.
UPDATE usage_format SET deleted_at = now() WHERE tenant_id = $1 AND format_id = $2;
