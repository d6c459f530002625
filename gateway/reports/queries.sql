-- Statements of the reports. Each runs in a tenant's transaction and names the tenant; what is read
-- of usage_event is one customer's, a stretch of its one index.

-- name: find_customer
SELECT customer_id, shard_key FROM customer
WHERE tenant_id = $1 AND shard_key = $2 AND customer_ref = $3;

-- name: first_month
-- The first month, as refs count them, whose events are not in an archive.
SELECT coalesce(max(month) + 1, 0) FROM archived_month;

-- name: find_meter_id
SELECT meter_id FROM meter WHERE tenant_id = $1 AND usage_product_ref = $2;

-- name: find_event
-- The event, as its last amendment says, under one of the refs by which it may be known, its own
-- first.
SELECT u.event_ref, u.shard_key, u.rated_at, u.origin_partition, u.origin_offset,
       u.occurred_at AS first_occurred_at, u.quantity AS first_quantity,
       u.additional_data AS first_additional_data, e.occurred_at, e.quantity, e.additional_data,
       e.is_deleted, u.customer_id, u.meter_id, c.customer_ref, c.name AS customer_name,
       m.usage_product_ref, m.name AS usage_product_name,
       EXISTS (SELECT FROM unrated_usage n
               WHERE n.shard_key = u.shard_key AND n.event_ref = u.event_ref) AS is_unrated
FROM (
    SELECT * FROM usage_event
    WHERE tenant_id = $1 AND shard_key = $2 AND event_ref = ANY ($3::uuid[])
    ORDER BY array_position($3::uuid[], event_ref) LIMIT 1
) u
CROSS JOIN LATERAL (
    SELECT occurred_at, quantity, additional_data, kind = 'DELETE' AS is_deleted, rated_at
    FROM usage_event_version WHERE shard_key = u.shard_key AND event_ref = u.event_ref
    UNION ALL SELECT u.occurred_at, u.quantity, u.additional_data, false, u.rated_at
    ORDER BY rated_at DESC LIMIT 1
) e
JOIN customer c ON c.shard_key = u.shard_key AND c.customer_id = u.customer_id
JOIN meter m ON m.tenant_id = u.tenant_id AND m.meter_id = u.meter_id;

-- name: list_event_versions
-- How an event was amended, in the order in which it was applied.
SELECT kind, kind = 'DELETE' AS is_deleted, occurred_at, quantity, additional_data,
       origin_partition, origin_offset, rated_at, recorded_at, note, made_by
FROM usage_event_version
WHERE tenant_id = $1 AND shard_key = $2 AND event_ref = $3 ORDER BY rated_at;

-- name: list_version_documents
-- The documents that were drawn up while each version of an event counted: from cuts between it and
-- the next, of the periods that it falls in.
SELECT DISTINCT v.version::integer, d.document_ref, d.document_number, d.state,
       d.number_in_contract
FROM unnest($5::bigint[], $6::bigint[], $7::timestamptz[]) WITH ORDINALITY
    AS v (rated_at, next_rated_at, occurred_at, version)
CROSS JOIN contract t
JOIN contract_product cp ON cp.shard_key = t.shard_key AND cp.contract_ref = t.contract_ref
JOIN contract_line l
    ON l.shard_key = cp.shard_key AND l.contract_product_ref = cp.contract_product_ref
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
JOIN billing_period p
    ON p.shard_key = cp.shard_key AND p.contract_product_ref = cp.contract_product_ref
    AND p.start_at <= v.occurred_at AND p.end_at > v.occurred_at
JOIN period_cut c ON c.shard_key = p.shard_key AND c.period_ref = p.period_ref
    AND c.cut_offset > v.rated_at
    AND (v.next_rated_at IS NULL OR c.cut_offset <= v.next_rated_at)
    AND (c.cut_number > 0 OR v.occurred_at < c.until_at)
JOIN document_input i ON i.shard_key = p.shard_key AND i.period_ref = p.period_ref
    AND i.contract_product_ref = p.contract_product_ref AND i.cut_number = c.cut_number
JOIN document d ON d.shard_key = i.shard_key AND d.document_ref = i.document_ref
WHERE t.tenant_id = $1 AND t.shard_key = $2 AND t.customer_id = $3
  AND pl.meter_id IN (SELECT toward_id FROM meter_feed WHERE tenant_id = $1 AND meter_id = $4)
