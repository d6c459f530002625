-- Whether alerts have fired where they must, and nowhere else.

-- name: firings_counted
SELECT count(*) FROM alert_firing WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: firings_broken
-- A firing is of an alert of the customer, in a period of the contract, and of a value that reaches.
SELECT format('alert %s fired in period %s at %s of %s%s', firing.alert_ref, firing.period_ref,
              firing.value, firing.threshold,
              CASE WHEN alert.alert_ref IS NULL THEN ', and there is no such alert' ELSE '' END)
       AS witness
FROM alert_firing firing
LEFT JOIN contract ON contract.shard_key = firing.shard_key
    AND contract.contract_ref = firing.contract_ref
LEFT JOIN alert ON alert.shard_key = firing.shard_key AND alert.alert_ref = firing.alert_ref
    AND alert.version >= firing.version AND alert.customer_id = contract.customer_id
    AND coalesce(alert.contract_ref, firing.contract_ref) = firing.contract_ref
    AND (alert.version > firing.version OR alert.threshold = firing.threshold)
WHERE ($1::integer IS NULL OR firing.tenant_id = $1)
  AND (alert.alert_ref IS NULL
       OR CASE alert.kind WHEN 'CREDIT_LEFT' THEN firing.value > firing.threshold
          ELSE firing.value < firing.threshold END);

-- name: alerts_silent
-- A line that is at a threshold, in a period that had not ended when the alert was made, has fired.
-- Of alerts as they were made, which their partition's owner knows of and has had a minute for.
WITH total AS (
    SELECT charge.shard_key, period_ref, contract_line_ref, sum(quantity) AS quantity,
           sum(amount) AS amount
    FROM charge GROUP BY 1, 2, 3
)
SELECT format('alert %s has not fired in period %s: line %s is at %s, threshold %s',
              alert.alert_ref, total.period_ref, total.contract_line_ref,
              CASE kind WHEN 'AMOUNT' THEN amount ELSE quantity END, threshold) AS witness
FROM alert
JOIN rater_partition owner USING (partition)
JOIN contract ON contract.shard_key = alert.shard_key AND contract.customer_id = alert.customer_id
JOIN contract_product product ON product.shard_key = contract.shard_key
    AND product.contract_ref = contract.contract_ref AND NOT product.is_pending
JOIN billing_period period ON period.shard_key = product.shard_key
    AND period.contract_product_ref = product.contract_product_ref
JOIN total ON total.shard_key = period.shard_key AND total.period_ref = period.period_ref
JOIN contract_line line ON line.shard_key = total.shard_key
    AND line.contract_line_ref = total.contract_line_ref
JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
WHERE ($1::integer IS NULL OR alert.tenant_id = $1)
  AND kind IN ('QUANTITY', 'AMOUNT') AND alert.deleted_at IS NULL AND alert.version = 1
  AND partition_version <= owner.changes_seen AND alert.created_at < now() - interval '1 minute'
  AND period.end_at > alert.created_at
  AND coalesce(alert.contract_ref, contract.contract_ref) = contract.contract_ref
  AND (alert.pricing_line_id IN (price.pricing_line_id, price.base_line_id) OR price.meter_id = alert.meter_id)
  AND CASE kind WHEN 'AMOUNT' THEN amount ELSE quantity END >= threshold
  AND NOT EXISTS (
    SELECT FROM alert_firing firing
    WHERE firing.shard_key = alert.shard_key AND firing.alert_ref = alert.alert_ref
      AND firing.period_ref = total.period_ref);
