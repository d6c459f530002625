-- The whole database. It equals what the migrations make (a test compares them).
--
-- Each table's comment names its one writer service. Growing tables begin their primary key with
-- shard_key: the 31 bits of Kafka's murmur2 of the customer's ref, which every ref of the
-- customer's rows carries too, so it is computed and never looked up. Small tables are keyed by
-- tenant. Money and quantities are numeric without a scale: what is written is kept digit for
-- digit; two-sided checks keep NaN and the infinities out.

-- ---------------------------------------------------------------- tenants and who may call

CREATE TABLE tenant (
    tenant_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_ref uuid NOT NULL UNIQUE,
    name text NOT NULL,
    default_entity_id integer,
    next_contract_number bigint NOT NULL DEFAULT 1 CHECK (next_contract_number > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tenant IS 'Writer: gateway. One installation may serve several tenants.';

CREATE TABLE reference_version (
    tenant_id integer PRIMARY KEY REFERENCES tenant,
    version bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE reference_version IS
'Writer: gateway, by trigger. Counts the changes of a tenant''s reference data, so that a process
that missed a notice notices; the row lock makes the versions commit in order.';

CREATE FUNCTION stamp_reference_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO reference_version (tenant_id, version) VALUES (NEW.tenant_id, 1)
    ON CONFLICT (tenant_id) DO UPDATE SET version = reference_version.version + 1
    RETURNING version INTO NEW.reference_version;
    PERFORM pg_notify('meterline_reference', NEW.tenant_id || ':' || NEW.reference_version);
    RETURN NEW;
END $$;

CREATE TABLE tenant_setting (
    tenant_id integer PRIMARY KEY REFERENCES tenant,
    refuses_unknown_fields boolean NOT NULL DEFAULT false,
    age_days_max integer CHECK (age_days_max BETWEEN 1 AND 36525),
    closing_grace_seconds integer CHECK (closing_grace_seconds BETWEEN 0 AND 5184000),
    closing_waits boolean NOT NULL DEFAULT false,
    late_usage text NOT NULL DEFAULT 'OWN_DOCUMENT'
    CHECK (late_usage IN ('OWN_DOCUMENT', 'NEXT_DOCUMENT')),
    review_documents boolean NOT NULL DEFAULT false,
    reminder_days integer[] NOT NULL DEFAULT '{}' CHECK (cardinality(reminder_days) <= 10),
    reference_version bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tenant_setting IS
'Writer: gateway. What a tenant has chosen; a tenant without a row has the defaults. age_days_max:
how old an event may be when it comes, null for any age. closing_grace_seconds: how long after its
end a period closes by itself, null for the rater''s own; closing_waits: not while the customer has
dead letters or amendments that nobody has settled. late_usage: where what changes of an issued
document goes: to a document of its own, or onto the contract''s next one. review_documents: those
of periods are held until a person approves them.';
CREATE TRIGGER tenant_setting_version BEFORE INSERT OR UPDATE ON tenant_setting
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

CREATE TABLE entity (
    tenant_id integer NOT NULL REFERENCES tenant,
    entity_id integer GENERATED ALWAYS AS IDENTITY,
    entity_ref uuid NOT NULL UNIQUE,
    name text NOT NULL,
    legal_name text NOT NULL,
    email text,
    registration_number text,
    timezone text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    net_terms text NOT NULL DEFAULT '30',
    document_number_format text NOT NULL DEFAULT 'INV-{year}-{number:03}',
    review text NOT NULL DEFAULT 'INHERITED' CHECK (review IN ('REQUIRED', 'NONE', 'INHERITED')),
    details jsonb NOT NULL DEFAULT '{}',
    reference_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, entity_id)
);
COMMENT ON TABLE entity IS
'Writer: gateway. A legal entity that issues documents. details holds address, phone and billing
details as the API shows them; net_terms is days or DUE_UPON_RECEIPT. review: whether documents of
periods wait for a person; INHERITED: as the tenant has it.';
CREATE UNIQUE INDEX entity_name ON entity (tenant_id, lower(name));
CREATE INDEX entity_reference_version ON entity (tenant_id, reference_version);
CREATE TRIGGER entity_version BEFORE INSERT OR UPDATE ON entity
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

ALTER TABLE tenant ADD FOREIGN KEY (tenant_id, default_entity_id) REFERENCES entity;

CREATE TABLE api_key (
    tenant_id integer NOT NULL REFERENCES tenant,
    api_key_ref uuid NOT NULL,
    api_key text NOT NULL,
    password_hash text NOT NULL,
    next_password_hash text,
    password_number integer NOT NULL DEFAULT 1,
    scopes text[] NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    reference_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, api_key_ref)
);
COMMENT ON TABLE api_key IS
'Writer: gateway. Hashes are argon2id in PHC form, or SHA-256 of a password that we generated.
password_number counts the passwords that were first: a token names the one it was got with.
During a rotation next_password_hash is good, too. A deleted key gives its name back.';
CREATE UNIQUE INDEX api_key_name ON api_key (api_key) WHERE revoked_at IS NULL;
CREATE INDEX api_key_reference_version ON api_key (tenant_id, reference_version);
CREATE TRIGGER api_key_version BEFORE INSERT OR UPDATE ON api_key
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

CREATE TABLE api_key_use (
    tenant_id integer NOT NULL,
    api_key_ref uuid NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, api_key_ref),
    FOREIGN KEY (tenant_id, api_key_ref) REFERENCES api_key
) WITH (fillfactor = 50);
COMMENT ON TABLE api_key_use IS
'Writer: gateway. When a key was last used, to ten seconds; apart from api_key, whose every change
is news to each process.';

CREATE TABLE revoked_token (
    tenant_id integer NOT NULL REFERENCES tenant,
    token_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    reference_version bigint NOT NULL,
    PRIMARY KEY (tenant_id, token_id)
);
COMMENT ON TABLE revoked_token IS
'Writer: gateway. Access tokens that were logged out; a row is of no use once the token has expired.';
CREATE INDEX revoked_token_reference_version ON revoked_token (tenant_id, reference_version);
CREATE TRIGGER revoked_token_version BEFORE INSERT OR UPDATE ON revoked_token
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

CREATE TABLE admin_user (
    tenant_id integer NOT NULL REFERENCES tenant,
    admin_ref uuid NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    scopes text[] NOT NULL,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, admin_ref)
);
COMMENT ON TABLE admin_user IS
'Writer: gateway. A person who looks after a tenant; password_hash as in api_key.';
CREATE UNIQUE INDEX admin_user_email ON admin_user (lower(email)) WHERE revoked_at IS NULL;

CREATE TABLE session (
    tenant_id integer NOT NULL,
    token_hash bytea NOT NULL,
    admin_ref uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (token_hash),
    FOREIGN KEY (tenant_id, admin_ref) REFERENCES admin_user
);
COMMENT ON TABLE session IS
'Writer: gateway. An admin who is logged in; token_hash is SHA-256 of what the cookie holds.';
CREATE INDEX session_admin ON session (tenant_id, admin_ref, expires_at);

CREATE TABLE login_block (
    tenant_id integer NOT NULL,
    block_ref uuid NOT NULL,
    address cidr,
    account text,
    note text,
    made_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    PRIMARY KEY (tenant_id, block_ref),
    CHECK (num_nonnulls(address, account) = 1)
);
COMMENT ON TABLE login_block IS
'Writer: gateway. Addresses and accounts (in lower case) that may not log in to a tenant; tenant 0
is the installation itself.';

CREATE TABLE login_attempt (
    subject bytea PRIMARY KEY,
    failures integer NOT NULL DEFAULT 0,
    failed_at timestamptz,
    succeeded_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE login_attempt IS
'Writer: gateway. How often logging in failed in a row, for an account (which may not exist), an
address, and an account from an address; subject is SHA-256 of which.';
CREATE INDEX login_attempt_age ON login_attempt (greatest(failed_at, succeeded_at));

CREATE TABLE signing_key (
    kid text PRIMARY KEY,
    secret bytea NOT NULL CHECK (length(secret) >= 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);
COMMENT ON TABLE signing_key IS
'Writer: gateway. HS256 keys of access tokens. The newest signs once every process had the time to
learn it; one stops verifying at retired_at, which a rotation sets to the end of the overlap.';

CREATE TABLE link_key (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    secret bytea NOT NULL CHECK (length(secret) >= 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE link_key IS
'Writer: migrate. The key of the links to pages of documents; with another one they are all dead.';
-- Each uuid brings 122 bits of the server's strong random numbers.
INSERT INTO link_key (secret)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()));

CREATE TABLE idempotent_answer (
    tenant_id integer NOT NULL REFERENCES tenant,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
COMMENT ON TABLE idempotent_answer IS
'Writer: gateway. What a request with an Idempotency-Key was answered, written in the transaction of
what it did; kept for 30 days. fingerprint is SHA-256 over the request.';
CREATE INDEX idempotent_answer_age ON idempotent_answer (tenant_id, created_at);

CREATE TABLE audit_head (
    tenant_id integer PRIMARY KEY,
    number bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
);
COMMENT ON TABLE audit_head IS
'Writer: gateway, by trigger. Where each tenant''s chain of audit entries ends; its lock makes them
follow one another. Tenant 0 is the installation itself.';

CREATE TABLE audit_entry (
    tenant_id integer NOT NULL,
    number bigint NOT NULL,
    entry text NOT NULL CHECK (entry IS JSON OBJECT),
    hash bytea NOT NULL,
    subject text NOT NULL GENERATED ALWAYS AS (coalesce(entry::jsonb ->> 'subject', '')) STORED,
    PRIMARY KEY (tenant_id, number)
);
COMMENT ON TABLE audit_entry IS
'Writer: gateway. Who did what, from where, and what it was before and after, written in the
transaction that did it. hash is SHA-256 over the hash before it, the number as 8 bytes, and the
entry: none can be changed, taken out or put in between unnoticed. subject: the entry''s, in a column
since row-level security lets no index help with a part of a text.';
CREATE INDEX audit_entry_subject ON audit_entry (tenant_id, subject, number);

-- When what an entry tells was done. It is written in UTC, so no setting changes what it means.
CREATE FUNCTION audit_time(entry text) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT (entry::jsonb ->> 'at')::timestamptz
$$;
CREATE INDEX audit_entry_time ON audit_entry (tenant_id, audit_time(entry));

CREATE FUNCTION chain_audit_entry() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head audit_head;
BEGIN
    INSERT INTO audit_head (tenant_id) VALUES (NEW.tenant_id) ON CONFLICT DO NOTHING;
    SELECT * INTO head FROM audit_head WHERE tenant_id = NEW.tenant_id FOR UPDATE;
    NEW.number := head.number + 1;
    NEW.hash := sha256(head.hash || int8send(NEW.number) || convert_to(NEW.entry, 'UTF8'));
    UPDATE audit_head SET number = NEW.number, hash = NEW.hash WHERE tenant_id = NEW.tenant_id;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_entry_chained BEFORE INSERT ON audit_entry
FOR EACH ROW EXECUTE FUNCTION chain_audit_entry();

CREATE FUNCTION keep_audit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_entry_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_entry();

-- ---------------------------------------------------------------- customers, meters, prices

CREATE TABLE customer (
    shard_key integer NOT NULL CHECK (shard_key >= 0),
    customer_id integer GENERATED ALWAYS AS IDENTITY,
    customer_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    entity_id integer NOT NULL,
    name text NOT NULL,
    legal_name text,
    email text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    tax numeric CHECK (tax BETWEEN 0 AND 1000),
    net_terms text,
    external_id text,
    details jsonb NOT NULL DEFAULT '{}',
    reference_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, customer_id),
    UNIQUE (shard_key, customer_ref),
    FOREIGN KEY (tenant_id, entity_id) REFERENCES entity
);
COMMENT ON TABLE customer IS
'Writer: gateway. details holds phone, addresses, billing details and settings as the API shows
them; tax is percent; net_terms is days, DUE_UPON_RECEIPT or DUE_UPON_USAGE.';
CREATE INDEX customer_name ON customer (tenant_id, lower(name));
-- Both extensions come with Postgres and are trusted: whoever owns the database may make them.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;
CREATE INDEX customer_name_part ON customer USING gin (tenant_id, lower(name) gin_trgm_ops)
WITH (gin_pending_list_limit = 256);  -- KiB: whoever searches reads through what was just added
CREATE INDEX customer_reference_version ON customer (tenant_id, reference_version);
CREATE TRIGGER customer_version BEFORE INSERT OR UPDATE ON customer
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

CREATE TABLE meter (
    tenant_id integer NOT NULL REFERENCES tenant,
    meter_id integer GENERATED ALWAYS AS IDENTITY,
    usage_product_ref uuid NOT NULL UNIQUE,
    name text NOT NULL,
    unit text,
    aggregation text NOT NULL CHECK (aggregation IN (
        'SUM', 'COUNT', 'MAX', 'LAST', 'AVERAGE', 'RUNNING_AVERAGE', 'TIME_WEIGHTED', 'UNIQUE')),
    unique_key text,
    formula text,
    relation text NOT NULL DEFAULT 'DEBIT' CHECK (relation IN ('DEBIT', 'CREDIT')),
    parent_meter_id integer,
    parent_factor numeric,
    reference_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, meter_id),
    FOREIGN KEY (tenant_id, parent_meter_id) REFERENCES meter,
    CHECK ((aggregation = 'UNIQUE') = (unique_key IS NOT NULL)),
    CHECK (formula IS NULL OR aggregation NOT IN ('COUNT', 'UNIQUE')),
    CHECK ((parent_meter_id IS NULL) = (parent_factor IS NULL)),
    CHECK (CASE relation WHEN 'CREDIT' THEN parent_factor IS NOT DISTINCT FROM -1
           ELSE parent_factor IS NULL OR parent_factor > 0 END)
);
COMMENT ON TABLE meter IS
'Writer: gateway. What is measured (a usage product) and how it adds up. unique_key: the key of
additional data whose different values a UNIQUE one counts. formula: what makes the billable
quantity of an event, null where that is its quantity; it never changes, as events were accepted by
it. parent_meter_id: the meter that its events count toward, too, times parent_factor; those of a
CREDIT one are taken away from it, by a factor of -1.';
CREATE UNIQUE INDEX meter_name ON meter (tenant_id, lower(name));
CREATE INDEX meter_reference_version ON meter (tenant_id, reference_version);
CREATE TRIGGER meter_version BEFORE INSERT OR UPDATE ON meter
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

CREATE TABLE meter_feed (
    tenant_id integer NOT NULL,
    meter_id integer NOT NULL,
    toward_id integer NOT NULL,
    factor numeric NOT NULL CHECK (factor <> 0),
    PRIMARY KEY (tenant_id, meter_id, toward_id),
    FOREIGN KEY (tenant_id, meter_id) REFERENCES meter,
    FOREIGN KEY (tenant_id, toward_id) REFERENCES meter
);
COMMENT ON TABLE meter_feed IS
'Writer: gateway, by trigger. In which meters'' lines the events of a meter count, and times what: in
its own, by 1, and in those of every meter above it, by the product of the factors on the way.';
CREATE INDEX meter_feed_toward ON meter_feed (tenant_id, toward_id);

CREATE FUNCTION keep_meter_feed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO meter_feed VALUES (NEW.tenant_id, NEW.meter_id, NEW.meter_id, 1);
    ELSE
        -- What is below it counts no more in what was above it.
        DELETE FROM meter_feed gone USING meter_feed below, meter_feed above
        WHERE (below.tenant_id, below.toward_id) = (NEW.tenant_id, NEW.meter_id)
          AND (above.tenant_id, above.meter_id) = (NEW.tenant_id, NEW.meter_id)
          AND above.toward_id <> NEW.meter_id
          AND (gone.tenant_id, gone.meter_id, gone.toward_id)
            = (NEW.tenant_id, below.meter_id, above.toward_id);
    END IF;
    INSERT INTO meter_feed (tenant_id, meter_id, toward_id, factor)
    SELECT NEW.tenant_id, below.meter_id, above.toward_id,
           trim_scale(below.factor * NEW.parent_factor * above.factor)
    FROM meter_feed below, meter_feed above
    WHERE (below.tenant_id, below.toward_id) = (NEW.tenant_id, NEW.meter_id)
      AND (above.tenant_id, above.meter_id) = (NEW.tenant_id, NEW.parent_meter_id);
    RETURN NULL;
END $$;
CREATE TRIGGER meter_feed_made AFTER INSERT ON meter
FOR EACH ROW EXECUTE FUNCTION keep_meter_feed();
CREATE TRIGGER meter_feed_moved AFTER UPDATE ON meter FOR EACH ROW
WHEN ((OLD.parent_meter_id, OLD.parent_factor) IS DISTINCT FROM (NEW.parent_meter_id, NEW.parent_factor))
EXECUTE FUNCTION keep_meter_feed();

CREATE TABLE usage_format (
    tenant_id integer NOT NULL REFERENCES tenant,
    format_id integer GENERATED ALWAYS AS IDENTITY,
    format_ref uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    name text NOT NULL,
    definition text CHECK (definition IS JSON OBJECT),
    deleted_at timestamptz,
    reference_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, format_id),
    CHECK (definition IS NOT NULL OR deleted_at IS NULL)
);
COMMENT ON TABLE usage_format IS
'Writer: gateway. How a tenant''s own fields become those of a usage event. definition is null for
the format that every tenant has from the beginning: it takes the API''s fields as they are, and is
never changed. A deleted format gives its name back.';
CREATE UNIQUE INDEX usage_format_name ON usage_format (tenant_id, lower(name))
WHERE deleted_at IS NULL;
CREATE INDEX usage_format_reference_version ON usage_format (tenant_id, reference_version);
CREATE TRIGGER usage_format_version BEFORE INSERT OR UPDATE ON usage_format
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

