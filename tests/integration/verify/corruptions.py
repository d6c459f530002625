"""Ways to spoil the books, each with the names of the checks that must notice, and of no others.

Every spoiling is SQL as the database's owner can run it, once FREE has taken the triggers, foreign
keys and checks away. What is spoilt is picked by PICK, so that the statements stay short:

    the_event    a rated event of a SUM meter that is in a cut, in the middle of its month, and
                 was never amended
    the_twin     another one, of the same partition
    the_line     the cut line that holds the_event
    the_update   the one version of an event of a SUM meter, in a cut with another quantity
    the_deletion the one version of an event that would be in a cut without it
    the_document the document that bills it
    the_last     the document with the highest number of the same entity
"""

from typing import NamedTuple


class Corruption(NamedTuple):
    """What is done to the books, and which checks turn red."""

    name: str
    statements: str
    red: frozenset[str]


FREE = """
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT conrelid::regclass AS name, conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'c') AND coninhcount = 0
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', one.name, one.conname);
    END LOOP;
    FOR one IN
        SELECT DISTINCT tgrelid::regclass AS name FROM pg_trigger WHERE NOT tgisinternal
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', one.name);
    END LOOP;
END $$;
"""

PICK = """
CREATE TEMP TABLE cut_event AS
SELECT e.*, c.period_ref, c.contract_line_ref, c.charge_ref, i.document_ref
FROM charge_cut c
JOIN period_cut t USING (shard_key, period_ref, cut_number)
JOIN document_input i USING (shard_key, period_ref, cut_number)
JOIN billing_period b USING (shard_key, period_ref)
JOIN pricing_line p ON p.pricing_line_id = c.pricing_line_id
JOIN meter m ON m.meter_id = p.meter_id AND m.aggregation = 'SUM'
JOIN usage_event e ON e.shard_key = c.shard_key AND e.meter_id = m.meter_id
    AND e.occurred_at >= start_at AND e.occurred_at < end_at AND e.rated_at < cut_offset
WHERE e.quantity > 1 AND extract(day FROM occurred_at) BETWEEN 12 AND 20
  AND NOT EXISTS (SELECT FROM usage_event_version v WHERE v.event_ref = e.event_ref)
ORDER BY event_ref;
CREATE TEMP TABLE the_event AS SELECT * FROM cut_event LIMIT 1;
CREATE TEMP TABLE the_twin AS
SELECT own.* FROM cut_event own JOIN the_event e USING (charge_ref)
WHERE own.event_ref <> e.event_ref LIMIT 1;
CREATE TEMP TABLE the_line AS
SELECT c.* FROM charge_cut c JOIN the_event USING (shard_key, period_ref, contract_line_ref);
CREATE TEMP TABLE cut_version AS
SELECT v.*, e.quantity AS first_quantity
FROM charge_cut c
JOIN period_cut t USING (shard_key, period_ref, cut_number)
JOIN billing_period b USING (shard_key, period_ref)
JOIN pricing_line p ON p.pricing_line_id = c.pricing_line_id
JOIN meter m ON m.meter_id = p.meter_id AND m.aggregation = 'SUM'
JOIN usage_event_version v ON v.shard_key = c.shard_key AND v.meter_id = m.meter_id
    AND v.occurred_at >= start_at AND v.occurred_at < end_at AND v.rated_at < cut_offset
JOIN usage_event e ON e.shard_key = v.shard_key AND e.event_ref = v.event_ref
    AND e.rated_at < v.rated_at AND e.occurred_at = v.occurred_at
WHERE (SELECT count(*) FROM usage_event_version o WHERE o.event_ref = v.event_ref) = 1
ORDER BY v.event_ref;
CREATE TEMP TABLE the_update AS
SELECT * FROM cut_version WHERE kind = 'UPDATE' AND quantity <> first_quantity LIMIT 1;
CREATE TEMP TABLE the_deletion AS SELECT * FROM cut_version WHERE kind = 'DELETE' LIMIT 1;
CREATE TEMP TABLE the_document AS
SELECT d.* FROM document d JOIN the_event USING (shard_key, document_ref);
CREATE TEMP TABLE the_last AS
SELECT d.* FROM document d JOIN the_document USING (tenant_id, entity_id, series)
WHERE d.number IS NOT NULL ORDER BY d.number DESC LIMIT 1;
"""


def spoil(name: str, statements: str, *red: str) -> Corruption:
    """Name a corruption and what it turns red."""
    return Corruption(name, statements, frozenset(red))