ORDER BY 1, d.number_in_contract, d.document_ref;

-- name: list_event_charges
-- The charges that an event counts in, each with the documents that its period is billed on.
SELECT h.charge_ref, t.contract_ref, pl.line_item_ref, pl.item, p.start_date, p.end_date,
       h.quantity, trim_scale(h.amount) AS amount, cp.currency, cp.net_terms, d.document_ref, d.document_number, d.state
FROM contract t
JOIN contract_product cp ON cp.shard_key = t.shard_key AND cp.contract_ref = t.contract_ref
JOIN contract_line l
    ON l.shard_key = cp.shard_key AND l.contract_product_ref = cp.contract_product_ref
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
JOIN billing_period p
    ON p.shard_key = cp.shard_key AND p.contract_product_ref = cp.contract_product_ref
JOIN charge h ON h.shard_key = p.shard_key AND h.period_ref = p.period_ref
    AND h.contract_line_ref = l.contract_line_ref
LEFT JOIN document_input i ON i.shard_key = p.shard_key
    AND i.contract_product_ref = p.contract_product_ref AND i.period_ref = p.period_ref
LEFT JOIN document d ON d.shard_key = i.shard_key AND d.document_ref = i.document_ref
WHERE t.tenant_id = $1 AND t.shard_key = $2 AND t.customer_id = $3
  AND pl.meter_id IN (SELECT toward_id FROM meter_feed WHERE tenant_id = $1 AND meter_id = $4)
  AND p.start_at <= $5 AND p.end_at > $5 AND NOT cp.is_pending
ORDER BY t.contract_number, cp.position, l.position, d.number_in_contract;

-- name: find_event_document_numbers
-- The numbers of the documents that bill an event by itself, and its amendments, the oldest
-- contract's.
SELECT string_agg(d.document_number, ', ' ORDER BY d.number_in_contract) AS numbers
FROM document d
JOIN contract t ON t.shard_key = d.shard_key AND t.contract_ref = d.contract_ref
WHERE d.tenant_id = $1 AND d.shard_key = $2 AND d.event_ref = $3 AND d.document_number IS NOT NULL
GROUP BY t.contract_number ORDER BY t.contract_number LIMIT 1;

-- name: list_event_conflicts
-- What came under the event's key with other content.
SELECT partition, record_offset, value, recorded_at FROM usage_conflict
WHERE tenant_id = $1 AND shard_key = $2 AND event_ref = $3
ORDER BY partition, record_offset LIMIT 100;

-- name: find_outcome
-- What became of a record that rating has passed. $3: the refs by which its event may be known, its
-- own first. No row: the database was set back since.
SELECT u.shard_key, u.customer_id, u.meter_id, u.event_ref, d.reason, d.detail,
       coalesce((SELECT v.occurred_at FROM usage_event_version v
                 WHERE v.shard_key = u.shard_key AND v.event_ref = u.event_ref
                 ORDER BY v.rated_at DESC LIMIT 1), u.occurred_at) AS occurred_at,
       CASE WHEN u.origin_partition = $4 AND u.origin_offset = $5
            THEN CASE WHEN EXISTS (
                SELECT FROM unrated_usage n
                WHERE n.shard_key = u.shard_key AND n.event_ref = u.event_ref)
                THEN 'UNRATED' ELSE 'RATED' END
            WHEN EXISTS (
                SELECT FROM usage_conflict c
                WHERE c.tenant_id = $1 AND c.shard_key = $2 AND c.event_ref = u.event_ref
                  AND c.partition = $4 AND c.record_offset = $5)
            THEN 'CONFLICT' ELSE 'DUPLICATE' END AS outcome
FROM (
    SELECT * FROM usage_event
    WHERE tenant_id = $1 AND shard_key = $2 AND event_ref = ANY ($3::uuid[])
    ORDER BY array_position($3::uuid[], event_ref) LIMIT 1
) u
FULL JOIN (
    SELECT reason, detail FROM dead_letter
    WHERE tenant_id = $1 AND shard_key = $2 AND partition = $4 AND record_offset = $5
) d ON true;

