-- Contracts of any tenant, for whoever may see them all.

-- name: find_by_ref
-- Whose a contract is, or was while it was a draft: by its ref, $1, in the shard $2.
SELECT tenant_id, contract_ref FROM contract WHERE contract_ref = $1 AND shard_key = $2
UNION
SELECT tenant_id, contract_ref FROM contract_draft WHERE contract_ref = $1 AND shard_key = $2
UNION
SELECT t.tenant_id, $1 FROM tenant t
WHERE EXISTS (
    SELECT FROM audit_entry e
    WHERE e.tenant_id = t.tenant_id AND e.subject = $1::text
      AND starts_with(e.entry::jsonb ->> 'action', 'contract.')
);

-- name: find_by_number
SELECT tenant_id, contract_ref FROM contract WHERE tenant_id = $1 AND contract_number = $2;
