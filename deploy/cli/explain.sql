-- Documents of any tenant, for whoever may see them all.

-- name: find_owner
-- Whose a document is, for whoever may see them all: by its ref, $1, in the shard $2.
SELECT tenant_id, document_ref FROM document WHERE document_ref = $1 AND shard_key = $2;

-- name: find_by_number
-- The documents of any tenant that bear a number.
SELECT tenant_id, document_ref FROM document WHERE document_number = $1 ORDER BY document_ref;
