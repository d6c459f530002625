"""Ways to spoil what counts toward what. See `corruptions.py`."""

from tests.integration.verify.corruptions import spoil

#: An event that was never amended, in a cut of a line that its meter has no part in but by another.
_ONE_OF = (
    "(SELECT e.event_ref FROM usage_event e JOIN meter m USING (meter_id) "
    "JOIN meter_feed f USING (meter_id) JOIN pricing_line p ON p.meter_id = f.toward_id "
    "JOIN charge_cut c ON c.pricing_line_id = p.pricing_line_id AND c.shard_key = e.shard_key "
    "JOIN period_cut t ON (t.period_ref, t.cut_number) = (c.period_ref, c.cut_number) "
    "JOIN billing_period b ON b.period_ref = c.period_ref "
    "WHERE m.name = '{name}' AND e.rated_at < cut_offset "
    "AND e.occurred_at >= start_at AND e.occurred_at < end_at AND NOT EXISTS "
    "(SELECT FROM usage_event_version v WHERE v.event_ref = e.event_ref) "
    "ORDER BY 1 LIMIT 1)"
)

FEED_CORRUPTIONS = (
    spoil(
        "a meter counts toward its parent by another factor",
        "UPDATE meter SET parent_factor = 0.5 WHERE name = 'archives'",
        *("meter-feeds", "charges", "cuts", "digests"),
    ),
    spoil(
        "a credit adds",
        "UPDATE meter SET relation = 'DEBIT', parent_factor = 1 WHERE name = 'refunds'",
        *("meter-feeds", "charges", "cuts", "digests"),
    ),
    spoil(
        "a meter counts toward nothing",
        "UPDATE meter SET parent_meter_id = NULL, parent_factor = NULL WHERE name = 'bursts'",
        *("meter-feeds", "charges", "cuts", "digests", "coverage"),
    ),
    spoil(
        "a meter counts toward itself",
        "UPDATE meter SET parent_meter_id = meter_id, parent_factor = 1 WHERE name = 'idle'",
        "meter-feeds",
    ),
    spoil(
        "a way up is not written down",
        "DELETE FROM meter_feed WHERE factor = -1",
        "meter-feeds",
    ),
    spoil(
        "an event that counts elsewhere is altered",
        "UPDATE usage_event SET quantity = quantity + 1 WHERE event_ref = "
        + _ONE_OF.format(name="refunds"),
        *("charges", "cuts", "digests", "rollups"),
    ),
    spoil(
        "an event that counts elsewhere by a formula is altered",
        "UPDATE usage_event SET quantity = quantity + 100 WHERE event_ref = "
        + _ONE_OF.format(name="bursts"),
        *("charges", "cuts", "digests", "rollups"),
    ),
    spoil(
        "an event that counts elsewhere is called unrated",
        "INSERT INTO unrated_usage (shard_key, event_ref, tenant_id, customer_id, meter_id) "
        "SELECT shard_key, event_ref, tenant_id, customer_id, meter_id FROM usage_event "
        "WHERE event_ref = " + _ONE_OF.format(name="archives"),
        *("counters", "coverage"),
    ),
)
