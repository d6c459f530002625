"""What the invoicer can be told. Each field is METERLINE_INVOICER_<NAME> in the environment."""

from typing import Annotated

from msgspec import Meta

from runtime.settings import CommonSettings


class InvoicerSettings(CommonSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds and addresses of one invoicer process."""

    #: Where /livez, /readyz and /metrics are served.
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8_082
    #: Documents issued in one transaction at most; a poll of Kafka brings up to 8 times as many.
    batch_size_max: Annotated[int, Meta(ge=1, le=5_000)] = 500
    #: Transactions under way at once, of different customers.
    batches_at_once: Annotated[int, Meta(ge=1, le=8)] = 2
    #: How long a poll waits for the first message.
    poll_seconds: Annotated[float, Meta(gt=0, le=60)] = 1.0
    #: How often cuts are looked for whose message was lost.
    scan_interval_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    #: How old a cut is before its message counts as lost.
    scan_grace_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    #: Documents rendered in one transaction, and threads that render them. With none, this process
    #: issues and leaves the drawing to others.
    render_batch_max: Annotated[int, Meta(ge=1, le=500)] = 20
    render_threads: Annotated[int, Meta(ge=0, le=64)] = 2
    #: A directory with more fonts (TTF, OTF), such as Chinese or Korean ones.
    fonts_dir: str = ""
    #: How long the outbox rests when nothing is due and nothing was issued here.
    outbox_poll_seconds: Annotated[float, Meta(gt=0, le=60)] = 1.0
    #: How often it is looked for what people want done with documents.
    request_poll_seconds: Annotated[float, Meta(gt=0, le=60)] = 0.2
    #: The mail server: smtp://[user:password@]host[:port], smtps:// for TLS from the start; without
    #: it nothing is mailed. smtp:// goes over to TLS where the server offers it, and must where a
    #: password is given.
    smtp_url: str = ""
    #: Whom mails are from. The address that the entity itself has is where answers go.
    mail_from: str = ""
    #: How long a mail server may take for one mail, and after how many failures one is set aside.
    mail_seconds: Annotated[float, Meta(gt=0, le=600)] = 60.0
    mail_attempts_max: Annotated[int, Meta(ge=1, le=100)] = 20
    #: How often it is looked for what has become late, and for whom to remind.
    dunning_poll_seconds: Annotated[float, Meta(gt=0, le=3_600)] = 60.0
    #: How long a webhook's endpoint may take to answer, and to how many of them at once is sent.
    webhook_seconds: Annotated[float, Meta(gt=0, le=60)] = 10.0
    webhook_endpoints_max: Annotated[int, Meta(ge=1, le=64)] = 8
    #: For development alone: webhooks may go to this machine, by http too.
    webhook_loopback: bool = False
