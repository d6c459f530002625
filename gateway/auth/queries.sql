-- Who may call: admins and their sessions, keys, what signs tokens, failed logins, the audit log.

-- name: add_audit_entry
-- The database numbers and chains it.
INSERT INTO audit_entry (tenant_id, entry) VALUES ($1, $2);

-- name: find_login_attempts
SELECT subject, failures, failed_at, succeeded_at FROM login_attempt WHERE subject = ANY($1);

-- name: count_login_failure
-- The first one again when the last was before $3.
INSERT INTO login_attempt (subject, failures, failed_at) VALUES ($1, 1, $2)
ON CONFLICT (subject) DO UPDATE SET failed_at = $2, failures =
    CASE WHEN login_attempt.failed_at <= $3 THEN 1 ELSE login_attempt.failures + 1 END;

-- name: note_login_success
WITH forgotten AS (DELETE FROM login_attempt WHERE subject = $2)
INSERT INTO login_attempt (subject, succeeded_at) VALUES ($1, $3)
ON CONFLICT (subject) DO UPDATE SET succeeded_at = $3, failures = 0, failed_at = NULL;

-- name: find_admin
SELECT tenant_id, admin_ref, password_hash FROM admin_user
WHERE lower(email) = lower($1) AND revoked_at IS NULL;

-- name: hold_admins
-- Those of a tenant who may log in. Nobody else makes, ends or changes one meanwhile.
SELECT admin_ref, email, password_hash, scopes FROM admin_user
WHERE tenant_id = $1 AND revoked_at IS NULL ORDER BY created_at, admin_ref FOR NO KEY UPDATE;

-- name: list_admins
SELECT a.admin_ref, a.email, a.scopes, a.created_at, (
    SELECT count(*) FROM session s
    WHERE s.tenant_id = a.tenant_id AND s.admin_ref = a.admin_ref AND s.expires_at > now()
      AND s.revoked_at IS NULL
) AS sessions
FROM admin_user a WHERE a.tenant_id = $1 AND a.revoked_at IS NULL
ORDER BY a.created_at, a.admin_ref;

-- name: add_admin
INSERT INTO admin_user (tenant_id, admin_ref, email, password_hash, scopes)
VALUES ($1, $2, $3, $4, $5);

-- name: end_admin
UPDATE admin_user SET revoked_at = now() WHERE tenant_id = $1 AND admin_ref = $2;

-- name: set_admin_password
UPDATE admin_user SET password_hash = $3 WHERE tenant_id = $1 AND admin_ref = $2;

-- name: end_sessions_of
UPDATE session SET revoked_at = now()
WHERE tenant_id = $1 AND admin_ref = $2 AND revoked_at IS NULL;

-- name: rehash_admin
UPDATE admin_user SET password_hash = $4
WHERE tenant_id = $1 AND admin_ref = $2 AND password_hash = $3;

-- name: add_session
-- For an admin who has the password still that was checked; none otherwise.
INSERT INTO session (tenant_id, token_hash, admin_ref, created_at, expires_at)
SELECT tenant_id, $2, admin_ref, $4, $5 FROM admin_user
WHERE tenant_id = $1 AND admin_ref = $3 AND password_hash = $6 AND revoked_at IS NULL FOR SHARE
RETURNING admin_ref;

-- name: find_session
SELECT s.tenant_id, s.admin_ref, s.expires_at, a.scopes, t.tenant_ref
FROM session s JOIN admin_user a USING (tenant_id, admin_ref) JOIN tenant t USING (tenant_id)
WHERE s.token_hash = $1 AND s.expires_at > $2 AND s.revoked_at IS NULL AND a.revoked_at IS NULL;

-- name: end_session
UPDATE session SET revoked_at = $2 WHERE token_hash = $1 AND revoked_at IS NULL;

-- name: end_oldest_sessions
-- Those beyond the newest $4 that an admin still has.
UPDATE session SET revoked_at = $3 WHERE token_hash IN (
    SELECT token_hash FROM session
    WHERE tenant_id = $1 AND admin_ref = $2 AND expires_at > $3 AND revoked_at IS NULL
    ORDER BY expires_at DESC OFFSET $4
);

-- name: list_signing_keys
-- Those that verify, the newest first. The newest signs once all processes can have met it: the
-- only one, or one that is older than $1.
SELECT kid, secret, created_at <= now() - $1::interval AS is_met FROM signing_key
WHERE retired_at IS NULL OR retired_at > now() ORDER BY created_at DESC, kid;

-- name: lock_signing_keys
-- One process at a time makes a key, in a transaction with the statements that do.
SELECT pg_advisory_xact_lock(hashtext('meterline_signing_key'));

-- name: find_signing_key_age
-- How long the newest key has been there; nothing where there is none.
SELECT now() - max(created_at) FROM signing_key WHERE retired_at IS NULL;