-- name: list_events
-- A page of a customer's events by ref. Those that were never amended are read out of the next so
-- many of the shard in that order, and no further than the page needs; those that were, from their
-- last amendments in the time asked for, in whatever month their refs are.
SELECT s.event_ref, s.occurred_at, s.quantity, s.additional_data, s.is_amended,
       false AS is_deleted, m.usage_product_ref, m.name AS usage_product_name,
       EXISTS (SELECT FROM unrated_usage n
               WHERE n.shard_key = $2 AND n.event_ref = s.event_ref) AS is_unrated
FROM (
    (SELECT event_ref, occurred_at, quantity, additional_data, tenant_id, meter_id,
            false AS is_amended
     FROM (
         SELECT event_ref, occurred_at, quantity, additional_data, tenant_id, customer_id, meter_id
         FROM usage_event
         WHERE shard_key = $2 AND event_ref > greatest($4::uuid, $11::uuid) AND event_ref < $5
         ORDER BY event_ref LIMIT $9
     ) u
     WHERE tenant_id = $1 AND customer_id = $3 AND ($6::integer IS NULL OR meter_id = $6)
       AND occurred_at >= $7 AND occurred_at < $8
       AND (SELECT true FROM usage_event_version v
            WHERE v.shard_key = $2 AND v.event_ref = u.event_ref LIMIT 1) IS NULL
     ORDER BY event_ref LIMIT $10)
    UNION ALL
    (SELECT event_ref, occurred_at, quantity, additional_data, tenant_id, meter_id, true
     FROM usage_event_version v
     WHERE tenant_id = $1 AND shard_key = $2 AND customer_id = $3
       AND occurred_at >= $7 AND occurred_at < $8 AND event_ref > $11 AND kind <> 'DELETE'
       AND ($6::integer IS NULL OR meter_id = $6)
       AND NOT EXISTS (SELECT FROM usage_event_version later
                       WHERE later.shard_key = $2 AND later.event_ref = v.event_ref
                         AND later.rated_at > v.rated_at)
     ORDER BY event_ref LIMIT $10)
    ORDER BY event_ref LIMIT $10
) s
JOIN meter m ON m.tenant_id = s.tenant_id AND m.meter_id = s.meter_id
ORDER BY s.event_ref;

-- name: find_scanned_to
-- The last of the events that a page was looked for in; no row: there are no more behind them.
SELECT event_ref FROM usage_event
WHERE shard_key = $1 AND event_ref > $2 AND event_ref < $3
ORDER BY event_ref OFFSET $4 LIMIT 1;

-- name: summarise
-- Sums a window, a meter and a value of a key: one customer's events of some months that were never
-- amended, and the last amendments in the time asked for.
SELECT date_trunc($6, e.occurred_at) AS start_at, m.meter_id, m.usage_product_ref,
       m.name AS usage_product_name, e.additional_data::json ->> $9 AS value,
       trim_scale(sum(e.quantity)) AS quantity, count(*) AS event_count
FROM (
    SELECT u.meter_id, u.occurred_at, u.quantity, u.additional_data
    FROM usage_event u
    WHERE u.tenant_id = $1 AND u.shard_key = $2 AND u.customer_id = $3
      AND u.event_ref > $4 AND u.event_ref < $5
      AND u.occurred_at >= $7 AND u.occurred_at < $10
      AND NOT EXISTS (SELECT FROM usage_event_version v
                      WHERE v.shard_key = $2 AND v.event_ref = u.event_ref)
    UNION ALL
    SELECT v.meter_id, v.occurred_at, v.quantity, v.additional_data
    FROM usage_event_version v
    WHERE v.tenant_id = $1 AND v.shard_key = $2 AND v.customer_id = $3
      AND v.occurred_at >= $7 AND v.occurred_at < $10 AND v.kind <> 'DELETE'
      AND NOT EXISTS (SELECT FROM usage_event_version later
                      WHERE later.shard_key = $2 AND later.event_ref = v.event_ref
                        AND later.rated_at > v.rated_at)
) e
JOIN meter m ON m.tenant_id = $1 AND m.meter_id = e.meter_id
WHERE $8::integer IS NULL OR e.meter_id = $8
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 4, 3, 5 LIMIT $11;