CREATE FUNCTION add_default_format() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_format (tenant_id, name) VALUES (NEW.tenant_id, 'Default Format');
    RETURN NULL;
END $$;
CREATE TRIGGER tenant_default_format AFTER INSERT ON tenant
FOR EACH ROW EXECUTE FUNCTION add_default_format();

CREATE TABLE product (
    tenant_id integer NOT NULL REFERENCES tenant,
    product_id integer GENERATED ALWAYS AS IDENTITY,
    product_ref uuid NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, product_id)
);
COMMENT ON TABLE product IS 'Writer: gateway. What is sold.';
CREATE UNIQUE INDEX product_name ON product (tenant_id, lower(name));

CREATE TABLE pricing (
    tenant_id integer NOT NULL REFERENCES tenant,
    pricing_id integer GENERATED ALWAYS AS IDENTITY,
    pricing_ref uuid NOT NULL UNIQUE,
    product_id integer NOT NULL,
    name text NOT NULL,
    minimum_fee numeric CHECK (minimum_fee BETWEEN 0 AND 1e20),
    is_published boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, pricing_id),
    FOREIGN KEY (tenant_id, product_id) REFERENCES product
);
COMMENT ON TABLE pricing IS 'Writer: gateway. One immutable price list of a product once published.';

CREATE TABLE pricing_line (
    tenant_id integer NOT NULL REFERENCES tenant,
    pricing_line_id integer GENERATED ALWAYS AS IDENTITY,
    line_item_ref uuid NOT NULL UNIQUE,
    pricing_id integer NOT NULL,
    position smallint NOT NULL,
    item text NOT NULL,
    meter_id integer,
    price jsonb NOT NULL,
    base_line_id integer,
    contract_ref uuid CHECK ((contract_ref IS NULL) = (base_line_id IS NULL)),
    PRIMARY KEY (tenant_id, pricing_line_id),
    FOREIGN KEY (tenant_id, pricing_id) REFERENCES pricing,
    FOREIGN KEY (tenant_id, base_line_id) REFERENCES pricing_line,
    FOREIGN KEY (tenant_id, meter_id) REFERENCES meter
);
COMMENT ON TABLE pricing_line IS
'Writer: gateway. A line item and its price (decimals as strings); this row is the price version
that charges, cuts and document lines name, so it is never changed. One that a contract has of its
own, by an override, names the line item that it is sold in the place of.';
CREATE UNIQUE INDEX pricing_line_place ON pricing_line (tenant_id, pricing_id, position)
WHERE base_line_id IS NULL;

CREATE FUNCTION keep_published_pricing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a published pricing is never changed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER pricing_kept BEFORE UPDATE ON pricing FOR EACH ROW
WHEN (OLD.is_published AND OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION keep_published_pricing();
CREATE TRIGGER pricing_stays BEFORE DELETE ON pricing FOR EACH ROW
WHEN (OLD.is_published) EXECUTE FUNCTION keep_published_pricing();
CREATE FUNCTION keep_published_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' AND NEW.base_line_id IS NULL AND EXISTS (
        SELECT FROM pricing p WHERE p.tenant_id = NEW.tenant_id AND p.pricing_id = NEW.pricing_id
        AND p.is_published FOR SHARE
    ) OR TG_OP <> 'INSERT' AND (OLD.base_line_id IS NOT NULL OR EXISTS (
        SELECT FROM pricing p WHERE p.tenant_id = OLD.tenant_id AND p.pricing_id = OLD.pricing_id
        AND p.is_published FOR SHARE
    )) THEN
        RAISE EXCEPTION 'a line item of a published pricing is never changed'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER pricing_line_kept BEFORE INSERT OR UPDATE OR DELETE ON pricing_line
FOR EACH ROW EXECUTE FUNCTION keep_published_line();

-- ---------------------------------------------------------------- contracts

CREATE TABLE contract (
    shard_key integer NOT NULL CHECK (shard_key >= 0),
    contract_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    customer_id integer NOT NULL,
    contract_number bigint NOT NULL,
    po_number text,
    invoice_mode text NOT NULL CHECK (invoice_mode IN ('COLLECTIVE', 'PER_PRODUCT')),
    closing text NOT NULL CHECK (closing IN ('AUTOMATIC', 'MANUAL')),
    closes_after timestamptz,
    state text NOT NULL CHECK (state IN ('ACTIVE', 'CANCELLED')),
    review text NOT NULL DEFAULT 'INHERITED' CHECK (review IN ('REQUIRED', 'NONE', 'INHERITED')),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    reference_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, contract_ref),
    FOREIGN KEY (shard_key, customer_id) REFERENCES customer
);
COMMENT ON TABLE contract IS
'Writer: gateway. closes_after: of an AUTOMATIC contract, the periods that had ended by then wait
for a call as those of a MANUAL one do; null: none does. version: the last that was made. review: whether
documents of periods wait for a person; INHERITED: as the entity has it.';
CREATE UNIQUE INDEX contract_number ON contract (tenant_id, contract_number, shard_key);
CREATE INDEX contract_customer ON contract (shard_key, customer_id);
CREATE INDEX contract_news ON contract (tenant_id, reference_version);
CREATE TRIGGER contract_version BEFORE INSERT OR UPDATE ON contract
FOR EACH ROW EXECUTE FUNCTION stamp_reference_version();

CREATE TABLE contract_transition (
    old_state text NOT NULL,
    new_state text NOT NULL,
    action text NOT NULL,
    PRIMARY KEY (old_state, new_state, action)
);
COMMENT ON TABLE contract_transition IS
'Writer: migrate. The ways between the states of a contract, and what people call going each: the
table of schemas/contract_lifecycle.py. A DRAFT is a row of contract_draft.';
INSERT INTO contract_transition (old_state, new_state, action) VALUES
('DRAFT', 'DRAFT', 'contract.draft_edited'),
('DRAFT', 'ACTIVE', 'contract.published'),
('DRAFT', 'CANCELLED', 'contract.draft_dropped'),
('ACTIVE', 'ACTIVE', 'contract.edited'),
('ACTIVE', 'CANCELLED', 'contract.cancelled');

CREATE FUNCTION keep_contract_way() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM contract_transition WHERE old_state = OLD.state AND new_state = NEW.state
    ) THEN
        RAISE EXCEPTION 'contract % cannot go from % to %', OLD.contract_ref, OLD.state, NEW.state
        USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'contract % goes from version % to the next, not to %',
            OLD.contract_ref, OLD.version, NEW.version USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER contract_way BEFORE UPDATE OF state, version ON contract
FOR EACH ROW EXECUTE FUNCTION keep_contract_way();

CREATE TABLE contract_draft (
    shard_key integer NOT NULL,
    contract_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    customer_id integer NOT NULL,
    terms text NOT NULL CHECK (terms IS JSON OBJECT),
    closes_ended boolean NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, contract_ref),
    FOREIGN KEY (shard_key, customer_id) REFERENCES customer
);
COMMENT ON TABLE contract_draft IS
'Writer: gateway. A contract that is not published: nothing is rated or billed by it, and no other
table knows of it. terms: as the API shows it, which is also what it takes; text, to keep the order
of its keys and every digit. closes_ended: whether the clock is to close what has ended by its
publishing. Publishing it writes the contract, under the same ref, and deletes it here.';
CREATE INDEX contract_draft_customer ON contract_draft (shard_key, customer_id, made_at);

CREATE TABLE contract_version (
    shard_key integer NOT NULL,
    contract_ref uuid NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('MADE', 'EDITED', 'CANCELLED')),
    includes_current boolean NOT NULL DEFAULT false,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, contract_ref, version),
    FOREIGN KEY (shard_key, contract_ref) REFERENCES contract
);
COMMENT ON TABLE contract_version IS
'Writer: gateway. Who made, edited or cancelled a contract, and when; never changed.
includes_current: from the running period on, else from the next.';

