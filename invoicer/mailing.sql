-- What mails are made with beside the documents and their files.

-- name: load_wants
-- What the link to a document's page is sealed with, as it is now: one that was revoked is dead. And
-- whether the customer wants the usage with it, by the settings of now.
SELECT d.tenant_id, coalesce(l.generation, 0) AS generation, k.secret,
    coalesce(c.details #>> '{settings,attach_usage_logs_csv}' = 'true', false) AS wants_csv,
    coalesce(c.details #>> '{settings,attach_usage_logs_pdf}' = 'true', false) AS wants_pdf
FROM document d CROSS JOIN link_key k
JOIN customer c ON c.shard_key = d.shard_key AND c.customer_id = d.customer_id
LEFT JOIN document_link l ON l.shard_key = d.shard_key AND l.document_ref = d.document_ref
WHERE d.shard_key = $1 AND d.document_ref = $2;