-- name: list_priced_periods
-- The lines in which a customer's usage counts, each with its periods between two instants.
-- is_computed: a formula makes the billable quantity of some of the events.
SELECT m.meter_id, m.aggregation, pl.price::text AS price, cp.currency, p.start_at, p.end_at,
       EXISTS (
           SELECT FROM meter_feed f
           JOIN meter c ON c.tenant_id = f.tenant_id AND c.meter_id = f.meter_id
           WHERE f.tenant_id = m.tenant_id AND f.toward_id = m.meter_id AND c.formula IS NOT NULL
       ) AS is_computed
FROM contract t
JOIN contract_product cp ON cp.shard_key = t.shard_key AND cp.contract_ref = t.contract_ref
JOIN contract_line l
    ON l.shard_key = cp.shard_key AND l.contract_product_ref = cp.contract_product_ref
JOIN pricing_line pl ON pl.tenant_id = l.tenant_id AND pl.pricing_line_id = l.pricing_line_id
JOIN meter m ON m.tenant_id = pl.tenant_id AND m.meter_id = pl.meter_id
JOIN billing_period p
    ON p.shard_key = cp.shard_key AND p.contract_product_ref = cp.contract_product_ref
WHERE t.tenant_id = $1 AND t.shard_key = $2 AND t.customer_id = $3
  AND ($4::integer IS NULL OR m.meter_id IN (
      SELECT toward_id FROM meter_feed WHERE tenant_id = $1 AND meter_id = $4))
  AND p.start_at < $6 AND p.end_at > $5 AND NOT cp.is_pending
ORDER BY t.contract_number, cp.position, l.position, p.start_at;

-- name: find_grain
SELECT grain FROM rolled_customer WHERE tenant_id = $1 AND shard_key = $2 AND customer_id = $3;

-- name: has_archived_usage
SELECT EXISTS (SELECT FROM archived_usage WHERE shard_key = $1 AND customer_id = $2
               AND ($3::integer IS NULL OR meter_id = $3));

-- name: count_usage
-- How many events of a customer there are from each of the slots $6 until the slots $7. $4: where
-- the customer's entries are in the tail.
WITH sums AS MATERIALIZED (
    SELECT slot, event_count FROM usage_rollup
    WHERE tenant_id = $1 AND shard_key = $2 AND customer_id = $3
      AND slot >= (SELECT min(least) FROM unnest($6::integer[]) AS least)
      AND slot < (SELECT max(most) FROM unnest($7::integer[]) AS most)
    UNION ALL
    SELECT entry.slot - entry.slot % $5::integer, entry.event_count
    FROM usage_tail tail
    CROSS JOIN LATERAL unnest(customer_ids, slots, event_counts)
        AS entry (customer_id, slot, event_count)
    WHERE tail.tenant_id = $1 AND tail.partition = $2 % (SELECT partitions FROM event_log)
      AND tail.place = ANY ($4::smallint[]) AND entry.customer_id = $3
)
SELECT coalesce(sum(sums.event_count), 0)::bigint AS event_count
FROM unnest($6::integer[], $7::integer[]) WITH ORDINALITY AS span (first, behind, number)
LEFT JOIN sums ON slot >= first AND slot < behind
GROUP BY number ORDER BY number;

-- name: list_stretches
-- Sums a meter and a stretch of time, in order: stretches end where windows do from $8 on, and at
-- each of the bounds $10. The events are those that `summarise` sums.
SELECT e.meter_id, width_bucket(e.occurred_at, $10::timestamptz[]) AS bound,
       CASE WHEN e.occurred_at >= $8 THEN date_trunc($7, e.occurred_at) END AS start_at,
       trim_scale(sum(e.quantity)) AS quantity, count(*) AS event_count