CREATE TABLE contract_product (
    shard_key integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    contract_ref uuid NOT NULL,
    position smallint NOT NULL,
    document_group smallint NOT NULL,
    pricing_id integer NOT NULL,
    entity_id integer NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    timezone text NOT NULL,
    billing_start_date date NOT NULL,
    billing_end_date date,
    cycle_unit text NOT NULL CHECK (cycle_unit IN ('ONE_TIME', 'MONTHLY', 'QUARTERLY', 'YEARLY')),
    cycle_length smallint NOT NULL CHECK (cycle_length BETWEEN 1 AND 120),
    issue_day date,
    payment_time text NOT NULL CHECK (payment_time IN ('BEFORE_USE', 'DURING_USE', 'AFTER_USE')),
    tax numeric NOT NULL CHECK (tax BETWEEN 0 AND 1000),
    discount numeric NOT NULL CHECK (discount BETWEEN 0 AND 100),
    net_terms text NOT NULL,
    minimum_fee numeric CHECK (minimum_fee BETWEEN 0 AND 1e20),
    note text,
    details jsonb NOT NULL DEFAULT '{}',
    commitments jsonb NOT NULL DEFAULT '[]',
    credits jsonb NOT NULL DEFAULT '[]',
    overrides jsonb NOT NULL DEFAULT '[]',
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    since_date date,
    until_date date,
    ahead_since date,
    term_end_date date,
    is_pending boolean NOT NULL DEFAULT false,
    carries_on_ref uuid,
    lineage_ref uuid NOT NULL
        GENERATED ALWAYS AS (coalesce(carries_on_ref, contract_product_ref)) STORED,
    CHECK (billing_start_date <= billing_end_date),
    PRIMARY KEY (shard_key, contract_product_ref),
    UNIQUE (shard_key, contract_ref, version, position),
    FOREIGN KEY (shard_key, contract_ref) REFERENCES contract
);
COMMENT ON TABLE contract_product IS
'Writer: gateway. A pricing sold under terms. billing_end_date is the last day in force; the dates
are local days of timezone (the entity''s when the contract was made); products of one
document_group whose periods are issued on the same day share a document; details holds the
billing details of payment. commitments and credits are as the API takes them, numbers as texts;
a credit is known by its place in the list; overrides are as the API takes them, too. A row is the
product as one version of its contract has it: it prices what lies from since_date on, and before
until_date (null: no such bound). ahead_since: of a product that is billed before or during use, the
periods that begin before then are billed as a whole: they had ended when it was made, and wait for a
call, or, where since_date is there, it rates them anew (null: none are). term_end_date: of a product that renews itself, the last day of its first term;
its billing_end_date is null, then. While is_pending it is being back-filled and prices nothing yet.
carries_on_ref: the first of the rows that it carries on, null: none; those of one lineage_ref share
prepaid credits, commitments over the contract and what meters weighted by time begin with.
until_date and is_pending alone are changed by the rater, in the transaction that swaps charges.';

CREATE TABLE contract_succession (
    shard_key integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    version integer NOT NULL CHECK (version > 1),
    tenant_id integer NOT NULL REFERENCES tenant,
    contract_ref uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('EDITED', 'CANCELLED')),
    from_date date NOT NULL,
    successor_ref uuid,
    PRIMARY KEY (shard_key, contract_product_ref, version),
    FOREIGN KEY (shard_key, contract_product_ref) REFERENCES contract_product,
    FOREIGN KEY (shard_key, successor_ref) REFERENCES contract_product
);
COMMENT ON TABLE contract_succession IS
'Writer: gateway. From which day on a version of a contract ends a contract product, and which one
of it goes on in its place; null: none. Never changed.';
CREATE INDEX contract_succession_contract ON contract_succession (shard_key, contract_ref);

CREATE TABLE contract_line (
    shard_key integer NOT NULL,
    contract_line_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    contract_product_ref uuid NOT NULL,
    position smallint NOT NULL,
    pricing_line_id integer NOT NULL,
    PRIMARY KEY (shard_key, contract_line_ref),
    UNIQUE (shard_key, contract_product_ref, position),
    FOREIGN KEY (shard_key, contract_product_ref) REFERENCES contract_product,
    FOREIGN KEY (tenant_id, pricing_line_id) REFERENCES pricing_line
);
COMMENT ON TABLE contract_line IS 'Writer: gateway. A line item that the contract names.';

CREATE TABLE partition_change (
    partition integer NOT NULL,
    reference_version bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CONTRACT', 'CLOSE')),
    shard_key integer NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    customer_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    recorded_offset bigint NOT NULL,
    close_through date CHECK ((kind = 'CLOSE') = (close_through IS NOT NULL)),
    contract_version integer NOT NULL DEFAULT 1,
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, reference_version)
);
COMMENT ON TABLE partition_change IS
'Writer: gateway. What the owner of a partition has to do: CONTRACT, rate the customer''s usage
with an offset below recorded_offset by the products of contract_version; CLOSE, close the
contract''s periods that end by close_through. The writer holds the row of rater_partition, so the
reference versions are dense and recorded_offset is exact.';
CREATE INDEX partition_change_contract ON partition_change (shard_key, contract_ref);

-- ---------------------------------------------------------------- the log and its rating

CREATE TABLE event_log (
    log_id uuid PRIMARY KEY,
    topic text NOT NULL UNIQUE,
    partitions integer NOT NULL CHECK (partitions BETWEEN 1 AND 4096),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE event_log IS
'Writer: migrate. The identity of a topic of usage events, made with the topic; the number of its
partitions never changes.';

CREATE TABLE rater_partition (
    partition integer PRIMARY KEY,
    log_id uuid NOT NULL REFERENCES event_log,
    first_offset bigint NOT NULL DEFAULT 0,
    next_offset bigint NOT NULL DEFAULT 0,
    steps bigint NOT NULL DEFAULT 0,
    reference_version bigint NOT NULL DEFAULT 0,
    changes_seen bigint NOT NULL DEFAULT 0,
    rated bigint NOT NULL DEFAULT 0 CHECK (rated >= 0),
    unrated bigint NOT NULL DEFAULT 0 CHECK (unrated >= 0),
    duplicates bigint NOT NULL DEFAULT 0 CHECK (duplicates >= 0),
    conflicts bigint NOT NULL DEFAULT 0 CHECK (conflicts >= 0),
    amendments bigint NOT NULL DEFAULT 0 CHECK (amendments >= 0),
    dead_letters bigint NOT NULL DEFAULT 0 CHECK (dead_letters >= 0),
    skipped bigint NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    last_record_offset bigint,
    last_record_digest bytea,
    archived_below integer NOT NULL DEFAULT 0,
    archived_until timestamptz NOT NULL DEFAULT '2000-01-01T00:00:00Z',
    CHECK (next_offset - first_offset
        = rated + unrated + duplicates + conflicts + amendments + dead_letters + skipped)
) WITH (fillfactor = 50);
COMMENT ON TABLE rater_partition IS
'Writer: rater (reference_version alone is raised by the gateway, under the row''s lock). Where
rating stands in a partition of the log, in the transaction of the totals. steps counts the
owner''s transactions: a writer that expects another value has lost the partition. The check is
the conservation of events. The digest of the last rated record tells a recreated topic.
archived_below: the first month that is taken, earlier ones have left the database or are about to.
archived_until: the end of that, and of every billing period that reaches into it: nothing before is
taken (meterline archive raises both, and reference_version, under the row''s lock).';

CREATE TABLE rater_member (
    member text PRIMARY KEY,
    partitions integer[] NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE rater_member IS
'Writer: rater. The processes that rate, and which partitions each takes care of until expires_at.
It spreads the work and nothing else: what keeps two owners apart is the fence in rater_partition.';

CREATE TABLE skipped_range (
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    end_offset bigint NOT NULL CHECK (end_offset > first_offset),
    PRIMARY KEY (partition, first_offset)
);
COMMENT ON TABLE skipped_range IS
'Writer: rater. Offsets that hold no readable record (control or aborted ones of transactional
producers): half-open ranges, so that they can be read again and proved empty.';

CREATE TABLE usage_event_row (
    event_ref uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    fingerprint bigint NOT NULL,
    rated_at bigint NOT NULL,
    shard_key integer NOT NULL,
    tenant_id integer NOT NULL,
    customer_id integer NOT NULL,
    meter_id integer NOT NULL,
    quantity numeric NOT NULL CHECK (quantity BETWEEN -1e38 AND 1e38),
    additional_data text NOT NULL,
    PRIMARY KEY (shard_key, event_ref)
) PARTITION BY RANGE (event_ref);
COMMENT ON TABLE usage_event_row IS
'Writer: rater. Every accepted event once, never updated; one partition a month, on the month''s
bits of event_ref. Read it as usage_event. rated_at is the offset at which it was rated;
additional_data is JSON text as sent, empty where there is none. There are more of these rows than
of all else: wide columns first, so that nothing is padded, and no NULL, whose bits take 8 bytes.';

CREATE TABLE usage_event_origin (
    shard_key integer NOT NULL,
    event_ref uuid NOT NULL,
    origin_offset bigint NOT NULL,
    tenant_id integer NOT NULL,
    origin_partition smallint NOT NULL,
    PRIMARY KEY (shard_key, event_ref)
);
COMMENT ON TABLE usage_event_origin IS
'Writer: rater. The place in the log that first named an event, where it was rated at another one:
of retried dead letters.';

CREATE VIEW usage_event WITH (security_invoker = true) AS
SELECT e.event_ref, e.occurred_at, e.fingerprint, e.rated_at,
       coalesce((SELECT o.origin_offset FROM usage_event_origin o
                 WHERE o.shard_key = e.shard_key AND o.event_ref = e.event_ref), e.rated_at)
       AS origin_offset,
       e.shard_key, e.tenant_id, e.customer_id, e.meter_id,
       coalesce((SELECT o.origin_partition FROM usage_event_origin o
                 WHERE o.shard_key = e.shard_key AND o.event_ref = e.event_ref),
                (e.shard_key % (SELECT partitions FROM event_log))::smallint) AS origin_partition,
       e.quantity, nullif(e.additional_data, '') AS additional_data
FROM usage_event_row e;
COMMENT ON VIEW usage_event IS
'Every accepted event with its origin, the place in the log that first named it; additional_data is
NULL where there is none. What a statement doesn''t ask for is not looked up.';

CREATE FUNCTION usage_month_bound(month integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(month), 3, '0') || '00000-0000-0000-0000-000000000000')::uuid
$$;

