-- Uploads of usage files, and the rows of them that were rejected.

-- name: lock_key
-- Held to the end of the transaction: requests that bring the same file begin one after the other.
SELECT pg_advisory_xact_lock(hashtextextended('upload ' || $1::integer || ' ' || $2, 0));

-- name: find_upload_to_resume
-- By its key or its ref.
SELECT * FROM upload WHERE tenant_id = $1 AND (key = $2 OR upload_ref::text = lower($2))
ORDER BY key = $2 DESC LIMIT 1 FOR UPDATE;

-- name: add_upload
INSERT INTO upload (tenant_id, upload_ref, key, options, header, state, made_by)
VALUES ($1, $2, $3, $4, $5, 'RUNNING', $6) RETURNING *;

-- name: resume_upload
UPDATE upload SET run = run + 1, state = 'RUNNING', problem = NULL, touched_at = now()
WHERE tenant_id = $1 AND upload_id = $2 RETURNING *;

-- name: begin_anew
-- Of an upload that has no accepted row.
UPDATE upload SET run = run + 1, state = 'RUNNING', options = $3, header = $4, row_count = 0,
    rejected = 0, rejected_kept = 0, rejected_bytes = 0, names_differing = 0, reasons = '{}',
    digest = NULL, problem = NULL, touched_at = now(), finished_at = NULL
WHERE tenant_id = $1 AND upload_id = $2 RETURNING *;

-- name: drop_rejections
DELETE FROM upload_rejection WHERE tenant_id = $1 AND upload_id = $2;

-- name: forget_rejections
DELETE FROM upload_rejection WHERE tenant_id = $1 AND rejected_at < now() - make_interval(days => $2);

-- name: save_progress
-- Nothing when another request has taken the upload over. Doing it again changes nothing.
UPDATE upload SET state = $4, row_count = $5, accepted = $6, rejected = $7, rejected_kept = $8,
    rejected_bytes = $9, names_differing = $10, reasons = $11, digest = $12, problem = $13,
    touched_at = now(), finished_at = CASE WHEN $4 = 'RUNNING' THEN NULL ELSE now() END
WHERE tenant_id = $1 AND upload_id = $2 AND run = $3 AND state IN ('RUNNING', $4) RETURNING *;

-- name: add_rejection
INSERT INTO upload_rejection (tenant_id, upload_id, row_number, line, cells, problems)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- name: find_upload
SELECT *, state = 'RUNNING' AND touched_at <= now() - make_interval(secs => $3) AS is_silent
FROM upload WHERE tenant_id = $1 AND upload_ref = $2;

-- name: list_uploads
-- A page, the newest first.
SELECT *, state = 'RUNNING' AND touched_at <= now() - make_interval(secs => $4) AS is_silent
FROM upload WHERE tenant_id = $1 AND upload_id < $2::bigint ORDER BY upload_id DESC LIMIT $3;

-- name: list_rejections
SELECT row_number, line, cells, problems FROM upload_rejection
WHERE tenant_id = $1 AND upload_id = $2 AND row_number > $3 ORDER BY row_number LIMIT $4;
