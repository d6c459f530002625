-- Links to the pages of documents, and what the pages tell.

-- name: find_link_key
-- Run by the service itself: tenants can't read it.
SELECT secret FROM link_key;

-- name: list_generations
-- How often links were revoked; those that never were have no row.
SELECT document_ref, generation FROM document_link
WHERE tenant_id = $1 AND shard_key = ANY ($2) AND document_ref = ANY ($3);

-- name: revoke_link
INSERT INTO document_link (shard_key, document_ref, tenant_id, generation) VALUES ($2, $3, $1, 1)
ON CONFLICT (shard_key, document_ref) DO UPDATE SET generation = document_link.generation + 1;

-- name: find_page
-- An issued document for its page, if the link to it is the one of today.
SELECT d.document_number, d.state, d.currency, d.due_date, d.paid_date, d.total,
    coalesce((now() AT TIME ZONE e.timezone)::date > d.due_date, false) AS is_late,
    f.content, d.accounting_event_type,
    'true' IN (cu.details #>> '{settings,attach_usage_logs_csv}',
        cu.details #>> '{settings,attach_usage_logs_pdf}') IS TRUE AS has_usage_list
FROM document d JOIN entity e ON e.tenant_id = d.tenant_id AND e.entity_id = d.entity_id
JOIN customer cu ON cu.shard_key = d.shard_key AND cu.customer_id = d.customer_id
LEFT JOIN document_link l ON l.shard_key = d.shard_key AND l.document_ref = d.document_ref
LEFT JOIN document_file f ON f.shard_key = d.shard_key
    AND f.document_ref = d.document_ref AND f.kind = $5 AND f.tenant_id = d.tenant_id
WHERE d.tenant_id = $1 AND d.shard_key = $2 AND d.document_ref = $3 AND d.number IS NOT NULL
    AND coalesce(l.generation, 0) = $4;