CREATE TABLE archived_month (
    month integer PRIMARY KEY CHECK (month >= 0),
    events bigint NOT NULL CHECK (events >= 0),
    file_name text NOT NULL,
    file_bytes bigint NOT NULL,
    file_sha256 bytea NOT NULL CHECK (octet_length(file_sha256) = 32),
    archived_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE archived_month IS
'Writer: deploy (meterline archive). Months of usage_event that have left for a Parquet file each,
in their order; months are counted from January 2000. Their versions and all that is made of them
stay.';

CREATE TABLE archived_usage (
    shard_key integer NOT NULL,
    customer_id integer NOT NULL,
    meter_id integer NOT NULL,
    month integer NOT NULL REFERENCES archived_month,
    tenant_id integer NOT NULL,
    events bigint NOT NULL CHECK (events > 0),
    PRIMARY KEY (shard_key, customer_id, meter_id, month)
);
COMMENT ON TABLE archived_usage IS
'Writer: deploy (meterline archive). Of which customers and meters there are events in an archive:
a contract that would have to rate them comes too late.';

CREATE FUNCTION ensure_usage_month(month integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Months are counted from January 2000; the table's name says the month as people do.
    name text := 'usage_event_' || to_char(date '2000-01-01' + make_interval(months => month),
                                           'YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ensure_usage_month'));
    IF to_regclass(name) IS NULL
       AND NOT EXISTS (SELECT FROM archived_month a WHERE a.month = ensure_usage_month.month) THEN
        EXECUTE format('CREATE TABLE %I (LIKE usage_event_row INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                       name);
        -- Attaching takes a weaker lock than CREATE TABLE ... PARTITION OF: rating goes on.
        EXECUTE format('ALTER TABLE usage_event_row ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       name, usage_month_bound(month), usage_month_bound(month + 1));
    END IF;
END $$;

CREATE TABLE usage_event_version (
    shard_key integer NOT NULL,
    event_ref uuid NOT NULL,
    rated_at bigint NOT NULL,
    origin_offset bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    origin_partition smallint NOT NULL,
    tenant_id integer NOT NULL,
    customer_id integer NOT NULL,
    meter_id integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('UPDATE', 'DELETE')),
    quantity numeric NOT NULL CHECK (quantity BETWEEN -1e38 AND 1e38),
    additional_data text,
    note text,
    made_by text,
    PRIMARY KEY (shard_key, event_ref, rated_at),
    UNIQUE (shard_key, origin_partition, origin_offset)
);
COMMENT ON TABLE usage_event_version IS
'Writer: rater. Every amendment that was applied, never updated: the whole event as it is after it
(of a DELETE: as it was). The event counts as its version with the greatest rated_at says, and not
at all once that is a DELETE. rated_at is the amendment''s own offset, origin its first place in the
log, recorded_at the log''s append time; made_by is who asked for it.';
CREATE FUNCTION keep_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a version of an event is never changed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER usage_event_version_kept BEFORE UPDATE OR DELETE ON usage_event_version
FOR EACH ROW EXECUTE FUNCTION keep_version();
CREATE INDEX usage_event_version_time ON usage_event_version (shard_key, customer_id, occurred_at);

CREATE TABLE pending_amendment (
    shard_key integer NOT NULL,
    event_ref uuid NOT NULL,
    record_offset bigint NOT NULL,
    partition integer NOT NULL,
    tenant_id integer NOT NULL,
    record_key bytea NOT NULL,
    value bytea NOT NULL,
    appended_at timestamptz NOT NULL,
    origin_partition integer,
    origin_offset bigint,
    CHECK ((origin_partition IS NULL) = (origin_offset IS NULL)),
    PRIMARY KEY (shard_key, event_ref, record_offset)
);
COMMENT ON TABLE pending_amendment IS
'Writer: rater. Amendments whose event has not come yet: applied in the order of the log when it
does, dead letters when it does not in time. event_ref is as the amendment names it; the other
columns are those of dead_letter.';
CREATE INDEX pending_amendment_order ON pending_amendment (partition, record_offset);

CREATE TABLE unrated_usage (
    shard_key integer NOT NULL,
    event_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    customer_id integer NOT NULL,
    meter_id integer NOT NULL,
    PRIMARY KEY (shard_key, event_ref)
);
COMMENT ON TABLE unrated_usage IS
'Writer: rater. Accepted events that no contract line covers yet; a back-fill takes them out.';

CREATE TABLE usage_conflict (
    shard_key integer NOT NULL,
    event_ref uuid NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    tenant_id integer NOT NULL,
    customer_id integer NOT NULL,
    value bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, event_ref, partition, record_offset)
);
COMMENT ON TABLE usage_conflict IS
'Writer: rater. A key used again with other content: the first event counts, this one is kept for
people to see.';

CREATE TABLE dead_letter (
    shard_key integer NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    tenant_id integer,
    reason text NOT NULL,
    detail text NOT NULL,
    record_key bytea,
    value bytea,
    appended_at timestamptz NOT NULL,
    origin_partition integer,
    origin_offset bigint,
    CHECK ((origin_partition IS NULL) = (origin_offset IS NULL)),
    PRIMARY KEY (shard_key, partition, record_offset)
);
COMMENT ON TABLE dead_letter IS
'Writer: rater. Records that can''t be rated, with the reason. shard_key is the hash of the
record''s key, whatever it is (0 without one). tenant_id is known when the record names a tenant.
origin is the place of the dead letter that this one is a retry of, when it is.';
CREATE INDEX dead_letter_place ON dead_letter (partition, record_offset);
CREATE INDEX dead_letter_tenant ON dead_letter (tenant_id, partition, record_offset);

CREATE TABLE dead_letter_retry (
    shard_key integer NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    retry_partition integer NOT NULL,
    retry_offset bigint NOT NULL,
    tenant_id integer,
    retried_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, partition, record_offset, retry_partition, retry_offset)
);
COMMENT ON TABLE dead_letter_retry IS
'Writer: gateway. A dead letter sent again, and the place in the log that it got.';

CREATE TABLE partition_task (
    partition integer NOT NULL,
    reference_version bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CONTRACT', 'CLOSE')),
    state text NOT NULL CHECK (state IN ('PENDING', 'DONE')),
    shard_key integer NOT NULL,
    tenant_id integer NOT NULL,
    customer_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    contract_version integer NOT NULL DEFAULT 1,
    is_swapped boolean NOT NULL DEFAULT false,
    end_offset bigint,
    cursor_ref uuid,
    events_rated bigint NOT NULL DEFAULT 0,
    periods_closed integer NOT NULL DEFAULT 0,
    finished_at timestamptz,
    PRIMARY KEY (partition, reference_version)
);
COMMENT ON TABLE partition_task IS
'Writer: rater. How far the owner has got with a partition_change of the same key. end_offset: a
back-fill''s first offset that the live loop rates, or the end of the log that a closing waits for.
is_swapped: the charges of the version have taken the place of those before; what is left is to
find the events that no line covers any more.';
CREATE INDEX partition_task_pending ON partition_task (partition, reference_version)
WHERE state = 'PENDING';

CREATE TABLE billing_period (
    shard_key integer NOT NULL,
    period_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    period_index integer NOT NULL,
    start_at timestamptz NOT NULL,
    end_at timestamptz NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL,
    full_start_date date NOT NULL,
    full_end_date date NOT NULL,
    issue_date date NOT NULL,
    is_partial boolean NOT NULL,
    last_cut_number integer NOT NULL DEFAULT 0,
    rest_date date CHECK (rest_date > issue_date),
    CHECK (start_at < end_at AND start_date < end_date),
    PRIMARY KEY (shard_key, period_ref),
    UNIQUE (shard_key, contract_product_ref, start_at)
);
COMMENT ON TABLE billing_period IS
'Writer: rater. A concrete period of a contract product, half-open; its instants are fixed when it
is made. full_* are the bounds of the whole cycle that a partial period is a piece of. rest_date: where
part of it is billed ahead, by the document of issue_date, that of the one which settles it. It is
closed when last_cut_number is above 0.';

CREATE TABLE charge (
    shard_key integer NOT NULL,
    charge_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    period_ref uuid NOT NULL,
    contract_line_ref uuid NOT NULL,
    pricing_line_id integer NOT NULL,
    cell text NOT NULL DEFAULT '',
    quantity numeric NOT NULL CHECK (quantity BETWEEN -1e56 AND 1e56),
    event_count bigint NOT NULL CHECK (event_count >= 0),
    amount numeric NOT NULL CHECK (amount BETWEEN -1e100 AND 1e100),
    exact_quantity text,
    progress text,
    PRIMARY KEY (shard_key, charge_ref)
) WITH (fillfactor = 50);
COMMENT ON TABLE charge IS
'Writer: rater. What a line has cost so far in a period: the total is the fact, the amount
(unrounded) derived from it. cell tells the charges of a matrix price apart. exact_quantity: the
quantity as a fraction where its digits never end, null where quantity is exact. progress: how far
an aggregation other than SUM and COUNT has got (its numerator; the time, the ref and the value of
its last event), null for these.';
CREATE INDEX charge_period ON charge (shard_key, period_ref);

CREATE TABLE charge_value (
    shard_key integer NOT NULL,
    charge_ref uuid NOT NULL,
    value_digest uuid NOT NULL,
    tenant_id integer NOT NULL,
    event_count bigint NOT NULL CHECK (event_count > 0),
    PRIMARY KEY (shard_key, charge_ref, value_digest)
);
COMMENT ON TABLE charge_value IS
'Writer: rater. The different values that a UNIQUE charge has met, and how many events have each;
the digest is over the value as text.';

CREATE TABLE period_cut (
    shard_key integer NOT NULL,
    period_ref uuid NOT NULL,
    cut_number integer NOT NULL CHECK (cut_number >= 0),
    tenant_id integer NOT NULL,
    partition integer NOT NULL,
    cut_offset bigint NOT NULL,
    until_at timestamptz CHECK (until_at IS NULL OR cut_number = 0),
    dead_letters integer NOT NULL DEFAULT 0,
    waiting_amendments integer NOT NULL DEFAULT 0,
    cut_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, period_ref, cut_number),
    FOREIGN KEY (shard_key, period_ref) REFERENCES billing_period
);
COMMENT ON TABLE period_cut IS
'Writer: rater. A closing of a period: it holds the events rated below cut_offset. What was not
settled of the customer at that moment: dead letters since the period''s start that nobody had sent
again, and amendments that waited for their events. Cut 0 is none: it holds what is billed ahead, fixed
fees and, up to until_at, usage; null: no usage.';
CREATE INDEX period_cut_order ON period_cut (cut_at);

CREATE TABLE closing_schedule (
    shard_key integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    partition integer NOT NULL,
    customer_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    end_at timestamptz NOT NULL,
    look_at timestamptz NOT NULL,
    is_held boolean NOT NULL DEFAULT false,
    PRIMARY KEY (shard_key, contract_product_ref)
) WITH (fillfactor = 80);
COMMENT ON TABLE closing_schedule IS
'Writer: rater. The first period that each contract product closes by itself: it ends at end_at.
The owner looks at it when the grace after look_at is over, which is the period''s end, or later
while it is held by what is not settled.';
CREATE INDEX closing_schedule_order ON closing_schedule (partition, tenant_id, look_at);
CREATE INDEX closing_schedule_contract ON closing_schedule (shard_key, contract_ref);

CREATE TABLE opening_schedule (
    shard_key integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    partition integer NOT NULL,
    customer_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    start_at timestamptz NOT NULL,
    issue_at timestamptz NOT NULL,
    has_usage boolean NOT NULL,
    PRIMARY KEY (shard_key, contract_product_ref)
) WITH (fillfactor = 80);
COMMENT ON TABLE opening_schedule IS
'Writer: rater. The first period of each contract product that is still to be billed ahead by the
clock: the one that begins at start_at, at the instant issue_at; once the grace is over as well where
usage is a part of it.';
CREATE INDEX opening_schedule_order ON opening_schedule (partition, issue_at);
CREATE INDEX opening_schedule_contract ON opening_schedule (shard_key, contract_ref);

CREATE TABLE late_period (
    shard_key integer NOT NULL,
    period_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    partition integer NOT NULL,
    since timestamptz NOT NULL,
    waits_for_call boolean NOT NULL,
    PRIMARY KEY (shard_key, period_ref)
);
COMMENT ON TABLE late_period IS
'Writer: rater. A closed period whose charges have moved since its last cut, and since when; the
next cut takes it out. waits_for_call: its contract is MANUAL.';
CREATE INDEX late_period_order ON late_period (partition, since) WHERE NOT waits_for_call;

CREATE TABLE charge_cut (
    shard_key integer NOT NULL,
    period_ref uuid NOT NULL,
    cut_number integer NOT NULL,
    contract_line_ref uuid NOT NULL,
    cell text NOT NULL DEFAULT '',
    tenant_id integer NOT NULL,
    charge_ref uuid NOT NULL,
    pricing_line_id integer NOT NULL,
    quantity numeric NOT NULL,
    event_count bigint NOT NULL,
    amount numeric NOT NULL,
    exact_quantity text,
    events_digest bytea,
    PRIMARY KEY (shard_key, period_ref, cut_number, contract_line_ref, cell),
    FOREIGN KEY (shard_key, period_ref, cut_number) REFERENCES period_cut
);
COMMENT ON TABLE charge_cut IS
'Writer: rater. A line''s total, amount and price version at a cut; never changed after.
events_digest is the SHA-256 of the canonical list of the events in it; it is added once, and null
where no events feed the line.';

CREATE TABLE undigested_cut (
    shard_key integer NOT NULL,
    period_ref uuid NOT NULL,
    cut_number integer NOT NULL,
    tenant_id integer NOT NULL,
    partition integer NOT NULL,
    PRIMARY KEY (shard_key, period_ref, cut_number),
    FOREIGN KEY (shard_key, period_ref, cut_number) REFERENCES period_cut
);
COMMENT ON TABLE undigested_cut IS
'Writer: rater. A cut whose lines have no digests yet; the transaction that adds them takes the row
out and tells of the cut.';
CREATE INDEX undigested_cut_order ON undigested_cut (partition, shard_key, period_ref);

CREATE TABLE event_due (
    shard_key integer NOT NULL,
    contract_ref uuid NOT NULL,
    due_id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id integer NOT NULL,
    event_ref uuid NOT NULL,
    place bigint NOT NULL,
    rated_below bigint NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, contract_ref, due_id)
);
COMMENT ON TABLE event_due IS
'Writer: rater. What a contract that is billed upon usage has rated, change by change, in the order
of rating: an event, and as which of its versions it counts from then on (rated_at of that; -1: as
it came). rated_below: the partition''s next offset behind it; a cut at that offset holds it.';
CREATE INDEX event_due_event ON event_due (shard_key, contract_ref, event_ref, due_id);

CREATE TABLE rater_outbox (
    shard_key integer NOT NULL,
    outbox_id bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    record_key bytea NOT NULL,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, outbox_id)
);
COMMENT ON TABLE rater_outbox IS
'Writer: rater. Records to publish; a row is deleted once Kafka has acknowledged it. topic is
without the installation''s prefix.';
CREATE INDEX rater_outbox_order ON rater_outbox (outbox_id);

-- ---------------------------------------------------------------- usage rolled up

