-- How events have counted, for the checks that fold them.

-- name: see_counted
-- An event counts as a version of it says, from the place in the log where it was rated, `since`,
-- until that of the next one, and not at all behind a DELETE. One that waited for its event begins
-- with it.
CREATE OR REPLACE TEMPORARY VIEW counted_event AS
WITH amended AS (SELECT DISTINCT shard_key, event_ref FROM usage_event_version),
story AS (
    SELECT shard_key, event_ref, customer_id, meter_id, occurred_at, quantity, additional_data,
           'FIRST' AS kind, rated_at AS since, -1::bigint AS place
    FROM usage_event JOIN amended USING (shard_key, event_ref)
    UNION ALL
    SELECT shard_key, event_ref, v.customer_id, v.meter_id, v.occurred_at, v.quantity,
           v.additional_data, v.kind, greatest(v.rated_at, event.rated_at), v.rated_at
    FROM usage_event_version v JOIN usage_event event USING (shard_key, event_ref)
)
SELECT shard_key, event_ref, customer_id, meter_id, occurred_at, quantity, additional_data,
       rated_at AS since, 9223372036854775807 AS until
FROM usage_event LEFT JOIN amended USING (shard_key, event_ref)
WHERE amended.event_ref IS NULL
UNION ALL
SELECT shard_key, event_ref, customer_id, meter_id, occurred_at, quantity, additional_data,
       since, until
FROM (
    SELECT *, lead(since, 1, 9223372036854775807)
              OVER (PARTITION BY shard_key, event_ref ORDER BY place) AS until
    FROM story
) AS own
WHERE kind <> 'DELETE' AND since < until;

-- name: see_fed
-- In which meters' lines the events of a meter count, by walking up from it: in its own, and in those
-- of the meters above it, times the factors on the way.
CREATE OR REPLACE TEMPORARY VIEW fed_meter AS
WITH RECURSIVE way AS (
    SELECT meter_id, meter_id AS toward_id, 1::numeric AS factor, parent_meter_id AS next_id,
           parent_factor AS next_factor, 1 AS steps
    FROM meter
    UNION ALL
    SELECT way.meter_id, above.meter_id, factor * next_factor, above.parent_meter_id,
           above.parent_factor, steps + 1
    FROM way JOIN meter above ON above.meter_id = next_id
    WHERE steps < 100  -- a cycle would never end
)
SELECT meter_id, toward_id, trim_scale(factor) AS factor, steps FROM way;

-- name: see_computed
-- The meters in whose lines events count by formulas.
CREATE OR REPLACE TEMPORARY VIEW computed_meter AS
SELECT DISTINCT toward_id AS meter_id FROM fed_meter JOIN meter USING (meter_id)
WHERE formula IS NOT NULL;
