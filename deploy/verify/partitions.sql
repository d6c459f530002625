-- The log's side of the books: what became of every offset that the rater has passed.

-- name: conservation
-- What became of the records of all partitions; offsets without a record are none.
SELECT coalesce(sum(next_offset - first_offset - skipped), 0)::bigint AS total,
       coalesce(sum(rated), 0)::bigint AS rated,
       coalesce(sum(duplicates), 0)::bigint AS duplicates,
       coalesce(sum(conflicts), 0)::bigint AS conflicts,
       coalesce(sum(dead_letters), 0)::bigint AS dead_letters,
       coalesce(sum(unrated), 0)::bigint AS unrated,
       coalesce(sum(amendments), 0)::bigint AS amendments
FROM rater_partition;

-- name: offsets_counted
SELECT coalesce(sum(next_offset - first_offset), 0)::bigint FROM rater_partition;

-- name: offsets_broken
SELECT format('partition %s: %s offsets were passed, %s are accounted for',
              partition, next_offset - first_offset, accounted) AS witness,
       abs(next_offset - first_offset - accounted) AS difference
FROM rater_partition, LATERAL (
    SELECT rated + unrated + duplicates + conflicts + amendments + dead_letters + skipped
) AS total (accounted)
WHERE next_offset - first_offset <> accounted
ORDER BY partition;

-- name: counters_counted
SELECT (SELECT count(*) FROM usage_event) + (SELECT count(*) FROM unrated_usage)
     + (SELECT count(*) FROM usage_event_version) + (SELECT count(*) FROM pending_amendment)
     + (SELECT count(*) FROM usage_conflict) + (SELECT count(*) FROM dead_letter)
     + (SELECT count(*) FROM skipped_range);

-- name: counters_broken
-- Each counter beside the rows that it counts; duplicates leave no row, and an amendment counts
-- whether it was applied or waits.
WITH log AS (SELECT partitions FROM event_log),
counter AS (
    SELECT partition, what, counted
    FROM rater_partition, LATERAL (VALUES
        ('usage events', rated + unrated), ('unrated events', unrated), ('conflicts', conflicts),
        ('amendments', amendments), ('dead letters', dead_letters), ('skipped offsets', skipped)
    ) AS own (what, counted)
),
stored AS (
    SELECT shard_key % (SELECT partitions FROM log) AS partition, 'usage events' AS what,
           count(*) AS rows
    FROM usage_event GROUP BY 1
    UNION ALL
    SELECT shard_key % (SELECT partitions FROM log), 'unrated events', count(*)
    FROM unrated_usage GROUP BY 1
    UNION ALL
    SELECT partition, 'amendments', sum(rows)::bigint
    FROM (
        SELECT shard_key % (SELECT partitions FROM log) AS partition, count(*) AS rows
        FROM usage_event_version GROUP BY 1
        UNION ALL
        SELECT partition, count(*) FROM pending_amendment GROUP BY 1
    ) AS own GROUP BY 1
    UNION ALL
    SELECT partition, 'conflicts', count(*) FROM usage_conflict GROUP BY 1
    UNION ALL
    SELECT partition, 'dead letters', count(*) FROM dead_letter GROUP BY 1
    UNION ALL
    SELECT partition, 'skipped offsets', sum(end_offset - first_offset)::bigint
    FROM skipped_range GROUP BY 1
)
SELECT format('partition %s: %s %s counted, %s stored',
              partition, coalesce(counted, 0), what, coalesce(rows, 0)) AS witness,
       abs(coalesce(counted, 0) - coalesce(rows, 0)) AS difference
FROM counter FULL JOIN stored USING (partition, what)
WHERE coalesce(counted, 0) <> coalesce(rows, 0)
ORDER BY partition, what;

-- name: places_counted
SELECT (SELECT count(*) FROM usage_event) + (SELECT count(*) FROM usage_conflict)
     + (SELECT count(*) FROM usage_event_version) + (SELECT count(*) FROM pending_amendment)
     + (SELECT count(*) FROM dead_letter) + (SELECT count(*) FROM skipped_range);

-- name: places_broken
-- Everything stored names its place in the log; sorted by place, none may begin before the one
-- before it ends, nor lie outside of what the rater has passed.
WITH log AS (SELECT partitions FROM event_log),
place AS (
    SELECT shard_key % (SELECT partitions FROM log) AS partition, rated_at AS first_offset,
           rated_at + 1 AS end_offset, 'event ' || event_ref AS what
    FROM usage_event
    UNION ALL
    SELECT shard_key % (SELECT partitions FROM log), rated_at, rated_at + 1,
           'amendment of ' || event_ref
    FROM usage_event_version
    UNION ALL
    SELECT partition, record_offset, record_offset + 1, 'amendment that waits for ' || event_ref
    FROM pending_amendment
    UNION ALL
    SELECT partition, record_offset, record_offset + 1, 'conflict with ' || event_ref
    FROM usage_conflict
    UNION ALL
    SELECT partition, record_offset, record_offset + 1, 'dead letter' FROM dead_letter
    UNION ALL
    SELECT partition, first_offset, end_offset, 'skipped range' FROM skipped_range
),
sorted AS (
    SELECT *, lag(end_offset) OVER places AS previous_end, lag(what) OVER places AS previous
    FROM place
    WINDOW places AS (PARTITION BY partition ORDER BY first_offset, end_offset)
)
SELECT format('partition %s offset %s: %s', partition, s.first_offset, s.what)
       || CASE WHEN s.first_offset < s.previous_end THEN ' and ' || s.previous
               ELSE ' lies outside of what was rated' END AS witness
FROM sorted s LEFT JOIN rater_partition r USING (partition)
WHERE s.first_offset < s.previous_end
   OR s.first_offset < r.first_offset OR s.end_offset > r.next_offset OR r.partition IS NULL
ORDER BY partition, s.first_offset;

-- name: partitions
-- What the checks of the log itself start from.
SELECT topic, partitions, partition, first_offset, next_offset, log.log_id,
       last_record_offset, last_record_digest
FROM rater_partition r JOIN event_log log ON log.log_id = r.log_id
ORDER BY partition;

-- name: skipped
SELECT first_offset, end_offset FROM skipped_range WHERE partition = $1 ORDER BY first_offset;

-- name: work_counted
SELECT (SELECT count(*) FROM rater_outbox)
     + (SELECT count(*) FROM partition_change LEFT JOIN partition_task task
            USING (partition, reference_version)
        WHERE task.state IS DISTINCT FROM 'DONE');

-- name: work_late
SELECT format('record %s for topic %s waits since %s', outbox_id, topic, created_at) AS witness
FROM rater_outbox
WHERE created_at < now() - interval '15 minutes'
UNION ALL
SELECT format('%s of contract %s waits since %s',
              CASE change.kind WHEN 'CLOSE' THEN 'closing' ELSE 'rating the past usage' END,
              change.contract_ref, requested_at)
FROM partition_change change LEFT JOIN partition_task task USING (partition, reference_version)
WHERE task.state IS DISTINCT FROM 'DONE' AND requested_at < now() - interval '15 minutes';
