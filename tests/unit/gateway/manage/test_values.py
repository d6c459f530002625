"""Single values of management bodies: the table of what is taken, and of what is refused."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from gateway.manage import values
from gateway.manage.body import JsonNumber
from schemas.errors import InvalidInput

REF = "00000000-0000-4000-8000-00000000000A"

TAKEN: list[tuple[Callable[[object], object], object, object]] = [
    (values.name, " Northwind ", "Northwind"),
    (values.text, 10_001, "10001"),
    (values.text, JsonNumber("1.50"), "1.50"),
    (values.flag, "true", True),
    (values.flag, False, False),
    (values.whole(1, 120), "30", 30),
    (values.whole(1, 120), 120, 120),
    (values.ref, REF, UUID(REF)),
    (values.emails, "ap@n.example,cfo@n.example", "ap@n.example, cfo@n.example"),
    (values.currency, "KWD", "KWD"),
    (values.timezone, "Pacific/Auckland", "Pacific/Auckland"),
    (values.locale, "en_US", "en-US"),
    (values.country, "United States", "United States"),
    (values.country, "united states of america", "united states of america"),
    (values.country, "IE", "IE"),
    (values.country, "USA", "USA"),
    (values.country, "Trinidad and Tobago", "Trinidad and Tobago"),
    (values.percent(100), 17, Decimal(17)),
    (values.percent(100), "17.125", Decimal("17.125")),
    (values.percent(100), JsonNumber("0.100000000000000055"), Decimal("0.100000000000000055")),
    (values.fee, "1e3", Decimal(1000)),
    (values.net_terms(upon_usage=True), 30, "30"),
    (values.net_terms(upon_usage=True), "30", "30"),
    (values.net_terms(upon_usage=True), "DUE_UPON_USAGE", "DUE_UPON_USAGE"),
    (values.number_format, "US-INV-{number}", "US-INV-{number}"),
    (values.number_format, "INV-{year}-{number:03}", "INV-{year}-{number:03}"),
    (values.plain_date, "2024-02-29", date(2024, 2, 29)),
    (values.day_or_instant, "2024-02-29", date(2024, 2, 29)),
    (
        values.day_or_instant,
        "2024-02-01T00:30:00+02:00",
        datetime(2024, 1, 31, 22, 30, tzinfo=UTC),
    ),
]

REFUSED: list[tuple[Callable[[object], object], object, str]] = [
    (values.name, "", "key_length"),
    (values.name, "  ", "key_length"),
    (values.name, "a\nb", "key_not_printable"),
    (values.name, "e\u0301", "key_not_nfc"),
    (values.name, "n" * 256, "key_length"),
    (values.name, 7, "type_string"),
    (values.name, JsonNumber("7.0"), "type_string"),
    (values.text, True, "type_string"),
    (values.text, [], "type_string"),
    (values.text, "a\0b", "null_character"),
    (values.text, "t" * 2_001, "text_too_long"),
    (values.flag, "yes", "flag_malformed"),
    (values.flag, 1, "flag_malformed"),
    (values.flag, [], "flag_malformed"),
    (values.whole(1, 120), 0, "number_out_of_range"),
    (values.whole(1, 120), 121, "number_out_of_range"),
    (values.whole(1, 120), "1.0", "number_malformed"),
    (values.whole(1, 120), "-1", "number_malformed"),
    (values.whole(1, 120), "9" * 5_000, "number_malformed"),
    (values.whole(1, 120), "\uff11\uff12", "number_malformed"),
    (values.whole(1, 120), True, "number_malformed"),
    (values.ref, "no-ref", "ref_malformed"),
    (values.ref, 7, "ref_malformed"),
    (values.emails, "nobody", "email_malformed"),
    (values.emails, "a@b.example,", "email_malformed"),
    (values.emails, "a b@c.example", "email_malformed"),
    (values.currency, "usd", "currency_unknown"),
    (values.currency, "XQZ", "currency_unknown"),
    (values.timezone, "Mars/Olympus", "timezone_unknown"),
    (values.timezone, "../../etc/passwd", "timezone_unknown"),
    (values.locale, "english", "locale_unknown"),
    (values.country, "Atlantis", "country_unknown"),
    (values.country, "ZZ", "country_unknown"),
    (values.percent(100), "100.1", "percent_out_of_range"),
    (values.percent(100), -1, "percent_out_of_range"),
    (values.percent(100), "NaN", "number_malformed"),
    (values.percent(100), "1e999999", "number_too_large"),
    (values.percent(100), 1.5, "number_malformed"),
    (values.fee, "-0.01", "number_negative"),
    (values.fee, "0.0000000000000000001", "number_too_precise"),
    (values.net_terms(upon_usage=True), 0, "net_terms_malformed"),
    (values.net_terms(upon_usage=True), "soon", "net_terms_malformed"),
    (values.net_terms(upon_usage=False), "DUE_UPON_USAGE", "net_terms_malformed"),
    (values.number_format, "INV", "number_format_malformed"),
    (values.number_format, "{number}-{number}", "number_format_malformed"),
    (values.number_format, "{number.__class__}", "number_format_malformed"),
    (values.number_format, "{number:999999999}", "number_format_malformed"),
    (values.plain_date, "2023-02-29", "date_malformed"),
    (values.plain_date, "20240229", "date_malformed"),
    (values.plain_date, "2024-W09-4", "date_malformed"),
    (values.plain_date, "1999-12-31", "date_out_of_range"),
    (values.plain_date, 20240229, "date_malformed"),
    (values.day_or_instant, "2024-02-01T00:00:00", "timestamp_naive"),
]


@pytest.mark.parametrize(("read", "sent", "value"), TAKEN)
def test_a_good_value_is_read(
    read: Callable[[object], object], sent: object, value: object
) -> None:
    assert read(sent) == value


@pytest.mark.parametrize(("read", "sent", "code"), REFUSED)
def test_a_bad_value_is_refused(read: Callable[[object], object], sent: object, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(sent)
    assert caught.value.code == code


def test_an_unknown_word_is_answered_with_the_nearest_known() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'Europe/Berlin'"):
        values.timezone("Europe/Berln")
    with pytest.raises(InvalidInput, match="did you mean 'united states'"):
        values.country("Untied States")


def test_the_time_zone_picks_the_day_of_an_instant() -> None:
    late = values.day_or_instant("2024-02-01T12:05:23.613Z")
    assert values.day_in(late, "America/New_York") == date(2024, 2, 1)
    assert values.day_in(late, "Pacific/Auckland") == date(2024, 2, 2)
