-- Answers to requests with an Idempotency-Key.

-- name: lock_key
-- Held to the end of the transaction; false while another request with the key is under way.
SELECT pg_try_advisory_xact_lock(hashtextextended('idempotency ' || $1::integer || ' ' || $2, 0));

-- name: find_answer
SELECT fingerprint, status, content_type, body FROM idempotent_answer
WHERE tenant_id = $1 AND key = $2 AND created_at > now() - interval '30 days';

-- name: forget_answers
DELETE FROM idempotent_answer WHERE tenant_id = $1 AND created_at <= now() - interval '30 days';

-- name: keep_answer
INSERT INTO idempotent_answer (tenant_id, key, fingerprint, status, content_type, body)
VALUES ($1, $2, $3, $4, $5, $6);