CREATE TABLE usage_tail (
    partition integer NOT NULL,
    tenant_id integer NOT NULL,
    place smallint NOT NULL,
    end_offset bigint NOT NULL,
    shard_keys integer[] NOT NULL,
    customer_ids integer[] NOT NULL,
    meter_ids integer[] NOT NULL,
    slots integer[] NOT NULL,
    event_counts integer[] NOT NULL,
    quantities numeric[] NOT NULL,
    PRIMARY KEY (partition, tenant_id, place, end_offset)
);
COMMENT ON TABLE usage_tail IS
'Writer: rater. What each poll has added to the sums of usage and is not folded into them yet: an
entry for each customer, meter and slot (quarter of an hour since 1970) at the same place of all the
arrays; amendments take away and add. place: which part of the customers it is, by the highest bits of
their shard keys.';
-- Written once and soon deleted: what compressing would cost is not worth it.
ALTER TABLE usage_tail
ALTER COLUMN shard_keys SET STORAGE EXTERNAL, ALTER COLUMN customer_ids SET STORAGE EXTERNAL,
ALTER COLUMN meter_ids SET STORAGE EXTERNAL, ALTER COLUMN slots SET STORAGE EXTERNAL,
ALTER COLUMN event_counts SET STORAGE EXTERNAL, ALTER COLUMN quantities SET STORAGE EXTERNAL;

CREATE TABLE rolled_customer (
    shard_key integer NOT NULL,
    customer_id integer NOT NULL,
    tenant_id integer NOT NULL,
    event_count bigint NOT NULL,
    grain smallint CHECK (grain IN (1, 4)),
    PRIMARY KEY (shard_key, customer_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE rolled_customer IS
'Writer: rater. How many events of a customer count, as far as they are folded, and in how many slots
at a time they are summed up: 4, an hour, or 1 where the midnights of its contracts are not at full
hours; null while there are so few that reading them is as quick as reading sums.';

CREATE TABLE usage_rollup (
    shard_key integer NOT NULL,
    customer_id integer NOT NULL,
    meter_id integer NOT NULL,
    slot integer NOT NULL,
    tenant_id integer NOT NULL,
    event_count bigint NOT NULL,
    quantity numeric NOT NULL,
    PRIMARY KEY (shard_key, customer_id, meter_id, slot)
) WITH (fillfactor = 80);
COMMENT ON TABLE usage_rollup IS
'Writer: rater (meterline archive sums up customers whose events are about to leave). The events of a
customer and a meter that count, summed up by the slot that their time begins in; together with
usage_tail they are exactly the events. quantity is as sent, before a meter''s formula.';

-- Sums up all events of a customer. Nothing of it may be in the tail, and its partition's row is
-- locked.
CREATE FUNCTION roll_up_customer(key integer, customer integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own_grain smallint := CASE WHEN EXISTS (
        SELECT FROM contract JOIN contract_product product USING (shard_key, contract_ref)
        CROSS JOIN (VALUES (now()), (now() + interval '182 days')) AS season (at)
        WHERE shard_key = key AND customer_id = customer
          AND extract(minute FROM at AT TIME ZONE product.timezone)
            <> extract(minute FROM at AT TIME ZONE 'UTC')
    ) THEN 1 ELSE 4 END;
BEGIN
    UPDATE rolled_customer SET grain = own_grain WHERE shard_key = key AND customer_id = customer;
    INSERT INTO usage_rollup (shard_key, customer_id, meter_id, slot, tenant_id, event_count,
                              quantity)
    SELECT key, customer, meter_id,
           floor(extract(epoch FROM occurred_at) / (900 * own_grain))::integer * own_grain,
           tenant_id, count(*), sum(quantity)
    FROM (
        SELECT meter_id, occurred_at, quantity, tenant_id FROM usage_event e
        WHERE shard_key = key AND customer_id = customer
          AND NOT EXISTS (SELECT FROM usage_event_version v
                          WHERE v.shard_key = key AND v.event_ref = e.event_ref)
        UNION ALL
        SELECT meter_id, occurred_at, quantity, tenant_id FROM usage_event_version v
        WHERE shard_key = key AND customer_id = customer AND kind <> 'DELETE'
          AND NOT EXISTS (SELECT FROM usage_event_version later
                          WHERE later.shard_key = key AND later.event_ref = v.event_ref
                            AND later.rated_at > v.rated_at)
    ) AS counted
    GROUP BY 3, 4, 5;
END $$;

-- Folds the tail of a partition into the sums; customers that have so many events now get sums.
-- The partition's row is locked.
CREATE FUNCTION fold_usage_tail(folded integer, events_min bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    CREATE TEMPORARY TABLE IF NOT EXISTS tail_entry (
        shard_key integer, customer_id integer, meter_id integer, slot integer, tenant_id integer,
        event_count bigint, quantity numeric
    ) ON COMMIT DELETE ROWS;
    DELETE FROM tail_entry;
    WITH taken AS (DELETE FROM usage_tail WHERE partition = folded RETURNING *)
    INSERT INTO tail_entry
    SELECT shard_key, customer_id, meter_id, slot, tenant_id, sum(event_count), sum(quantity)
    FROM taken CROSS JOIN LATERAL
        unnest(shard_keys, customer_ids, meter_ids, slots, event_counts, quantities)
        AS entry (shard_key, customer_id, meter_id, slot, event_count, quantity)
    GROUP BY 1, 2, 3, 4, 5;
    INSERT INTO rolled_customer AS known (shard_key, customer_id, tenant_id, event_count)
    SELECT shard_key, customer_id, tenant_id, sum(event_count) FROM tail_entry
    GROUP BY 1, 2, 3 ORDER BY 1, 2
    ON CONFLICT (shard_key, customer_id) DO UPDATE SET
        event_count = known.event_count + excluded.event_count;
    FOR one IN
        SELECT shard_key, customer_id
        FROM (SELECT DISTINCT shard_key, customer_id FROM tail_entry) AS own
        JOIN rolled_customer USING (shard_key, customer_id)
        WHERE grain IS NULL AND event_count >= events_min
    LOOP
        PERFORM roll_up_customer(one.shard_key, one.customer_id);
        DELETE FROM tail_entry e
        WHERE e.shard_key = one.shard_key AND e.customer_id = one.customer_id;
    END LOOP;
    INSERT INTO usage_rollup AS known (shard_key, customer_id, meter_id, slot, tenant_id,
                                       event_count, quantity)
    SELECT e.shard_key, e.customer_id, meter_id, slot - slot % grain, e.tenant_id,
           sum(e.event_count), sum(quantity)
    FROM tail_entry e JOIN rolled_customer own USING (shard_key, customer_id)
    WHERE grain IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4
    ON CONFLICT (shard_key, customer_id, meter_id, slot) DO UPDATE SET
        event_count = known.event_count + excluded.event_count,
        quantity = known.quantity + excluded.quantity;
    -- What all events have left is as if there had never been one.
    DELETE FROM usage_rollup own
    USING tail_entry e JOIN rolled_customer c USING (shard_key, customer_id)
    WHERE e.event_count <= 0 AND own.shard_key = e.shard_key AND own.customer_id = e.customer_id
      AND own.meter_id = e.meter_id AND own.slot = e.slot - e.slot % c.grain
      AND own.event_count = 0;
END $$;

-- ---------------------------------------------------------------- alerts

CREATE TABLE alert (
    shard_key integer NOT NULL,
    alert_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    partition integer NOT NULL,
    partition_version bigint NOT NULL,
    customer_id integer NOT NULL,
    contract_ref uuid,
    pricing_line_id integer,
    meter_id integer,
    name text,
    kind text NOT NULL CHECK (kind IN (
        'QUANTITY', 'AMOUNT', 'INCLUDED_PERCENT', 'COMMITMENT_PERCENT', 'CREDIT_LEFT')),
    threshold numeric NOT NULL CHECK (threshold BETWEEN 0 AND 1e38),
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CHECK (num_nonnulls(pricing_line_id, meter_id)
        = CASE WHEN kind IN ('QUANTITY', 'AMOUNT', 'INCLUDED_PERCENT') THEN 1 ELSE 0 END),
    PRIMARY KEY (shard_key, alert_ref),
    FOREIGN KEY (shard_key, customer_id) REFERENCES customer
);
COMMENT ON TABLE alert IS
'Writer: gateway. What a tenant wants to be told of: the running period of a line item, a meter or a
contract product reaches a threshold; of one contract, or of all of a customer. version counts the
thresholds that it had. partition_version is the reference_version that rater_partition got with its
last change, under the row''s lock: the owner takes notice of it by that.';
CREATE INDEX alert_news ON alert (partition, partition_version);
CREATE INDEX alert_listing ON alert (tenant_id, alert_ref) WHERE deleted_at IS NULL;

CREATE TABLE alert_firing (
    shard_key integer NOT NULL,
    alert_ref uuid NOT NULL,
    version integer NOT NULL,
    period_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    contract_product_ref uuid NOT NULL,
    contract_line_ref uuid,
    start_date date NOT NULL,
    end_date date NOT NULL,
    value numeric NOT NULL,
    threshold numeric NOT NULL,
    fired_at timestamptz NOT NULL,
    PRIMARY KEY (shard_key, alert_ref, version, period_ref)
);
COMMENT ON TABLE alert_firing IS
'Writer: rater. A threshold that was reached in a period, and the value then: once, whatever comes
after. It is written with the outbox row that tells of it, in the transaction that moved the charge.';

-- ---------------------------------------------------------------- uploads

CREATE TABLE upload (
    tenant_id integer NOT NULL REFERENCES tenant,
    upload_id integer GENERATED ALWAYS AS IDENTITY,
    upload_ref uuid NOT NULL UNIQUE,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    options text NOT NULL,
    header text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('RUNNING', 'COMPLETED', 'ABORTED')),
    run integer NOT NULL DEFAULT 1,
    row_count bigint NOT NULL DEFAULT 0,
    accepted bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    rejected_kept integer NOT NULL DEFAULT 0,
    rejected_bytes integer NOT NULL DEFAULT 0,
    names_differing bigint NOT NULL DEFAULT 0,
    reasons jsonb NOT NULL DEFAULT '{}',
    digest bytea,
    problem text CHECK (problem IS JSON OBJECT),
    made_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    touched_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, upload_id),
    UNIQUE (tenant_id, key),
    CHECK (row_count = accepted + rejected)
);
COMMENT ON TABLE upload IS
'Writer: gateway. A file of usage: how it is read, and how far. The first row_count rows have their
outcomes; digest is SHA-256 over the header and them. key names the upload and is part of its rows''
keys. run counts the requests that brought the file: only the last one writes. problem is what ended
it before its end.';

CREATE TABLE upload_rejection (
    tenant_id integer NOT NULL,
    upload_id integer NOT NULL,
    row_number bigint NOT NULL,
    line bigint NOT NULL,
    cells text[],
    problems text NOT NULL CHECK (problems IS JSON ARRAY),
    rejected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, upload_id, row_number),
    FOREIGN KEY (tenant_id, upload_id) REFERENCES upload
);
COMMENT ON TABLE upload_rejection IS
'Writer: gateway. A row of an upload that was rejected, as it was; the first ones of an upload are
kept, for 30 days.';
CREATE INDEX upload_rejection_age ON upload_rejection (tenant_id, rejected_at);

-- ---------------------------------------------------------------- documents

CREATE TABLE document_sequence (
    tenant_id integer NOT NULL,
    entity_id integer NOT NULL,
    series text NOT NULL,
    next_number bigint NOT NULL DEFAULT 1 CHECK (next_number > 0),
    PRIMARY KEY (tenant_id, entity_id, series),
    FOREIGN KEY (tenant_id, entity_id) REFERENCES entity
);
COMMENT ON TABLE document_sequence IS
'Writer: invoicer. Numbers without a gap: taken last, in the transaction that issues.';

CREATE TABLE document (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    customer_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    entity_id integer NOT NULL,
    document_group smallint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('PERIOD', 'EVENT', 'ADJUSTMENT', 'CREDIT')),
    parent_document_ref uuid CHECK ((parent_document_ref IS NULL) = (kind = 'PERIOD')),
    event_ref uuid CHECK (kind <> 'EVENT' OR event_ref IS NOT NULL),
    event_due_id bigint CHECK ((event_due_id IS NULL) = (event_ref IS NULL)),
    accounting_event_type text NOT NULL
    CHECK (accounting_event_type IN ('INVOICE', 'CREDIT', 'DEBIT')),
    state text NOT NULL CHECK (state IN (
        'DRAFT', 'UNDER_REVIEW', 'ISSUED', 'SENT', 'PARTIALLY_PAID', 'PAID', 'LATE',
        'PAYMENT_FAILED', 'VOID', 'UNCOLLECTIBLE')),
    series text,
    number bigint,
    document_number text,
    number_in_contract integer,
    total_in_contract numeric,
    currency text NOT NULL,
    net_terms text NOT NULL,
    issue_date date NOT NULL,
    due_date date,
    issued_at timestamptz,
    submission_date timestamptz,
    paid_date date,
    period_start date NOT NULL,
    period_end date NOT NULL,
    is_partial_period boolean NOT NULL,
    sub_total numeric NOT NULL,
    total_discount numeric NOT NULL,
    total_tax numeric NOT NULL,
    credits_amount numeric NOT NULL,
    total numeric NOT NULL,
    parties jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (total = sub_total - total_discount + total_tax - credits_amount),
    CHECK ((state IN ('DRAFT', 'UNDER_REVIEW')) = (number IS NULL)),
    PRIMARY KEY (shard_key, document_ref),
    UNIQUE (shard_key, contract_ref, number_in_contract)
);
COMMENT ON TABLE document IS
'Writer: invoicer. An invoice, credit or debit. period_end is the day after the last. parties is
the customer, the entity and the billing details as they were when it was drafted; the issued
document never follows later changes. An ADJUSTMENT is the difference between its parent as it would
be drawn at later cuts and all that was issued for it before; or, with an event_ref, what an
amendment of that event has changed. event_ref, event_due_id: the event that it bills, and the row of
event_due. A CREDIT takes off its parent what a person said.';
CREATE INDEX document_event ON document (shard_key, event_ref) WHERE event_ref IS NOT NULL;
CREATE INDEX document_parent ON document (shard_key, parent_document_ref)
WHERE parent_document_ref IS NOT NULL;
CREATE INDEX document_listing ON document (tenant_id, issue_date, document_ref);
CREATE INDEX document_number ON document (tenant_id, entity_id, series, number);
CREATE INDEX document_unpaid ON document (due_date, shard_key, document_ref)
WHERE state IN ('ISSUED', 'SENT', 'PARTIALLY_PAID', 'LATE');
CREATE INDEX document_drafts ON document (issue_date) WHERE state = 'DRAFT';
CREATE INDEX document_listing_of_state ON document (tenant_id, state, issue_date, document_ref);
CREATE INDEX document_listing_of_customer
ON document (shard_key, customer_id, issue_date, document_ref);

