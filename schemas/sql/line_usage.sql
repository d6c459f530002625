-- The events behind lines of documents, as gateway and invoicer read them alike.

-- name: find_line_usage
-- The lines of a document that have a line item, or all without one, with what their events are found by. The cells of
-- one line have one list.
SELECT DISTINCT ON (p.period_ref, l.contract_line_ref)
    l.shard_key, l.charge_ref, l.item, l.events_digest, l.position, p.position AS product_position,
    p.product_name, cp.timezone, k.customer_id, b.start_at,
    coalesce(c.until_at, b.end_at) AS end_at, i.meter_id,
    ARRAY(SELECT f.meter_id FROM meter_feed f
          WHERE f.tenant_id = $1 AND f.toward_id = i.meter_id) AS meters, c.cut_offset, EXISTS (
        SELECT FROM rater_partition r
        WHERE r.partition = c.partition AND b.start_at < r.archived_until) AS is_archived
FROM document_line l
JOIN document_product p ON p.shard_key = l.shard_key AND p.document_ref = l.document_ref
    AND p.position = l.product_position
JOIN period_cut c ON c.shard_key = p.shard_key AND c.period_ref = p.period_ref
    AND c.cut_number = p.cut_number
JOIN billing_period b ON b.shard_key = p.shard_key AND b.period_ref = p.period_ref
JOIN contract_product cp ON cp.shard_key = p.shard_key
    AND cp.contract_product_ref = p.contract_product_ref
JOIN document d ON d.shard_key = l.shard_key AND d.document_ref = l.document_ref
JOIN contract k ON k.shard_key = d.shard_key AND k.contract_ref = d.contract_ref
JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
WHERE l.tenant_id = $1 AND l.shard_key = $2 AND l.document_ref = $3
  AND ($4::uuid IS NULL OR l.line_item_ref = $4)
  AND (p.root_document_ref IS NULL OR d.kind = 'ADJUSTMENT' OR c.cut_number = 0)
ORDER BY p.period_ref, l.contract_line_ref, l.charge_ref;

-- name: list_feeds
-- The other meters whose events count in lines of one.
SELECT f.meter_id, f.factor, m.formula, m.usage_product_ref::text AS ref_text
FROM meter_feed f JOIN meter m ON m.tenant_id = f.tenant_id AND m.meter_id = f.meter_id
WHERE f.tenant_id = $1 AND f.toward_id = $2 AND f.meter_id <> $2;

-- name: usage_of_line
-- One page of the events that a line may hold, by ref: those of the period's months, and those that
-- an amendment may have moved into it, each as its last version below the cut says.
SELECT page.event_ref, page.event_ref::text AS ref_text, page.meter_id,
    coalesce(v.occurred_at, page.occurred_at) AS occurred_at,
    trim_scale(coalesce(v.quantity, page.quantity))::text AS quantity,
    CASE WHEN v.kind IS NULL THEN page.additional_data ELSE v.additional_data END
    AS additional_data,
    page.rated_at < $10 AND v.kind IS DISTINCT FROM 'DELETE'
    AND coalesce(v.occurred_at, page.occurred_at) >= $8
    AND coalesce(v.occurred_at, page.occurred_at) < $9 AS counts
FROM (
    (SELECT event_ref, meter_id, occurred_at, rated_at, quantity, additional_data FROM usage_event
     WHERE tenant_id = $1 AND shard_key = $2 AND customer_id = $3 AND meter_id = ANY ($4)
       AND event_ref > $5 AND event_ref > $6 AND event_ref < $7
     ORDER BY event_ref LIMIT $11)
    UNION ALL
    (SELECT u.event_ref, u.meter_id, u.occurred_at, u.rated_at, u.quantity, u.additional_data
     FROM (
        SELECT DISTINCT event_ref FROM usage_event_version
        WHERE tenant_id = $1 AND shard_key = $2 AND customer_id = $3 AND meter_id = ANY ($4)
          AND event_ref > $5 AND (event_ref <= $6 OR event_ref >= $7)
          AND occurred_at >= $8 AND occurred_at < $9
     ) moved
     CROSS JOIN LATERAL (
        SELECT * FROM usage_event own
        WHERE own.shard_key = $2 AND own.event_ref = moved.event_ref LIMIT 1
     ) u
     ORDER BY event_ref LIMIT $11)
    ORDER BY event_ref LIMIT $11
) page
LEFT JOIN LATERAL (
    SELECT kind, occurred_at, quantity, additional_data FROM usage_event_version own
    WHERE own.shard_key = $2 AND own.event_ref = page.event_ref AND own.rated_at < $10
    ORDER BY own.rated_at DESC LIMIT 1
) v ON true
ORDER BY page.event_ref;
