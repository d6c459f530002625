-- Whether sums of usage are what their events come to.

-- name: sums_counted
SELECT count(*) FROM usage_rollup WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: sums_broken
-- Sums with what waits to be folded into them, beside the events as they count now.
WITH kept AS (
    SELECT shard_key, customer_id, meter_id, start_at, sum(event_count) AS events,
           sum(quantity) AS quantity
    FROM (
        SELECT shard_key, customer_id, meter_id, to_timestamp(slot::bigint * 900) AS start_at,
               event_count, quantity, tenant_id
        FROM usage_rollup
        UNION ALL
        SELECT shard_key, customer_id, meter_id,
               date_bin(grain * interval '15 minutes', to_timestamp(slot::bigint * 900),
                        timestamptz '1970-01-01'), entry.event_count, quantity, own.tenant_id
        FROM usage_tail CROSS JOIN LATERAL
            unnest(shard_keys, customer_ids, meter_ids, slots, event_counts, quantities)
            AS entry (shard_key, customer_id, meter_id, slot, event_count, quantity)
        JOIN rolled_customer own USING (shard_key, customer_id)
        WHERE grain IS NOT NULL
    ) AS part
    WHERE $1::integer IS NULL OR tenant_id = $1
    GROUP BY 1, 2, 3, 4
),
fold AS (
    SELECT shard_key, customer_id, meter_id,
           date_bin(grain * interval '15 minutes', occurred_at, timestamptz '1970-01-01')
           AS start_at, count(*) AS events, sum(quantity) AS quantity
    FROM counted_event JOIN rolled_customer own USING (shard_key, customer_id)
    WHERE grain IS NOT NULL AND until = 9223372036854775807
      AND ($1::integer IS NULL OR tenant_id = $1)
    GROUP BY 1, 2, 3, 4
)
SELECT format('customer %s, meter %s, from %s UTC: %s in %s events are kept, the events make %s in %s',
              customer_id, meter_id, start_at AT TIME ZONE 'UTC',
              trim_scale(coalesce(kept.quantity, 0)), coalesce(kept.events, 0),
              trim_scale(coalesce(fold.quantity, 0)), coalesce(fold.events, 0)) AS witness
FROM kept FULL JOIN fold USING (shard_key, customer_id, meter_id, start_at)
WHERE coalesce(kept.quantity, 0) <> coalesce(fold.quantity, 0)
   OR coalesce(kept.events, 0) <> coalesce(fold.events, 0);

-- name: customers_broken
-- How many events of each customer count, sums or not.
WITH kept AS (
    SELECT shard_key, customer_id, sum(events) AS events
    FROM (
        SELECT shard_key, customer_id, event_count AS events, tenant_id FROM rolled_customer
        UNION ALL
        SELECT shard_key, customer_id, entry.events, tenant_id
        FROM usage_tail CROSS JOIN LATERAL unnest(shard_keys, customer_ids, event_counts)
            AS entry (shard_key, customer_id, events)
    ) AS part
    WHERE $1::integer IS NULL OR tenant_id = $1
    GROUP BY 1, 2
),
fold AS (
    SELECT shard_key, customer_id, count(*) AS events
    FROM counted_event JOIN customer USING (shard_key, customer_id)
    WHERE until = 9223372036854775807 AND ($1::integer IS NULL OR tenant_id = $1)
    GROUP BY 1, 2
)
SELECT format('customer %s counts %s events, there are %s', customer_id,
              coalesce(kept.events, 0), coalesce(fold.events, 0)) AS witness
FROM kept FULL JOIN fold USING (shard_key, customer_id)
WHERE coalesce(kept.events, 0) <> coalesce(fold.events, 0);

-- name: places_broken
-- Where no report finds them: entries of the tail in another partition or place than their
-- customer's, of another tenant, or of nobody; sums of no events or of another tenant.
SELECT format('an entry of customer %s waits in partition %s at place %s, where none looks for it',
              entry.customer_id, partition, place) AS witness
FROM usage_tail CROSS JOIN LATERAL unnest(shard_keys, customer_ids)
    AS entry (shard_key, customer_id)
LEFT JOIN customer own ON own.shard_key = entry.shard_key
    AND own.customer_id = entry.customer_id AND own.tenant_id = usage_tail.tenant_id
WHERE ($1::integer IS NULL OR usage_tail.tenant_id = $1)
  AND (own.customer_id IS NULL
       OR partition <> entry.shard_key % (SELECT partitions FROM event_log)
       OR place NOT IN (-1, entry.shard_key >> 25, 64 + (entry.shard_key >> 28)))
UNION ALL
SELECT format('customer %s, meter %s, slot %s: a sum of %s events%s', sum.customer_id, meter_id,
              slot, event_count,
              CASE WHEN own.customer_id IS NULL THEN ' of no customer of the tenant' ELSE '' END)
FROM usage_rollup sum
LEFT JOIN customer own ON own.shard_key = sum.shard_key AND own.customer_id = sum.customer_id
    AND own.tenant_id = sum.tenant_id
WHERE ($1::integer IS NULL OR sum.tenant_id = $1)
  AND (event_count <= 0 OR own.customer_id IS NULL);