CREATE TABLE document_review (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    held_at timestamptz NOT NULL,
    redraws integer NOT NULL DEFAULT 0,
    redrawn_at timestamptz,
    rejected_at timestamptz,
    rejected_by text,
    reason text,
    approved_at timestamptz,
    approved_by text,
    PRIMARY KEY (shard_key, document_ref),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE document_review IS
'Writer: invoicer. A document that was held for a person. redraws: how often it has changed since,
as usage came late. rejected_at to reason: of a draft that was sent back.';

CREATE TABLE document_void (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    currency text NOT NULL,
    after_number integer NOT NULL,
    total numeric NOT NULL,
    reason text NOT NULL,
    voided_by text NOT NULL,
    voided_at timestamptz NOT NULL,
    PRIMARY KEY (shard_key, document_ref),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE document_void IS
'Writer: invoicer. A document that counts for nothing any more. after_number: the last one of its
contract and currency that was issued by then; total_in_contract of later ones leaves its total out.';
CREATE INDEX document_void_contract
ON document_void (shard_key, contract_ref, currency, after_number);

CREATE TABLE document_line_credit (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    position smallint NOT NULL,
    tenant_id integer NOT NULL,
    parent_document_ref uuid NOT NULL,
    product_position smallint NOT NULL,
    line_position smallint NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    quantity numeric CHECK (quantity > 0),
    total numeric NOT NULL CHECK (total >= 0),
    PRIMARY KEY (shard_key, document_ref, position),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE document_line_credit IS
'Writer: invoicer. What a CREDIT, document_ref, takes off a line of its parent. amount is as the
line''s, before discount and tax; quantity: where one was asked for; total: after discount and with
tax, its part of the credit. One that is voided counts no more.';
CREATE INDEX document_line_credit_parent
ON document_line_credit (shard_key, parent_document_ref, product_position, line_position);

CREATE TABLE payment (
    shard_key integer NOT NULL,
    payment_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    document_ref uuid NOT NULL,
    amount numeric NOT NULL CHECK (amount <> 0),
    paid_date date NOT NULL,
    method text,
    reference text,
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL,
    reversed_at timestamptz,
    reversed_by text,
    reversal_reason text,
    CHECK ((reversed_at IS NULL) = (reversed_by IS NULL)),
    CHECK ((reversed_at IS NULL) = (reversal_reason IS NULL)),
    PRIMARY KEY (shard_key, payment_ref),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE payment IS
'Writer: invoicer. Money that came for a document; below zero, that was paid back for a credit
document. It is never changed, and may be taken back once. reference: what the bank calls it; it
counts once for a document.';
CREATE UNIQUE INDEX payment_reference ON payment (shard_key, document_ref, reference)
WHERE reference IS NOT NULL AND reversed_at IS NULL;
CREATE INDEX payment_document ON payment (shard_key, document_ref);

CREATE FUNCTION keep_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    movable text[] := ARRAY['reversed_at', 'reversed_by', 'reversal_reason'];
BEGIN
    IF TG_OP = 'DELETE' OR OLD.reversed_at IS NOT NULL
       OR to_jsonb(OLD) - movable <> to_jsonb(NEW) - movable THEN
        RAISE EXCEPTION 'payment % cannot be changed', OLD.payment_ref
        USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_kept BEFORE UPDATE OR DELETE ON payment
FOR EACH ROW EXECUTE FUNCTION keep_payment();

CREATE FUNCTION document_open(place integer, ref uuid, total numeric) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT total - coalesce((
            SELECT sum(p.amount) FROM payment p
            WHERE p.shard_key = place AND p.document_ref = ref AND p.reversed_at IS NULL), 0)
$$;
COMMENT ON FUNCTION document_open IS 'What a document asks for, less the money that has come for it.';

CREATE FUNCTION credits_open(place integer, ref uuid, below integer) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(greatest(-document_open(c.shard_key, c.document_ref, c.total), 0)), 0)
    FROM document c
    WHERE c.shard_key = place AND c.parent_document_ref = ref
      AND c.kind IN ('ADJUSTMENT', 'CREDIT') AND c.total < 0 AND c.number IS NOT NULL
      AND c.state <> 'VOID' AND (below IS NULL OR c.number_in_contract < below)
$$;
COMMENT ON FUNCTION credits_open IS
'What was taken off a document, by credits with numbers below one, and was not paid back.';

CREATE FUNCTION document_due(place integer, ref uuid, total numeric) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN total >= 0 AND own.open > 0
        THEN greatest(own.open - credits_open(place, ref, NULL), 0)
        WHEN total < 0 AND own.open < 0
        THEN own.open + coalesce((
            SELECT least(-own.open, greatest(
                document_open(place, r.document_ref, r.total)
                - credits_open(place, r.document_ref, d.number_in_contract), 0))
            FROM document d
            JOIN document r ON r.shard_key = d.shard_key
                AND r.document_ref = d.parent_document_ref
            WHERE d.shard_key = place AND d.document_ref = ref AND d.number IS NOT NULL
              AND d.kind IN ('ADJUSTMENT', 'CREDIT') AND r.number IS NOT NULL
              AND r.state <> 'VOID' AND r.total > 0
              AND document_open(place, r.document_ref, r.total) > 0), 0)
        ELSE own.open
    END
    FROM document_open(place, ref, total) AS own (open)
$$;
COMMENT ON FUNCTION document_due IS
'What is still to be paid of a document, of its total''s sign: its total, less what has come; what
was taken off it is set off against that, credit by credit, and what is left of a credit is to be
paid back. Of the other sign: what is too much.';

CREATE TABLE journal_entry (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    entry_number integer NOT NULL,
    tenant_id integer NOT NULL,
    entity_id integer NOT NULL,
    kind text NOT NULL
    CHECK (kind IN ('ISSUE', 'SET_OFF', 'PAYMENT', 'REVERSAL', 'WRITE_OFF', 'VOID')),
    payment_ref uuid,
    currency text NOT NULL,
    entry_date date NOT NULL,
    booked_at timestamptz NOT NULL,
    receivable numeric NOT NULL DEFAULT 0,
    cash numeric NOT NULL DEFAULT 0,
    prepaid_credits numeric NOT NULL DEFAULT 0,
    customer_credit numeric NOT NULL DEFAULT 0,
    deferred_revenue numeric NOT NULL DEFAULT 0,
    tax numeric NOT NULL DEFAULT 0,
    revenue numeric NOT NULL DEFAULT 0,
    bad_debt numeric NOT NULL DEFAULT 0,
    set_off numeric NOT NULL DEFAULT 0,
    CONSTRAINT journal_entry_balanced CHECK (
        receivable + cash + prepaid_credits + customer_credit + deferred_revenue + tax + revenue
        + bad_debt + set_off = 0),
    CHECK ((kind = 'ISSUE') = (entry_number = 1)),
    CHECK ((kind IN ('PAYMENT', 'REVERSAL')) = (payment_ref IS NOT NULL)),
    PRIMARY KEY (shard_key, document_ref, entry_number),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE journal_entry IS
'Writer: invoicer. The journal: what a deed books for one document, debits above zero and credits
below, so that every row comes to zero in its currency. It is never changed; a mistake is booked the
other way. The first entry of a document is its issue. entry_date: the day for which it counts.
set_off: between a document and a credit that takes something off it.';
CREATE UNIQUE INDEX journal_entry_payment ON journal_entry (shard_key, payment_ref, kind)
WHERE payment_ref IS NOT NULL;
CREATE INDEX journal_entry_listing ON journal_entry (tenant_id, entry_date);

CREATE FUNCTION keep_journal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is only added to' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER journal_entry_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_entry
FOR EACH STATEMENT EXECUTE FUNCTION keep_journal();

CREATE VIEW journal_line WITH (security_invoker = true) AS
SELECT e.shard_key, e.document_ref, e.entry_number, e.tenant_id, e.entity_id, e.kind, e.payment_ref,
    e.currency, e.entry_date, e.booked_at, line.position, line.account, line.amount
FROM journal_entry e
CROSS JOIN LATERAL (VALUES
    (1, 'RECEIVABLE', e.receivable), (2, 'CASH', e.cash),
    (3, 'PREPAID_CREDITS', e.prepaid_credits), (4, 'CUSTOMER_CREDIT', e.customer_credit),
    (5, 'DEFERRED_REVENUE', e.deferred_revenue), (6, 'TAX', e.tax), (7, 'REVENUE', e.revenue),
    (8, 'BAD_DEBT', e.bad_debt), (9, 'SET_OFF', e.set_off)
) AS line (position, account, amount)
WHERE line.amount <> 0;
COMMENT ON VIEW journal_line IS 'The journal as lines, one an account that an entry moves.';

CREATE TABLE document_reminder (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    days integer NOT NULL,
    tenant_id integer NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (shard_key, document_ref, days),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE document_reminder IS
'Writer: invoicer. A reminder that a customer was sent, so many days after the due date (below zero:
before it), with its mail''s row of the outbox.';

CREATE TABLE document_request (
    shard_key integer NOT NULL,
    request_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    document_ref uuid NOT NULL,
    action text NOT NULL
    CHECK (action IN ('APPROVE', 'REJECT', 'REVIEW', 'VOID', 'SEND', 'CREDIT', 'PAY', 'TAKE_BACK', 'WRITE_OFF')),
    details jsonb NOT NULL,
    made_by text NOT NULL,
    idempotency_key text,
    fingerprint bytea NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    outcome text CHECK (outcome IN ('DONE', 'REFUSED')),
    outcome_at timestamptz,
    code text,
    detail text,
    result_ref uuid,
    CHECK ((outcome IS NULL) = (outcome_at IS NULL)),
    PRIMARY KEY (shard_key, request_ref),
    UNIQUE (tenant_id, idempotency_key)
);
COMMENT ON TABLE document_request IS
'Writer: gateway; what has become of it is the invoicer''s. What a person wants done with a document:
the invoicer alone changes documents, one request in one transaction. result_ref: the document that
answers it. A refused one gives its key back.';
CREATE INDEX document_request_open ON document_request (requested_at, request_ref)
WHERE outcome IS NULL;
CREATE INDEX document_request_document ON document_request (shard_key, document_ref);

CREATE TABLE document_product (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    position smallint NOT NULL,
    tenant_id integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    period_ref uuid NOT NULL,
    cut_number integer NOT NULL,
    product_name text NOT NULL,
    minimum_fee numeric NOT NULL,
    sub_total numeric NOT NULL,
    total numeric NOT NULL,
    discount numeric NOT NULL,
    discount_rate numeric NOT NULL,
    tax_rate numeric NOT NULL,
    true_ups jsonb NOT NULL DEFAULT '[]',
    root_document_ref uuid,
    PRIMARY KEY (shard_key, document_ref, position),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE document_product IS
'Writer: invoicer. discount is the amount of money, the rates are percent; minimum_fee is prorated
already. true_ups is what each commitment came to, as the API answers it. root_document_ref: of a
difference, the document that it is the difference to; null for a product as it was cut.';
CREATE INDEX document_product_root ON document_product (shard_key, root_document_ref)
WHERE root_document_ref IS NOT NULL;

CREATE TABLE document_adjustment (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    root_document_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    sub_total numeric NOT NULL,
    total_discount numeric NOT NULL,
    total_tax numeric NOT NULL,
    credits_amount numeric NOT NULL,
    is_ahead boolean NOT NULL DEFAULT false,
    PRIMARY KEY (shard_key, document_ref, root_document_ref),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE document_adjustment IS
'Writer: invoicer. What a document corrects of another one, its root, or bills ahead of it: the part
of its sums that is so. All of an ADJUSTMENT; of a PERIOD what it takes along of earlier ones, or bills
of its periods ahead (is_ahead): the root is then the later document that settles them.';
CREATE INDEX document_adjustment_root ON document_adjustment (shard_key, root_document_ref);

CREATE TABLE document_line (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    product_position smallint NOT NULL,
    position smallint NOT NULL,
    tenant_id integer NOT NULL,
    line_item_ref uuid NOT NULL,
    contract_line_ref uuid NOT NULL,
    pricing_line_id integer NOT NULL,
    charge_ref uuid,
    item text NOT NULL,
    model text NOT NULL,
    quantity numeric NOT NULL,
    unit_price numeric,
    tiers jsonb,
    amount numeric NOT NULL,
    event_count bigint NOT NULL,
    exact_quantity text,
    events_digest bytea,
    cell text NOT NULL DEFAULT '',
    fees numeric,
    PRIMARY KEY (shard_key, document_ref, product_position, position),
    FOREIGN KEY (shard_key, document_ref, product_position) REFERENCES document_product
);
COMMENT ON TABLE document_line IS
'Writer: invoicer. amount is rounded to the currency''s digits. tiers is what each tier came to, as
the API answers it, numbers with every digit; null for a model without tiers. cell is as in
charge_cut, or "fee" for what a fee of all cells adds or takes off. fees is what single events came
to, unrounded, where the price is one of those.';

CREATE FUNCTION keep_issued_document() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- What may still move once a document is issued: its way to the customer and its payment.
    movable text[] := ARRAY['state', 'submission_date', 'due_date', 'paid_date'];
BEGIN
    IF OLD.state IN ('DRAFT', 'UNDER_REVIEW') THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'DELETE' OR to_jsonb(OLD) - movable <> to_jsonb(NEW) - movable
       OR NEW.state IN ('DRAFT', 'UNDER_REVIEW') THEN
        RAISE EXCEPTION 'document % is issued and cannot be changed', OLD.document_ref
        USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER document_issued BEFORE UPDATE OR DELETE ON document
FOR EACH ROW EXECUTE FUNCTION keep_issued_document();

CREATE TABLE document_transition (
    old_state text NOT NULL,
    new_state text NOT NULL,
    causes text[] NOT NULL,
    PRIMARY KEY (old_state, new_state)
);
COMMENT ON TABLE document_transition IS
'Writer: migrate. The ways between the states of a document, and who may cause each: the table of
schemas/lifecycle.py.';
INSERT INTO document_transition (old_state, new_state, causes) VALUES
('DRAFT', 'UNDER_REVIEW', '{INVOICER,PERSON}'),
('DRAFT', 'ISSUED', '{INVOICER}'),
('UNDER_REVIEW', 'DRAFT', '{PERSON}'),
('UNDER_REVIEW', 'ISSUED', '{PERSON}'),
('ISSUED', 'SENT', '{MAIL}'),
('ISSUED', 'PARTIALLY_PAID', '{PAYMENT}'),
('ISSUED', 'PAID', '{PAYMENT}'),
('ISSUED', 'LATE', '{CLOCK,PAYMENT}'),
('ISSUED', 'PAYMENT_FAILED', '{PAYMENT}'),
('ISSUED', 'VOID', '{PERSON}'),
('SENT', 'PARTIALLY_PAID', '{PAYMENT}'),
('SENT', 'PAID', '{PAYMENT}'),
('SENT', 'LATE', '{CLOCK,PAYMENT}'),
('SENT', 'PAYMENT_FAILED', '{PAYMENT}'),
('SENT', 'VOID', '{PERSON}'),
('PARTIALLY_PAID', 'ISSUED', '{PAYMENT}'),
('PARTIALLY_PAID', 'SENT', '{PAYMENT}'),
('PARTIALLY_PAID', 'PAID', '{PAYMENT}'),
('PARTIALLY_PAID', 'LATE', '{CLOCK,PAYMENT}'),
('PARTIALLY_PAID', 'PAYMENT_FAILED', '{PAYMENT}'),
('PARTIALLY_PAID', 'UNCOLLECTIBLE', '{PAYMENT,PERSON}'),
('LATE', 'PARTIALLY_PAID', '{PAYMENT}'),
('LATE', 'PAID', '{PAYMENT}'),
('LATE', 'PAYMENT_FAILED', '{PAYMENT}'),
('LATE', 'VOID', '{PERSON}'),
('LATE', 'UNCOLLECTIBLE', '{PAYMENT,PERSON}'),
('PAYMENT_FAILED', 'PARTIALLY_PAID', '{PAYMENT}'),
('PAYMENT_FAILED', 'PAID', '{PAYMENT}'),
('PAYMENT_FAILED', 'LATE', '{CLOCK,PAYMENT}'),
('PAYMENT_FAILED', 'VOID', '{PERSON}'),
('PAYMENT_FAILED', 'UNCOLLECTIBLE', '{PAYMENT,PERSON}'),
('PAID', 'ISSUED', '{PAYMENT}'),
('PAID', 'SENT', '{PAYMENT}'),
('PAID', 'PARTIALLY_PAID', '{PAYMENT}'),
('PAID', 'LATE', '{CLOCK,PAYMENT}'),
('PAID', 'PAYMENT_FAILED', '{PAYMENT}'),
('UNCOLLECTIBLE', 'PARTIALLY_PAID', '{PAYMENT}'),
('UNCOLLECTIBLE', 'PAID', '{PAYMENT}');

CREATE FUNCTION keep_document_way() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Set by whoever moves documents for somebody; without it, it is a service by itself.
    cause text := nullif(current_setting('meterline.cause', true), '');
    allowed text[];
BEGIN
    SELECT causes INTO allowed FROM document_transition
    WHERE old_state = OLD.state AND new_state = NEW.state;
    IF allowed IS NULL THEN
        RAISE EXCEPTION 'document % cannot go from % to %', OLD.document_ref, OLD.state, NEW.state
        USING ERRCODE = 'restrict_violation';
    END IF;
    IF (cause IS NULL AND allowed = '{PERSON}') OR cause <> ALL (allowed) THEN
        RAISE EXCEPTION 'document % goes from % to % by % alone, not by %',
            OLD.document_ref, OLD.state, NEW.state, array_to_string(allowed, ' or '), coalesce(cause, 'a service')
        USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER document_way BEFORE UPDATE OF state ON document
FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION keep_document_way();

CREATE FUNCTION keep_issued_content() RETURNS trigger LANGUAGE plpgsql
-- The rows of a statement are looked up by key, however the planner would guess their number.
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    issued uuid;
BEGIN
    SELECT d.document_ref INTO issued
    FROM (SELECT DISTINCT shard_key, document_ref FROM changed) AS c
    JOIN document d ON d.shard_key = c.shard_key AND d.document_ref = c.document_ref
    WHERE d.state NOT IN ('DRAFT', 'UNDER_REVIEW') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'document % is issued and cannot be changed', issued
        USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION keep_issued_draw() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM document d
        WHERE d.state NOT IN ('DRAFT', 'UNDER_REVIEW')
          AND ((TG_OP <> 'INSERT' AND d.shard_key = OLD.shard_key
                AND d.document_ref = OLD.document_ref)
            OR (TG_OP <> 'DELETE' AND d.shard_key = NEW.shard_key
                AND d.document_ref = NEW.document_ref))) THEN
        RAISE EXCEPTION 'what an issued document has drawn cannot be changed'
        USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

-- Once a statement, not once a row: a batch writes thousands. An update is looked at from both
-- sides, so that nothing can be moved out of an issued document, nor into one.
DO $$
DECLARE
    content text;
BEGIN
    FOREACH content IN ARRAY ARRAY['document_product', 'document_line', 'document_adjustment', 'document_line_credit'] LOOP
        EXECUTE format('CREATE TRIGGER %1$I AFTER INSERT ON %2$I REFERENCING NEW TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION keep_issued_content()',
            content || '_added', content);
        EXECUTE format('CREATE TRIGGER %1$I AFTER DELETE ON %2$I REFERENCING OLD TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION keep_issued_content()',
            content || '_deleted', content);
        EXECUTE format('CREATE TRIGGER %1$I AFTER UPDATE ON %2$I REFERENCING OLD TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION keep_issued_content()',
            content || '_changed_from', content);
        EXECUTE format('CREATE TRIGGER %1$I AFTER UPDATE ON %2$I REFERENCING NEW TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION keep_issued_content()',
            content || '_changed_to', content);
    END LOOP;
END $$;

CREATE FUNCTION keep_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a cut is never changed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER period_cut_kept BEFORE UPDATE OR DELETE ON period_cut
FOR EACH ROW EXECUTE FUNCTION keep_cut();
CREATE TRIGGER charge_cut_kept BEFORE DELETE OR UPDATE OF
    quantity, exact_quantity, event_count, amount, pricing_line_id, charge_ref ON charge_cut
FOR EACH ROW EXECUTE FUNCTION keep_cut();
-- A digest comes after its line, once.
CREATE TRIGGER charge_cut_digest_kept BEFORE UPDATE OF events_digest ON charge_cut
FOR EACH ROW WHEN (OLD.events_digest IS NOT NULL) EXECUTE FUNCTION keep_cut();

CREATE TABLE credit_draw (
    shard_key integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    period_index integer NOT NULL,
    place smallint NOT NULL,
    tenant_id integer NOT NULL,
    document_ref uuid NOT NULL,
    amount numeric NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (shard_key, contract_product_ref, period_index, place, document_ref),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE credit_draw IS
'Writer: invoicer. What a document has drawn from the credit at a place of its contract product''s
list, for one period, or below zero given back; a draft''s are drawn anew with it, an issued
document''s never change.';
CREATE INDEX credit_draw_document ON credit_draw (shard_key, document_ref);
CREATE TRIGGER credit_draw_kept BEFORE INSERT OR UPDATE OR DELETE ON credit_draw
FOR EACH ROW EXECUTE FUNCTION keep_issued_draw();

CREATE TABLE event_billing (
    shard_key integer NOT NULL,
    contract_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    billed_through bigint NOT NULL,
    PRIMARY KEY (shard_key, contract_ref)
);
COMMENT ON TABLE event_billing IS
'Writer: invoicer. How far the rows of event_due of a contract have their documents.';

CREATE TABLE event_total (
    shard_key integer NOT NULL,
    contract_line_ref uuid NOT NULL,
    period_ref uuid NOT NULL,
    cell text NOT NULL,
    tenant_id integer NOT NULL,
    quantity numeric NOT NULL,
    event_count bigint NOT NULL,
    progress text,
    PRIMARY KEY (shard_key, contract_line_ref, period_ref, cell)
);
COMMENT ON TABLE event_total IS
'Writer: invoicer. What the events billed so far, each by a document of its own, have made of a line
in a period. progress: of a price of single events, their fees, and what is left free, until where.';

CREATE TABLE waiting_adjustment (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    tenant_id integer NOT NULL,
    contract_ref uuid NOT NULL,
    document_group smallint NOT NULL,
    carrier_ref uuid,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, document_ref),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE waiting_adjustment IS
'Writer: invoicer. An issued document that has changed, whose difference goes onto the next document
of its contract and group; the row goes when that one is issued. carrier_ref: the draft that holds
the difference.';
CREATE INDEX waiting_adjustment_contract
ON waiting_adjustment (shard_key, contract_ref, document_group);

CREATE TABLE document_input (
    shard_key integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    period_ref uuid NOT NULL,
    trigger text NOT NULL CHECK (trigger IN (
        'PERIOD_OPENED', 'ISSUE_DUE', 'PERIOD_CUT', 'EVENT_DUE')),
    cut_number integer NOT NULL,
    tenant_id integer NOT NULL,
    document_ref uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, contract_product_ref, period_ref, trigger, cut_number)
);
COMMENT ON TABLE document_input IS
'Writer: invoicer. What a document is made from; the key makes a repeated message harmless.';
CREATE INDEX document_input_document ON document_input (shard_key, document_ref);

CREATE TABLE parked_input (
    shard_key integer NOT NULL,
    contract_product_ref uuid NOT NULL,
    period_ref uuid NOT NULL,
    trigger text NOT NULL,
    cut_number integer NOT NULL,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, contract_product_ref, period_ref, trigger, cut_number)
);
COMMENT ON TABLE parked_input IS
'Writer: invoicer. A message that fails by itself, set aside where a person sees it.';

CREATE TABLE invoicer_outbox (
    shard_key integer NOT NULL,
    outbox_id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id integer NOT NULL,
    document_ref uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('RENDER', 'MAIL', 'REMINDER')),
    copy integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    PRIMARY KEY (shard_key, outbox_id)
);
COMMENT ON TABLE invoicer_outbox IS
'Writer: invoicer. What is left to do for an issued document, written in the transaction that
issued it; a row is deleted when it is done. What is refused for good has no further due_at, until
a person sets one (meterline admin mail). copy: 0 for the first mail, then the times it was asked
for again; of a reminder, its days after the due date.';
CREATE INDEX invoicer_outbox_due ON invoicer_outbox (kind, due_at, outbox_id);

CREATE TABLE document_file (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('HTML', 'PDF')),
    tenant_id integer NOT NULL,
    content bytea NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_key, document_ref, kind)
);
COMMENT ON TABLE document_file IS 'Writer: invoicer. The issued document as it looks.';

CREATE TABLE document_link (
    shard_key integer NOT NULL,
    document_ref uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    generation integer NOT NULL CHECK (generation > 0),
    PRIMARY KEY (shard_key, document_ref),
    FOREIGN KEY (shard_key, document_ref) REFERENCES document
);
COMMENT ON TABLE document_link IS
'Writer: gateway. How often the link to a document''s page was revoked; without a row, never.';

-- ---------------------------------------------------------------- webhooks

CREATE TABLE webhook_endpoint (
    tenant_id integer NOT NULL REFERENCES tenant,
    endpoint_ref uuid NOT NULL,
    url text NOT NULL CHECK (length(url) <= 2048),
    description text NOT NULL DEFAULT '',
    events text[] NOT NULL DEFAULT '{}',
    secret bytea NOT NULL CHECK (length(secret) >= 24),
    old_secret bytea,
    old_until timestamptz,
    is_enabled boolean NOT NULL DEFAULT true,
    disabled_reason text,
    failing_since timestamptz,
    leased_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, endpoint_ref)
);
COMMENT ON TABLE webhook_endpoint IS
'Writer: gateway; whether it works is noted by the invoicer. Where a tenant wants to hear of what
happens; events: of which types, empty for all. Tenants never read secrets: one is answered when it
is made. old_secret signs, too, until old_until. leased_until: a process is delivering until then.';

