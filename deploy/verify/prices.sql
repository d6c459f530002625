-- Totals with the price that they name. $1 is a tenant, or NULL for all of them.

-- name: charges
-- The price that a charge names is its line's.
SELECT charge_ref::text AS name, charge.quantity, exact_quantity, event_count, amount, cell,
       price.price, charge.pricing_line_id IS NOT DISTINCT FROM line.pricing_line_id AS is_own_price
FROM charge
LEFT JOIN contract_line line USING (shard_key, contract_line_ref)
LEFT JOIN pricing_line price ON price.pricing_line_id = charge.pricing_line_id
WHERE $1::integer IS NULL OR charge.tenant_id = $1;

-- name: cut_lines
SELECT format('line %s of period %s at cut %s', contract_line_ref, period_ref, cut_number) AS name,
       own.quantity, exact_quantity, event_count, amount, cell, price.price,
       own.pricing_line_id IS NOT DISTINCT FROM line.pricing_line_id AS is_own_price
FROM charge_cut own
LEFT JOIN contract_line line USING (shard_key, contract_line_ref)
LEFT JOIN pricing_line price ON price.pricing_line_id = own.pricing_line_id
WHERE $1::integer IS NULL OR own.tenant_id = $1;