FROM (
    SELECT u.meter_id, u.occurred_at, u.quantity
    FROM usage_event u
    WHERE u.tenant_id = $1 AND u.shard_key = $2 AND u.customer_id = $3
      AND u.event_ref > $4 AND u.event_ref < $5
      AND u.occurred_at >= ($10::timestamptz[])[1] AND u.occurred_at < $9
      AND NOT EXISTS (SELECT FROM usage_event_version v
                      WHERE v.shard_key = $2 AND v.event_ref = u.event_ref)
    UNION ALL
    SELECT v.meter_id, v.occurred_at, v.quantity
    FROM usage_event_version v
    WHERE v.tenant_id = $1 AND v.shard_key = $2 AND v.customer_id = $3
      AND v.occurred_at >= ($10::timestamptz[])[1] AND v.occurred_at < $9 AND v.kind <> 'DELETE'
      AND NOT EXISTS (SELECT FROM usage_event_version later
                      WHERE later.shard_key = $2 AND later.event_ref = v.event_ref
                        AND later.rated_at > v.rated_at)
) e
WHERE $6::integer IS NULL OR e.meter_id = $6
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 NULLS FIRST LIMIT $11;

-- name: list_fed
-- Which of some meters others count toward.
SELECT DISTINCT toward_id FROM meter_feed
WHERE tenant_id = $1 AND toward_id = ANY ($2::integer[]) AND meter_id <> toward_id;

-- name: list_fed_stretches
-- Sums a meter of $11, a meter whose events count in its lines, and a stretch of time, in order, its
-- own events first: stretches end where windows do from $7 on, and at each of the bounds $9. The
-- events are those that `summarise` sums. units: what as many events count as.
SELECT f.toward_id, e.meter_id, width_bucket(e.occurred_at, $9::timestamptz[]) AS bound,
       CASE WHEN e.occurred_at >= $7 THEN date_trunc($6, e.occurred_at) END AS start_at,
       trim_scale(sum(round(e.quantity * f.factor, 18))) AS quantity, count(*) AS event_count,
       sum(round(f.factor, 18)) AS units
FROM (
    SELECT u.meter_id, u.occurred_at, u.quantity
    FROM usage_event u
    WHERE u.tenant_id = $1 AND u.shard_key = $2 AND u.customer_id = $3
      AND u.event_ref > $4 AND u.event_ref < $5
      AND u.occurred_at >= ($9::timestamptz[])[1] AND u.occurred_at < $8
      AND NOT EXISTS (SELECT FROM usage_event_version v
                      WHERE v.shard_key = $2 AND v.event_ref = u.event_ref)
    UNION ALL
    SELECT v.meter_id, v.occurred_at, v.quantity
    FROM usage_event_version v
    WHERE v.tenant_id = $1 AND v.shard_key = $2 AND v.customer_id = $3
      AND v.occurred_at >= ($9::timestamptz[])[1] AND v.occurred_at < $8 AND v.kind <> 'DELETE'
      AND NOT EXISTS (SELECT FROM usage_event_version later
                      WHERE later.shard_key = $2 AND later.event_ref = v.event_ref
                        AND later.rated_at > v.rated_at)
) e
JOIN meter_feed f ON f.tenant_id = $1 AND f.meter_id = e.meter_id
WHERE f.toward_id = ANY ($11::integer[])
GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 4 NULLS FIRST, e.meter_id <> f.toward_id, 2 LIMIT $10;

-- name: list_rolled_stretches
-- What `list_stretches` makes of events, made of sums of $11 slots: those from slot $12 until $13,
-- but the ones that begin with $16, which bounds cut. Of these the events are read: from $17 until
-- $18, by refs between $19 and $20. $14: slots that one window holds at least. $15: the first slot
-- behind each bound.
SELECT meter_id, bound, start_at, trim_scale(sum(quantity)) AS quantity,
       sum(event_count)::bigint AS event_count