CREATE TABLE webhook_event (
    tenant_id integer NOT NULL,
    event_ref uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL,
    subject_ref uuid NOT NULL,
    payload text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, event_ref)
);
COMMENT ON TABLE webhook_event IS
'Writer: invoicer and rater, by triggers on what it tells of, in the same transaction; the gateway
for tests. payload: what is sent, the same each time; kept for 30 days.';
CREATE INDEX webhook_event_time ON webhook_event (tenant_id, occurred_at, event_ref);
CREATE INDEX webhook_event_age ON webhook_event (occurred_at);

CREATE TABLE webhook_delivery (
    tenant_id integer NOT NULL,
    delivery_id bigint GENERATED ALWAYS AS IDENTITY,
    endpoint_ref uuid NOT NULL,
    event_ref uuid NOT NULL,
    state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'DEAD')),
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz,
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, delivery_id),
    FOREIGN KEY (tenant_id, endpoint_ref) REFERENCES webhook_endpoint ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, event_ref) REFERENCES webhook_event ON DELETE CASCADE
);
COMMENT ON TABLE webhook_delivery IS
'Writer: invoicer, and whoever writes webhook_event with it. An event on its way to an endpoint.
DEAD: tried for three days; a person can have it tried again, as a row of its own.';
CREATE INDEX webhook_delivery_due ON webhook_delivery (tenant_id, endpoint_ref, due_at, delivery_id)
WHERE state = 'PENDING';
CREATE INDEX webhook_delivery_listing ON webhook_delivery (tenant_id, endpoint_ref, delivery_id);
CREATE INDEX webhook_delivery_open ON webhook_delivery (state, created_at)
WHERE state <> 'DELIVERED';
CREATE INDEX webhook_delivery_event ON webhook_delivery (tenant_id, event_ref);

