-- Alerts and when they have fired.

-- name: find_customer
SELECT customer_id, customer_ref FROM customer
WHERE tenant_id = $1 AND shard_key = $2 AND customer_ref = $3;

-- name: find_contract
SELECT contract_ref, customer_id FROM contract
WHERE tenant_id = $1 AND shard_key = $2 AND contract_ref = $3;

-- name: find_line_item
SELECT pricing_line_id, meter_id, price::text AS price FROM pricing_line
WHERE tenant_id = $1 AND line_item_ref = $2;

-- name: is_line_of_contract
SELECT EXISTS (
    SELECT FROM contract_product p JOIN contract_line l USING (shard_key, contract_product_ref)
    JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
    WHERE p.tenant_id = $1 AND p.shard_key = $2 AND p.contract_ref = $3
      AND $4::integer IN (i.pricing_line_id, i.base_line_id));

-- name: find_meter
SELECT meter_id FROM meter WHERE tenant_id = $1 AND usage_product_ref = $2;

-- name: count_alerts
SELECT count(*) FROM alert WHERE tenant_id = $1 AND deleted_at IS NULL;

-- name: add_alert
INSERT INTO alert (shard_key, alert_ref, tenant_id, partition, partition_version, customer_id,
                   contract_ref, pricing_line_id, meter_id, name, kind, threshold)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: list_alerts
-- A page of alerts by ref; $2: the one it begins behind. $3, $4: of which customer or contract.
SELECT a.*, c.customer_ref, i.line_item_ref, m.usage_product_ref
FROM alert a
JOIN customer c ON c.shard_key = a.shard_key AND c.customer_id = a.customer_id
LEFT JOIN pricing_line i ON i.tenant_id = a.tenant_id AND i.pricing_line_id = a.pricing_line_id
LEFT JOIN meter m ON m.tenant_id = a.tenant_id AND m.meter_id = a.meter_id
WHERE a.tenant_id = $1 AND a.deleted_at IS NULL AND a.alert_ref > $2
  AND ($3::uuid IS NULL OR c.customer_ref = $3) AND ($4::uuid IS NULL OR a.contract_ref = $4)
ORDER BY a.alert_ref LIMIT $5;

-- name: find_alert
SELECT a.*, c.customer_ref, i.line_item_ref, m.usage_product_ref
FROM alert a
JOIN customer c ON c.shard_key = a.shard_key AND c.customer_id = a.customer_id
LEFT JOIN pricing_line i ON i.tenant_id = a.tenant_id AND i.pricing_line_id = a.pricing_line_id
LEFT JOIN meter m ON m.tenant_id = a.tenant_id AND m.meter_id = a.meter_id
WHERE a.tenant_id = $1 AND a.shard_key = $2 AND a.alert_ref = $3 AND a.deleted_at IS NULL;

-- name: list_firings
SELECT f.*, i.line_item_ref FROM alert_firing f
LEFT JOIN contract_line l ON l.shard_key = f.shard_key AND l.contract_line_ref = f.contract_line_ref
LEFT JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
WHERE f.tenant_id = $1 AND f.shard_key = $2 AND f.alert_ref = $3
ORDER BY f.start_date DESC, f.version DESC, f.fired_at DESC LIMIT $4;

-- name: change_alert
-- Another threshold is another version, which has not fired yet.
UPDATE alert SET partition_version = $4, name = $5, threshold = $6,
    version = version + (threshold <> $6)::integer
WHERE tenant_id = $1 AND shard_key = $2 AND alert_ref = $3;

-- name: delete_alert
UPDATE alert SET partition_version = $4, deleted_at = now()
WHERE tenant_id = $1 AND shard_key = $2 AND alert_ref = $3;