FROM (
    SELECT meter_id, width_bucket(at, $9::timestamptz[]) AS bound,
           CASE WHEN at >= $7 THEN date_trunc($6, at) END AS start_at, quantity, event_count
    FROM (
        SELECT meter_id, to_timestamp(min(slot)::bigint * 900) AS at, sum(quantity) AS quantity,
               sum(event_count) AS event_count
        FROM (
            SELECT meter_id, slot, quantity, event_count FROM usage_rollup
            WHERE tenant_id = $1 AND shard_key = $2 AND customer_id = $3
            UNION ALL
            SELECT entry.meter_id, entry.slot - entry.slot % $11::integer, entry.quantity,
                   entry.event_count
            FROM usage_tail tail
            CROSS JOIN LATERAL unnest(customer_ids, meter_ids, slots, quantities, event_counts)
                AS entry (customer_id, meter_id, slot, quantity, event_count)
            WHERE tail.tenant_id = $1
              AND tail.partition = $2 % (SELECT partitions FROM event_log)
              AND tail.place = ANY ($4::smallint[]) AND entry.customer_id = $3
        ) kept
        WHERE slot >= $12 AND slot < $13 AND slot <> ALL ($16::integer[])
          AND ($5::integer IS NULL OR meter_id = $5)
        GROUP BY meter_id, slot / $14::integer, width_bucket(slot, $15::integer[])
        UNION ALL
        SELECT e.meter_id, e.occurred_at, e.quantity, 1
        FROM unnest($17::timestamptz[], $18::timestamptz[], $19::uuid[], $20::uuid[])
            AS cut (start_at, end_at, low, high)
        CROSS JOIN LATERAL (
            SELECT u.meter_id, u.occurred_at, u.quantity
            FROM usage_event u
            WHERE u.tenant_id = $1 AND u.shard_key = $2 AND u.customer_id = $3
              AND u.event_ref > cut.low AND u.event_ref < cut.high
              AND u.occurred_at >= cut.start_at AND u.occurred_at < cut.end_at
              AND NOT EXISTS (SELECT FROM usage_event_version v
                              WHERE v.shard_key = $2 AND v.event_ref = u.event_ref)
            UNION ALL
            SELECT v.meter_id, v.occurred_at, v.quantity
            FROM usage_event_version v
            WHERE v.tenant_id = $1 AND v.shard_key = $2 AND v.customer_id = $3
              AND v.occurred_at >= cut.start_at AND v.occurred_at < cut.end_at
              AND v.kind <> 'DELETE'
              AND NOT EXISTS (SELECT FROM usage_event_version later
                              WHERE later.shard_key = $2 AND later.event_ref = v.event_ref
                                AND later.rated_at > v.rated_at)
        ) e
        WHERE e.occurred_at >= ($9::timestamptz[])[1] AND e.occurred_at < $8
          AND ($5::integer IS NULL OR e.meter_id = $5)
    ) parts
) placed
GROUP BY 1, 2, 3 HAVING sum(event_count) <> 0
ORDER BY 1, 2, 3 NULLS FIRST LIMIT $10;

-- name: load_meters
SELECT meter_id, usage_product_ref, name FROM meter
WHERE tenant_id = $1 AND meter_id = ANY ($2::integer[]);

-- name: list_dead_letters
-- A page of a tenant's dead letters, in the order of the log, partition by partition.
SELECT d.partition, d.record_offset, d.reason, d.detail, d.record_key, d.value, d.appended_at,
       d.origin_partition, d.origin_offset
FROM dead_letter d
WHERE d.tenant_id = $1 AND (d.partition, d.record_offset) > ($2::integer, $3::bigint)
ORDER BY d.partition, d.record_offset LIMIT $4;

-- name: list_retries
-- How dead letters were sent again, and what became of each: rated, dead again, or not read yet.
SELECT r.partition, r.record_offset, r.retry_partition, r.retry_offset, r.retried_at,
       CASE WHEN EXISTS (SELECT FROM dead_letter a WHERE a.partition = r.retry_partition
                         AND a.record_offset = r.retry_offset) THEN 'DEAD'
            WHEN p.next_offset > r.retry_offset THEN 'TAKEN' ELSE 'PENDING' END AS outcome
FROM unnest($2::integer[], $3::integer[], $4::bigint[])
    AS wanted (shard_key, partition, record_offset)
JOIN dead_letter_retry r USING (shard_key, partition, record_offset)
JOIN rater_partition p ON p.partition = r.retry_partition
WHERE r.tenant_id = $1
ORDER BY r.retried_at, r.retry_partition, r.retry_offset;

-- name: find_dead_letter
SELECT d.shard_key, d.partition, d.record_offset, d.record_key, d.value, d.tenant_id,
       d.origin_partition, d.origin_offset
FROM dead_letter d WHERE d.tenant_id = $1 AND d.partition = $2 AND d.record_offset = $3;

-- name: find_log
SELECT topic, partitions FROM event_log;

-- name: add_retry
INSERT INTO dead_letter_retry (shard_key, partition, record_offset, retry_partition, retry_offset,
                               tenant_id)
VALUES ($1, $2, $3, $4, $5, $6);
