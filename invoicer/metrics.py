"""Every metric of the invoicer."""

from prometheus_client import Counter, Gauge, Histogram

INPUTS_TAKEN = Counter(
    "invoicer_inputs_total",
    "Inputs of documents by what became of them: taken, repeated or parked.",
    ["outcome"],
)
MESSAGES_MALFORMED = Counter(
    "invoicer_messages_malformed_total",
    "Messages that name no input; the scan finds the cut if there is one.",
)
DOCUMENTS_DRAFTED = Counter(
    "invoicer_documents_drafted_total", "Documents drawn up, or drawn up again."
)
DOCUMENTS_ISSUED = Counter("invoicer_documents_issued_total", "Documents that got their number.")
BATCH_SECONDS = Histogram(
    "invoicer_batch_duration_seconds", "One transaction: from the contracts' locks to its commit."
)
BATCHES_RETRIED = Counter(
    "invoicer_batches_retried_total", "Batches tried again because the database was away or busy."
)
BATCHES_HALVED = Counter(
    "invoicer_batches_halved_total", "Batches split because an input in them could not be taken."
)
BATCHES_HELD = Counter(
    "invoicer_batches_held_total",
    "Batches left for later because somebody kept a series or a contract locked.",
)
PERIODS_OVERDUE = Gauge(
    "invoicer_periods_overdue", "Closed periods past the grace that no document has taken up yet."
)
INPUTS_PARKED = Gauge("invoicer_parked_inputs", "Inputs set aside, waiting for a person.")
RENDER_SECONDS = Histogram("invoicer_render_duration_seconds", "One document as HTML and as PDF.")
RENDER_FAILURES = Counter(
    "invoicer_render_failures_total", "Tries to render a document that failed; each is retried."
)
RENDERED_WITH_LACK = Counter(
    "invoicer_documents_rendered_with_lack_total",
    "PDFs made without something: glyphs, logo, glyphs_and_logo, or an e-invoice (e_invoice_…).",
    ["lack"],
)
OUTBOX_AGE_SECONDS = Gauge(
    "invoicer_outbox_age_seconds", "Age of the oldest issued document that has no files yet."
)
MAILS_SENT = Counter("invoicer_mails_total", "Documents that a mail server has taken.")
MAIL_FAILURES = Counter(
    "invoicer_mail_failures_total",
    "Tries to mail a document that failed: later ones are retried, refused ones wait for a person.",
    ["kind"],
)
MAILS_REFUSED = Gauge("invoicer_mails_refused", "Mails set aside, waiting for a person.")
DOCUMENTS_LATE = Counter(
    "invoicer_documents_late_total", "Documents that were not paid by their due date."
)
REMINDERS = Counter("invoicer_reminders_total", "Reminders written to customers.")
REQUESTS = Counter(
    "invoicer_document_requests_total",
    "What people wanted done with documents, by what became of it.",
    ["action", "outcome"],
)
REQUEST_AGE_SECONDS = Gauge(
    "invoicer_document_request_age_seconds", "Age of the oldest request that nobody has done yet."
)
DOCUMENTS_UNDER_REVIEW = Gauge(
    "invoicer_documents_under_review", "Documents that wait for a person's approval."
)
REVIEW_AGE_SECONDS = Gauge(
    "invoicer_review_age_seconds", "How long the oldest document has been waiting for approval."
)
WEBHOOK_ATTEMPTS = Counter(
    "invoicer_webhook_attempts_total",
    "Tries to deliver a webhook, by what came of it.",
    ["outcome"],
)
WEBHOOKS_DEAD = Gauge("invoicer_webhooks_dead", "Webhooks given up, waiting for a person.")
WEBHOOK_AGE_SECONDS = Gauge(
    "invoicer_webhook_age_seconds", "Age of the oldest webhook that is still to be delivered."
)
