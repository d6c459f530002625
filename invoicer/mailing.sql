-- What mails are made with beside the documents and their files.

-- name: load_link
-- What the link to a document's page is sealed with, as it is now: one that was revoked is dead.
SELECT d.tenant_id, coalesce(l.generation, 0) AS generation, k.secret
FROM document d CROSS JOIN link_key k
LEFT JOIN document_link l ON l.shard_key = d.shard_key AND l.document_ref = d.document_ref
WHERE d.shard_key = $1 AND d.document_ref = $2;
