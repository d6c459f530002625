"""Ways to spoil the journal. See `corruptions.py`.

The world has a document with two payments, a third one that was taken back, and one with a credit.
"""

from tests.integration.verify.corruptions import spoil

COPIED = (
    "shard_key, document_ref, entry_number, tenant_id, entity_id, kind, payment_ref, currency, "
    "entry_date, booked_at, receivable, cash, prepaid_credits, customer_credit, deferred_revenue, "
    "tax, revenue, bad_debt, set_off"
)


def again(kind: str, payment_ref: str = "payment_ref") -> str:
    """Write the SQL that books the last entry of a kind once more, behind all of its document."""
    columns = COPIED.replace("payment_ref", payment_ref).replace(
        "entry_number",
        "(SELECT max(o.entry_number) + 1 FROM journal_entry o "
        "WHERE o.shard_key = e.shard_key AND o.document_ref = e.document_ref)",
    )
    return (
        f"INSERT INTO journal_entry ({COPIED}) SELECT {columns} FROM journal_entry e "
        f"WHERE kind = '{kind}' ORDER BY booked_at DESC, document_ref LIMIT 1"
    )


def of_the(kind: str, change: str) -> str:
    """Write the SQL that changes the first entry of a kind."""
    return (
        f"UPDATE journal_entry SET {change} WHERE ctid = (SELECT ctid FROM journal_entry "
        f"WHERE kind = '{kind}' ORDER BY booked_at, document_ref LIMIT 1)"
    )


JOURNAL_CORRUPTIONS = (
    spoil(
        "a document is not booked",
        "DELETE FROM journal_entry e USING the_document d WHERE e.document_ref = d.document_ref",
        *("journal", "accounts"),
    ),
    spoil(
        "a payment is not booked",
        "DELETE FROM journal_entry WHERE ctid = (SELECT ctid FROM journal_entry "
        "WHERE kind = 'PAYMENT' ORDER BY booked_at LIMIT 1)",
        *("journal", "accounts", "cash"),
    ),
    spoil(
        "a payment that was taken back is booked still",
        "DELETE FROM journal_entry WHERE kind = 'REVERSAL'",
        *("accounts", "cash"),
    ),
    spoil(
        "a credit is set off on one side only",
        "DELETE FROM journal_entry e USING document d WHERE e.kind = 'SET_OFF' "
        "AND d.document_ref = e.document_ref AND d.kind = 'CREDIT'",
        "accounts",
    ),
    spoil(
        "an entry does not come to zero",
        of_the("ISSUE", "revenue = revenue - 0.01"),
        *("journal", "accounts"),
    ),
    spoil(
        "an entry comes to zero with another amount",
        of_the("ISSUE", "revenue = revenue - 1, receivable = receivable + 1"),
        "accounts",
    ),
    spoil(
        "tax is booked as revenue",
        of_the("ISSUE", "revenue = revenue + tax, tax = 0"),
        "accounts",
    ),
    spoil(
        "revenue is put off",
        of_the("ISSUE", "deferred_revenue = revenue, revenue = 0"),
        "accounts",
    ),
    spoil(
        "a payment is booked with another amount",
        of_the("PAYMENT", "cash = cash + 1, customer_credit = customer_credit - 1"),
        *("accounts", "cash"),
    ),
    spoil(
        "a payment is booked for another day",
        of_the("PAYMENT", "entry_date = entry_date + 1"),
        "cash",
    ),
    spoil("a document is booked twice", again("ISSUE"), *("journal", "accounts")),
    spoil("a set-off is booked twice", again("SET_OFF"), "accounts"),
    spoil(
        "a payment is booked that never came",
        again("PAYMENT", "gen_random_uuid()"),
        *("accounts", "cash"),
    ),
    spoil(
        "an entry is in another currency",
        of_the("SET_OFF", "currency = 'EUR'"),
        "journal",
    ),
    spoil(
        "an entry is of another entity",
        of_the("ISSUE", "entity_id = entity_id + 1"),
        "journal",
    ),
    spoil(
        "a document is booked for another day",
        of_the("ISSUE", "entry_date = entry_date + 1"),
        "journal",
    ),
    spoil(
        "a draft is booked",
        "UPDATE document d SET state = 'DRAFT', number = NULL FROM the_last t "
        "WHERE d.document_ref = t.document_ref",
        *("journal", "numbers"),
    ),
)
