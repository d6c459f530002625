-- Statements of `meterline dead`: those of every tenant, and of none.

-- name: list_dead_letters
SELECT d.partition || '-' || d.record_offset AS id, d.appended_at, d.reason, d.detail,
       t.tenant_ref::text AS tenant_ref,
       (SELECT count(*) FROM dead_letter_retry r WHERE r.shard_key = d.shard_key
        AND r.partition = d.partition AND r.record_offset = d.record_offset) AS retries
FROM dead_letter d LEFT JOIN tenant t USING (tenant_id)
ORDER BY d.appended_at DESC, d.partition, d.record_offset DESC LIMIT $1;

-- name: find_dead_letters
SELECT d.partition || '-' || d.record_offset AS id, d.partition, d.record_offset, d.record_key,
       d.value, d.tenant_id, d.origin_partition, d.origin_offset
FROM dead_letter d
WHERE (d.partition || '-' || d.record_offset) = ANY ($1::text[])
ORDER BY d.partition, d.record_offset;

-- name: find_log
SELECT topic, partitions FROM event_log;

-- name: add_retry
INSERT INTO dead_letter_retry (shard_key, partition, record_offset, retry_partition, retry_offset,
                               tenant_id)
VALUES ($1, $2, $3, $4, $5, $6);
