-- Versions of contracts. $1 is a tenant, or NULL for all of them.

-- name: versions_counted
SELECT count(*) FROM contract_product WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: versions_broken
-- A version that is rated prices from its first day on, and what it takes the place of does not;
-- one that is not prices nothing. Versions are numbered without a gap; none is of a draft.
WITH rated AS (
    SELECT shard_key, contract_ref, contract_version AS version FROM partition_task
    WHERE kind = 'CONTRACT' AND (is_swapped OR state = 'DONE')
)
SELECT format('contract product %s of version %s %s', contract_product_ref, version,
              CASE WHEN is_pending THEN 'is rated, and prices nothing'
                   ELSE 'prices before it is rated' END) AS witness
FROM contract_product product LEFT JOIN rated USING (shard_key, contract_ref, version)
WHERE ($1::integer IS NULL OR product.tenant_id = $1) AND product.version > 1
  AND is_pending = (rated.version IS NOT NULL)
UNION ALL
SELECT format('contract product %s prices up to %s, although version %s has ended it from %s on',
              contract_product_ref, coalesce(until_date::text, 'its end'), succession.version,
              from_date)
FROM contract_succession succession
JOIN rated USING (shard_key, contract_ref, version)
JOIN contract_product product USING (shard_key, contract_product_ref)
WHERE ($1::integer IS NULL OR succession.tenant_id = $1)
  AND coalesce(until_date > from_date, true)
UNION ALL
SELECT format('contract product %s begins before %s, when it takes the place of %s',
              successor_ref, from_date, succession.contract_product_ref)
FROM contract_succession succession
JOIN contract_product product
    ON (product.shard_key, product.contract_product_ref)
     = (succession.shard_key, succession.successor_ref)
WHERE ($1::integer IS NULL OR succession.tenant_id = $1)
  AND greatest(billing_start_date, since_date) < from_date
UNION ALL
SELECT format('contract %s is at version %s, and %s edits of it are noted', contract_ref,
              contract.version, noted)
FROM contract, LATERAL (
    SELECT count(*) FROM contract_version own
    WHERE (own.shard_key, own.contract_ref) = (contract.shard_key, contract.contract_ref)
      AND own.version > 1
) AS history (noted)
WHERE ($1::integer IS NULL OR contract.tenant_id = $1) AND contract.version <> noted + 1
UNION ALL
SELECT format('contract %s is a draft, too', contract_ref)
FROM contract_draft draft JOIN contract USING (shard_key, contract_ref)
WHERE $1::integer IS NULL OR draft.tenant_id = $1;
