-- Archived months, seen again by one session.

-- name: archived_months
SELECT month, file_name, file_sha256 FROM archived_month ORDER BY month;

-- name: note_seen
CREATE TEMPORARY TABLE seen_month AS SELECT month FROM archived_month;

-- name: see_both
-- The session's own names come before those of the schema.
CREATE TEMPORARY VIEW usage_event AS
SELECT * FROM public.usage_event UNION ALL SELECT * FROM archived_event;

-- name: is_loaded
SELECT to_regclass('pg_temp.seen_month') IS NOT NULL;

-- name: count_archived
SELECT count(*) FROM archived_month;

-- name: count_unseen
SELECT count(*) FROM archived_month WHERE month NOT IN (SELECT month FROM seen_month);
