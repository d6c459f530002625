"""Ways to spoil documents, and how rows hang together. See `corruptions.py`."""

from tests.integration.verify.corruptions import spoil

DOCUMENT_CORRUPTIONS = (
    # Documents.
    spoil(
        "a cut is never invoiced",
        "UPDATE period_cut SET cut_at = now() - interval '16 minutes'; "
        "DELETE FROM document_input i USING the_event e WHERE i.period_ref = e.period_ref",
        "invoiced",
        "lines",
    ),
    spoil(
        "a line is moved to another document",
        "UPDATE document_line l SET document_ref = (SELECT document_ref FROM document d "
        "WHERE d.shard_key = l.shard_key AND d.document_ref <> l.document_ref LIMIT 1), "
        "position = 99 FROM the_event e WHERE (l.document_ref, l.contract_line_ref) "
        "= (e.document_ref, e.contract_line_ref)",
        "lines",
        "documents",
    ),
    spoil(
        "a line is billed twice",
        "INSERT INTO document_line (shard_key, document_ref, product_position, position, "
        "tenant_id, line_item_ref, contract_line_ref, pricing_line_id, charge_ref, item, model, "
        "quantity, unit_price, tiers, amount, event_count, events_digest) "
        "SELECT l.shard_key, l.document_ref, product_position, 99, "
        "l.tenant_id, line_item_ref, l.contract_line_ref, pricing_line_id, l.charge_ref, item, "
        "model, l.quantity, unit_price, tiers, 0, event_count, events_digest "
        "FROM document_line l "
        "JOIN the_event e USING (document_ref, contract_line_ref)",
        "lines",
    ),
    spoil(
        "a line is not billed",
        "DELETE FROM document_line l USING the_event e WHERE (l.document_ref, l.contract_line_ref)"
        " = (e.document_ref, e.contract_line_ref)",
        "lines",
        "documents",
    ),
    spoil(
        "a billed line is a cent dearer",
        "UPDATE document_line l SET amount = amount + 0.01 FROM the_event e "
        "WHERE (l.document_ref, l.contract_line_ref) = (e.document_ref, e.contract_line_ref)",
        "lines",
        "documents",
    ),
    spoil(
        "a billed line states other usage than was cut",
        "UPDATE document_line l SET event_count = event_count + 1 FROM the_event e "
        "WHERE (l.document_ref, l.contract_line_ref) = (e.document_ref, e.contract_line_ref)",
        "lines",
    ),
    spoil(
        "a product's minimum fee is not charged",
        "UPDATE document_product SET minimum_fee = 0, total = sub_total "
        "WHERE ctid = (SELECT ctid FROM document_product WHERE total > sub_total LIMIT 1)",
        "documents",
    ),
    spoil(
        "a discount is forgotten",
        "UPDATE document_product p SET discount = 0 FROM the_document d "
        "WHERE p.document_ref = d.document_ref AND discount > 0",
        "documents",
    ),
    spoil(
        "a cent of tax is added to a document",
        "UPDATE document d SET total_tax = d.total_tax + 0.01, total = d.total + 0.01, "
        "total_in_contract = d.total_in_contract + 0.01 FROM the_last t "
        "WHERE d.document_ref = t.document_ref",
        *("documents", "accounts"),
    ),
    spoil(
        "a document's total is a cent less than its parts",
        "UPDATE document d SET total = d.total - 0.01, "
        "total_in_contract = d.total_in_contract - 0.01 FROM the_last t "
        "WHERE d.document_ref = t.document_ref",
        *("documents", "accounts"),
    ),
    spoil(
        "a contract's running total is wrong",
        "UPDATE document d SET total_in_contract = d.total_in_contract + 1 FROM the_last t "
        "WHERE d.document_ref = t.document_ref",
        "documents",
    ),
    spoil(
        "a number is left out",
        "UPDATE document d SET number = d.number + 1, document_number = d.document_number || 'x' "
        "FROM the_last t WHERE d.document_ref = t.document_ref",
        "numbers",
    ),
    spoil(
        "a number is given twice",
        "UPDATE document d SET number = d.number - 1 "
        "FROM the_last t WHERE d.document_ref = t.document_ref",
        "numbers",
    ),
    spoil(
        "a document bears the number of another",
        "UPDATE document d SET document_number = (SELECT document_number FROM document o "
        "WHERE o.entity_id = d.entity_id AND o.number = 1) "
        "FROM the_last t WHERE d.document_ref = t.document_ref",
        "numbers",
    ),
    spoil(
        "the last number was never given",
        "UPDATE document_sequence SET next_number = next_number + 1",
        "numbers",
    ),
    spoil(
        "a document was issued before the one with the number below",
        "UPDATE document d SET issued_at = d.issued_at - interval '1 year' FROM the_last t "
        "WHERE d.contract_ref = t.contract_ref AND d.number IN (SELECT number FROM document "
        "WHERE contract_ref = t.contract_ref) AND (SELECT min(number) FROM document "
        "WHERE contract_ref = t.contract_ref) > 1",
        *("numbers", "journal"),
    ),
    spoil(
        "a document's file is altered",
        "UPDATE document_file SET content = content || '!' "
        "WHERE ctid = (SELECT ctid FROM document_file LIMIT 1)",
        "files",
    ),
    spoil(
        "a document's file is lost",
        "DELETE FROM document_file WHERE ctid = (SELECT ctid FROM document_file LIMIT 1)",
        "files",
    ),
    # How rows hang together.
    spoil(
        "a period is a day longer",
        "UPDATE billing_period SET end_at = end_at + interval '1 day' WHERE last_cut_number = 0",
        "periods",
        "charges",  # those that are weighted by time
    ),
    spoil(
        "a period is issued on another day",
        "UPDATE billing_period b SET issue_date = issue_date + 1 FROM the_event e "
        "WHERE b.period_ref = e.period_ref",
        "periods",
    ),
    spoil(
        "two periods overlap",
        "UPDATE billing_period b SET end_at = end_at + interval '1 microsecond' "
        "WHERE period_index = 0",
        "periods",
        "charges",
        "cuts",
    ),
    spoil(
        "a document is given to another tenant",
        "UPDATE document_file f SET tenant_id = (SELECT tenant_id FROM tenant t "
        "WHERE t.tenant_id <> f.tenant_id) WHERE document_ref = (SELECT document_ref "
        "FROM the_document)",
        "tenants",
    ),
    spoil(
        "a published contract is a draft still",
        "INSERT INTO contract_draft SELECT shard_key, contract_ref, tenant_id, customer_id, '{}', "
        "false FROM contract LIMIT 1",
        "versions",
    ),
    spoil(
        "a draft is given to another tenant",
        "INSERT INTO contract_draft SELECT c.shard_key, overlay(contract_ref::text PLACING "
        "'000000' FROM 31)::uuid, t.tenant_id, customer_id, '{}', false "
        "FROM contract c JOIN tenant t ON t.tenant_id <> c.tenant_id LIMIT 1",
        "tenants",
        "refs",
    ),
    spoil(
        "a charge is given to another tenant",
        "UPDATE charge c SET tenant_id = (SELECT tenant_id FROM tenant t "
        "WHERE t.tenant_id <> c.tenant_id) FROM the_event e WHERE c.charge_ref = e.charge_ref",
        "tenants",
        "refs",
    ),
    spoil(
        "a line item of a contract does not exist",
        "DELETE FROM meter WHERE name = 'idle'",
        *("tenants", "meter-feeds"),
    ),
    spoil(
        "a customer lives in another place than its hash says",
        "UPDATE customer SET shard_key = shard_key + 4 WHERE customer_id = (SELECT customer_id "
        "FROM the_event)",
        "refs",
        "tenants",
        "rollups",
    ),
    spoil(
        "a cut's charge is another line's",
        "UPDATE charge_cut c SET charge_ref = (SELECT charge_ref FROM charge_cut o "
        "WHERE o.charge_ref <> l.charge_ref AND o.shard_key = l.shard_key "
        "AND o.event_count > 0 LIMIT 1) FROM the_line l "
        "WHERE (c.period_ref, c.contract_line_ref) = (l.period_ref, l.contract_line_ref)",
        "lines",
        "tenants",
    ),
    # Payments.
    spoil(
        "a document is called paid, and no money came",
        "UPDATE document d SET state = 'PAID', paid_date = '2026-11-20' FROM the_document t "
        "WHERE d.document_ref = t.document_ref",
        "payments",
    ),
    spoil(
        "a document is called paid in part, and no money came",
        "UPDATE document d SET state = 'PARTIALLY_PAID' FROM the_document t "
        "WHERE d.document_ref = t.document_ref",
        "payments",
    ),
    spoil(
        "money came, and its document doesn't know",
        "INSERT INTO payment (shard_key, payment_ref, tenant_id, document_ref, amount, paid_date, "
        "recorded_by, recorded_at) SELECT shard_key, gen_random_uuid(), tenant_id, document_ref, "
        "0.01, '2026-11-20', 'x', now() FROM the_document",
        *("payments", "accounts", "cash"),
    ),
    spoil(
        "money came the wrong way",
        "INSERT INTO payment (shard_key, payment_ref, tenant_id, document_ref, amount, paid_date, "
        "recorded_by, recorded_at) SELECT shard_key, gen_random_uuid(), tenant_id, document_ref, "
        "-0.01, '2026-11-20', 'x', now() FROM the_document; "
        "UPDATE document d SET state = 'PARTIALLY_PAID' FROM the_document t "
        "WHERE d.document_ref = t.document_ref",
        *("payments", "accounts", "cash"),
    ),
)