-- name: retire_signing_keys
-- All there are, at the end of an overlap. One that retires sooner keeps its time.
UPDATE signing_key SET retired_at = now() + $1::interval
WHERE retired_at IS NULL OR retired_at > now() + $1::interval;

-- name: add_signing_key
INSERT INTO signing_key (kid, secret) VALUES ($1, $2);

-- name: revoke_token
INSERT INTO revoked_token (tenant_id, token_id, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, token_id) DO NOTHING;

-- name: note_keys_used
INSERT INTO api_key_use (tenant_id, api_key_ref, last_used_at)
SELECT tenant_id, api_key_ref, $2 FROM api_key WHERE api_key_ref = ANY($1::uuid[])
ON CONFLICT (tenant_id, api_key_ref)
DO UPDATE SET last_used_at = greatest(api_key_use.last_used_at, excluded.last_used_at);

-- name: forget_logins
-- What has no effect any more: attempts forgotten, sessions and tokens expired.
WITH attempts AS (
    DELETE FROM login_attempt WHERE greatest(failed_at, succeeded_at) < $1 - interval '31 days'
), sessions AS (
    DELETE FROM session WHERE expires_at < $1 - interval '31 days'
)
DELETE FROM revoked_token WHERE expires_at < $1 - interval '2 hours';

-- name: rehash_key
UPDATE api_key SET password_hash = $4
WHERE tenant_id = $1 AND api_key_ref = $2 AND password_hash = $3;

-- name: add_api_key
INSERT INTO api_key (tenant_id, api_key_ref, api_key, password_hash, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: has_api_key
SELECT EXISTS (
    SELECT FROM api_key WHERE tenant_id = $1 AND api_key_ref = $2 AND revoked_at IS NULL
);

-- name: list_api_keys
SELECT k.api_key_ref, k.api_key, k.scopes, k.created_at, u.last_used_at, k.expires_at,
    k.next_password_hash IS NOT NULL AS has_next_password
FROM api_key k LEFT JOIN api_key_use u USING (tenant_id, api_key_ref)
WHERE k.tenant_id = $1 AND k.revoked_at IS NULL ORDER BY k.created_at, k.api_key_ref;

-- name: delete_api_key
-- By its ref or its name.
UPDATE api_key SET revoked_at = now()
WHERE tenant_id = $1 AND revoked_at IS NULL AND (api_key = $2 OR api_key_ref::text = lower($2))
RETURNING api_key_ref, api_key;

-- name: begin_rotation
UPDATE api_key SET next_password_hash = $3
WHERE tenant_id = $1 AND api_key_ref = $2 AND revoked_at IS NULL AND next_password_hash IS NULL
RETURNING api_key_ref, api_key;

-- name: end_rotation
UPDATE api_key SET password_hash = next_password_hash, next_password_hash = NULL,
    password_number = password_number + 1
WHERE tenant_id = $1 AND api_key_ref = $2 AND revoked_at IS NULL
  AND next_password_hash IS NOT NULL
RETURNING api_key_ref, api_key;

-- name: load_blocks
-- Those in force, of all tenants.
SELECT tenant_id, address, account FROM login_block
WHERE expires_at IS NULL OR expires_at > now() ORDER BY tenant_id, created_at LIMIT $1;

-- name: list_blocks
-- Those in force; for the installation's own, the tenant is 0.
SELECT block_ref, address, account, note, made_by, created_at, expires_at FROM login_block
WHERE tenant_id = $1 AND (expires_at IS NULL OR expires_at > now())
ORDER BY created_at, block_ref;

-- name: forget_blocks
DELETE FROM login_block WHERE tenant_id = $1 AND expires_at <= now();

-- name: count_blocks
SELECT count(*) FROM login_block WHERE tenant_id = $1;

-- name: add_block
INSERT INTO login_block (tenant_id, block_ref, address, account, note, made_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: delete_block
DELETE FROM login_block WHERE tenant_id = $1 AND block_ref = $2
RETURNING block_ref, address, account;

-- name: find_account_admins
-- Whom an account names, of one tenant or, for 0, of all.
SELECT tenant_id, admin_ref FROM admin_user
WHERE ($1 = 0 OR tenant_id = $1) AND lower(email) = $2 AND revoked_at IS NULL;

-- name: end_tokens_of
-- Those of all passwords that the keys of a name have; a login gets good ones again.
UPDATE api_key SET password_number = password_number + 2
WHERE ($1 = 0 OR tenant_id = $1) AND lower(api_key) = $2 AND revoked_at IS NULL
RETURNING api_key_ref;

-- name: list_audit_entries
-- A page, the newest first: before a number, between two times, of an actor; a null means any.
SELECT number, entry, hash FROM audit_entry
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR number < $2)
    AND ($3::timestamptz IS NULL OR audit_time(entry) >= $3)
    AND ($4::timestamptz IS NULL OR audit_time(entry) < $4)
    AND ($5::text IS NULL OR entry::jsonb ->> 'actor' = $5)
ORDER BY number DESC LIMIT $6;