CREATE FUNCTION keep_old_secret() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.old_secret := OLD.secret;
    NEW.old_until := now() + interval '24 hours';
    RETURN NEW;
END $$;
CREATE TRIGGER webhook_endpoint_rotated BEFORE UPDATE OF secret ON webhook_endpoint
FOR EACH ROW EXECUTE FUNCTION keep_old_secret();

CREATE FUNCTION tell(tenant integer, event_type text, subject uuid, data jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ref uuid := gen_random_uuid();
BEGIN
    IF NOT EXISTS (SELECT FROM webhook_endpoint e WHERE e.tenant_id = tenant) THEN
        RETURN;
    END IF;
    INSERT INTO webhook_event (tenant_id, event_ref, type, subject_ref, payload)
    VALUES (tenant, ref, event_type, subject, jsonb_build_object(
        'type', event_type, 'timestamp', now(), 'data', data)::text);
    INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref)
    SELECT tenant, e.endpoint_ref, ref FROM webhook_endpoint e
    WHERE e.tenant_id = tenant AND e.is_enabled
      AND (e.events = '{}' OR event_type = ANY (e.events));
END $$;

-- What the world hears of a document. Statements tell of all their documents at once: thousands are
-- issued in a minute, and a row at a time it would take longer than to issue them.
CREATE FUNCTION document_news(d document) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'invoice_ref', d.document_ref, 'document_number', d.document_number,
        'state', d.state, 'accounting_event_type', d.accounting_event_type,
        'contract_ref', d.contract_ref, 'currency', d.currency, 'total', d.total,
        'issue_date', d.issue_date, 'due_date', d.due_date,
        'parent_document_ref', d.parent_document_ref)
$$;

CREATE FUNCTION tell_of_new_documents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH told AS (
        INSERT INTO webhook_event (tenant_id, type, subject_ref, payload)
        SELECT d.tenant_id, 'invoice.created', d.document_ref, jsonb_build_object(
            'type', 'invoice.created', 'timestamp', now(), 'data', document_news(d))::text
        FROM came
        JOIN document d ON d.shard_key = came.shard_key AND d.document_ref = came.document_ref
        WHERE EXISTS (SELECT FROM webhook_endpoint e WHERE e.tenant_id = came.tenant_id)
        RETURNING tenant_id, event_ref, type
    )
    INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref)
    SELECT told.tenant_id, e.endpoint_ref, told.event_ref
    FROM told JOIN webhook_endpoint e ON e.tenant_id = told.tenant_id
    WHERE e.is_enabled AND (e.events = '{}' OR told.type = ANY (e.events));
    RETURN NULL;
END $$;
CREATE TRIGGER document_told AFTER INSERT ON document
REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION tell_of_new_documents();

CREATE FUNCTION tell_of_moved_documents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH moved AS (
        SELECT came.tenant_id, came.shard_key, came.document_ref, CASE
            WHEN came.state = 'ISSUED' AND was.state IN ('DRAFT', 'UNDER_REVIEW') THEN
                CASE came.accounting_event_type WHEN 'CREDIT' THEN 'credit.issued'
                ELSE 'invoice.issued' END
            WHEN came.state = 'SENT' AND was.state = 'ISSUED' THEN 'invoice.sent'
            WHEN came.state = 'PAID' THEN 'invoice.paid'
            WHEN came.state = 'VOID' THEN 'invoice.voided'
            WHEN came.state = 'LATE' THEN 'invoice.late'
            WHEN came.state = 'PAYMENT_FAILED' THEN 'invoice.payment_failed' END AS type
        FROM came JOIN was ON was.shard_key = came.shard_key AND was.document_ref = came.document_ref
        WHERE came.state <> was.state
          AND EXISTS (SELECT FROM webhook_endpoint e WHERE e.tenant_id = came.tenant_id)
    ), told AS (
        INSERT INTO webhook_event (tenant_id, type, subject_ref, payload)
        SELECT m.tenant_id, m.type, m.document_ref, jsonb_build_object(
            'type', m.type, 'timestamp', now(), 'data', document_news(d))::text
        FROM moved m
        JOIN document d ON d.shard_key = m.shard_key AND d.document_ref = m.document_ref
        WHERE m.type IS NOT NULL
        ORDER BY d.series, d.number
        RETURNING tenant_id, event_ref, type
    )
    INSERT INTO webhook_delivery (tenant_id, endpoint_ref, event_ref)
    SELECT told.tenant_id, e.endpoint_ref, told.event_ref
    FROM told JOIN webhook_endpoint e ON e.tenant_id = told.tenant_id
    WHERE e.is_enabled AND (e.events = '{}' OR told.type = ANY (e.events));
    RETURN NULL;
END $$;
CREATE TRIGGER document_move_told AFTER UPDATE ON document
REFERENCING NEW TABLE AS came OLD TABLE AS was
FOR EACH STATEMENT EXECUTE FUNCTION tell_of_moved_documents();

CREATE FUNCTION tell_of_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell(NEW.tenant_id, 'alert.fired', NEW.alert_ref, jsonb_build_object(
        'alert_ref', NEW.alert_ref, 'contract_ref', NEW.contract_ref,
        'value', NEW.value, 'threshold', NEW.threshold, 'fired_at', NEW.fired_at,
        'period', jsonb_build_object('start', NEW.start_date, 'end', NEW.end_date)));
    RETURN NULL;
END $$;
CREATE TRIGGER alert_firing_told AFTER INSERT ON alert_firing
FOR EACH ROW EXECUTE FUNCTION tell_of_alert();

-- ---------------------------------------------------------------- one tenant never sees another

-- The gateway answers a tenant's requests as this role, with the tenant set for the transaction.
-- Queries name the tenant themselves; these policies are the second wall.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'meterline_tenant') THEN
        CREATE ROLE meterline_tenant NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server was migrated at the same moment
END $$;
GRANT meterline_tenant TO CURRENT_USER;
GRANT USAGE ON SCHEMA public TO meterline_tenant;

CREATE FUNCTION current_tenant() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT nullif(current_setting('meterline.tenant_id', true), '')::integer
$$;

-- Customers of the tenant whose name contains a text, ignoring case. Row-level security would not
-- let LIKE use an index, since LIKE might tell of rows that are not the tenant's, so these two
-- read as the owner and keep to the tenant themselves. They plan by the text that they are given.
CREATE FUNCTION name_pattern(part text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '%' || regexp_replace(lower(part), '([\\%_])', '\\\1', 'g') || '%'
$$;
CREATE FUNCTION count_customers_named(part text) RETURNS bigint LANGUAGE plpgsql STABLE
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM customer WHERE tenant_id = $1 AND lower(name) LIKE $2'
        INTO found USING current_tenant(), name_pattern(part);
    RETURN found;
END $$;
CREATE FUNCTION customers_named(part text, direction text, size integer, skipped bigint)
RETURNS TABLE (customer_ref uuid, name text, legal_name text) LANGUAGE plpgsql STABLE
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT customer_ref, name, legal_name FROM customer
        WHERE tenant_id = $1 AND lower(name) LIKE $2
        ORDER BY lower(name) %1$s, customer_id %1$s LIMIT $3 OFFSET $4',
        CASE direction WHEN 'DESC' THEN 'DESC' ELSE 'ASC' END)
        USING current_tenant(), name_pattern(part), size, skipped;
END $$;
REVOKE EXECUTE ON FUNCTION count_customers_named, customers_named FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_customers_named, customers_named TO meterline_tenant;

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND NOT c.relispartition AND a.attname = 'tenant_id'
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant_only ON %I TO meterline_tenant
                        USING (tenant_id = current_tenant())', name);
    END LOOP;
END $$;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO meterline_tenant;
REVOKE SELECT ON signing_key, link_key, login_attempt, rater_outbox, rater_member FROM meterline_tenant;
GRANT INSERT, UPDATE ON tenant_setting, entity, api_key, revoked_token, customer, meter, usage_format, product,
    pricing, pricing_line, contract, contract_product, contract_line, partition_change,
    reference_version
TO meterline_tenant;
GRANT DELETE ON pricing_line TO meterline_tenant; -- of drafts: the trigger holds the others
GRANT INSERT, DELETE ON idempotent_answer, upload_rejection, meter_feed TO meterline_tenant;
GRANT INSERT, UPDATE ON upload, alert, document_link TO meterline_tenant;
GRANT INSERT, UPDATE, DELETE ON contract_draft TO meterline_tenant;
GRANT INSERT ON document_request, audit_entry, dead_letter_retry, contract_version, contract_succession TO meterline_tenant;
GRANT UPDATE (next_contract_number, default_entity_id) ON tenant TO meterline_tenant;
GRANT UPDATE (reference_version) ON rater_partition TO meterline_tenant;
GRANT INSERT, DELETE ON login_block TO meterline_tenant;
GRANT INSERT, UPDATE ON admin_user TO meterline_tenant;
REVOKE SELECT ON webhook_endpoint FROM meterline_tenant;
GRANT SELECT (tenant_id, endpoint_ref, url, description, events, old_until, is_enabled,
    disabled_reason, failing_since, created_at) ON webhook_endpoint TO meterline_tenant;
GRANT INSERT (tenant_id, endpoint_ref, url, description, events, secret),
    UPDATE (url, description, events, secret, is_enabled, disabled_reason, failing_since), DELETE
ON webhook_endpoint TO meterline_tenant;
GRANT INSERT ON webhook_event, webhook_delivery TO meterline_tenant;
GRANT UPDATE (revoked_at) ON session TO meterline_tenant;

CREATE FUNCTION notify_partition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('meterline_partition', NEW.partition::text);
    RETURN NULL;
END $$;
CREATE TRIGGER partition_change_notice AFTER INSERT ON partition_change
FOR EACH ROW EXECUTE FUNCTION notify_partition();
