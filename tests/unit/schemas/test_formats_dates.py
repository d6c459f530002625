"""Times as others write them are read as the instants that they mean, or refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput
from schemas.formats_dates import DateFormat


def read_date(form: str, text: Any, zone: str | None = None) -> str:  # noqa: ANN401 - any value
    return DateFormat.parse(form, None if zone is None else ZoneInfo(zone)).read(text)


@pytest.mark.parametrize(
    ("form", "zone", "text", "iso"),
    [
        ("dd.MM.yyyy HH:mm:ss", "Europe/Berlin", "05.02.2024 13:14:15", "2024-02-05T12:14:15Z"),
        ("d.M.yy H:mm", "UTC", "5.2.24 7:05", "2024-02-05T07:05:00Z"),
        ("MM/dd/yyyy hh:mm a", "America/New_York", "07/04/2024 12:30 AM", "2024-07-04T04:30:00Z"),
        ("MM/dd/yyyy h:mm a", "UTC", "07/04/2024 1:30 pm", "2024-07-04T13:30:00Z"),
        ("MMM d, yyyy", "UTC", "Feb 5, 2024", "2024-02-05T00:00:00Z"),
        ("d MMMM yyyy", "UTC", "5 february 2024", "2024-02-05T00:00:00Z"),
        ("yyyyMMdd'T'HHmmssXX", None, "20240205T120000+0530", "2024-02-05T06:30:00Z"),
        ("yyyy-MM-dd HH:mm.SSSXXX", None, "2024-02-05 12:00.250Z", "2024-02-05T12:00:00.250000Z"),
        ("yyyy-MM-dd HHX", None, "2024-02-05 12-08", "2024-02-05T20:00:00Z"),
        ("yyyy 'o''clock' MM dd HH", "UTC", "2024 o'clock 02 05 12", "2024-02-05T12:00:00Z"),
        ("ISO_8601", "Europe/Berlin", "2024-07-05T12:00", "2024-07-05T10:00:00Z"),
        ("ISO_8601", "Europe/Berlin", "2024-07-05", "2024-07-04T22:00:00Z"),
        ("ISO_8601", "Europe/Berlin", "2024-07-05T12:00:00+00:00", "2024-07-05T12:00:00+00:00"),
        ("ISO_8601", None, "no time at all", "no time at all"),
        ("EPOCH_SECONDS", None, "1707134400.5", "2024-02-05T12:00:00.500000Z"),
        ("EPOCH_MILLISECONDS", None, "1707134400001", "2024-02-05T12:00:00.001000Z"),
        ("EPOCH_MICROSECONDS", None, "1707134400000001", "2024-02-05T12:00:00.000001Z"),
        # The hour that comes twice is taken as its first time round.
        ("yyyy-MM-dd HH:mm", "Europe/Berlin", "2024-10-27 02:30", "2024-10-27T00:30:00Z"),
    ],
)  # fmt: skip
def test_times_are_read_as_they_are_written(
    form: str, zone: str | None, text: str, iso: str
) -> None:
    assert read_date(form, text, zone) == iso


@pytest.mark.parametrize(
    ("form", "zone", "text", "code"),
    [
        ("yyyy-MM-dd HH:mm", "Europe/Berlin", "2024-03-31 02:30", "timestamp_nonexistent"),
        ("yyyy-MM-dd", "UTC", "2024-02-30", "timestamp_malformed"),
        ("yyyy-MM-dd", "UTC", "2024-2-3", "timestamp_malformed"),
        ("yyyy-MM-dd", "UTC", "\u0662024-02-03", "timestamp_malformed"),
        ("yyyy-MM-dd", "UTC", "x" * 200, "timestamp_malformed"),
        ("yyyy-MM-dd", "UTC", True, "timestamp_malformed"),
        ("yyyy-MM-dd", "Pacific/Auckland", "0001-01-01", "timestamp_malformed"),
        ("yyyy-MM-ddXXX", None, "0001-01-01+01:00", "timestamp_malformed"),
        ("yyyy-MM-ddXXX", None, "2024-01-01+24:00", "timestamp_malformed"),
        ("yyyy-MM-dd hh a", "UTC", "2024-02-05 13 PM", "timestamp_malformed"),
        ("EPOCH_SECONDS", None, "-1", "timestamp_malformed"),
        ("EPOCH_SECONDS", None, "1e99", "timestamp_malformed"),
        ("EPOCH_SECONDS", None, "now", "timestamp_malformed"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(form: str, zone: str | None, text: object, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_date(form, text, zone)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "form",
    ["", "yyyy", "yyyy-MM", "dd.MM.yyyy dd", "yyyy yy MM dd", "HH:mm", "yyyy-MM-dd hh", "'open",
     "yyyy-MM-dd a", "yyyy-MM-dd HH hh a", "YYYY-MM-DD", "yyyy-MM-dd EEEE", "y" * 65,
     "yyyy MM MMM dd", "yyyy-MM-dd SSSSSSSSSS"],
)  # fmt: skip
def test_a_pattern_that_can_name_no_instant_is_refused(form: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        DateFormat.parse(form, ZoneInfo("UTC"))
    assert caught.value.code == "date_format_malformed"


ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Sydney"])


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ZONES,
)
def test_a_local_time_is_read_as_an_instant_that_shows_it(moment: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    local = moment.astimezone(zone)
    text = read_date("yyyy-MM-dd HH:mm:ss.SSSSSS", f"{local:%Y-%m-%d %H:%M:%S.%f}", name)
    found = datetime.fromisoformat(text)
    assert found.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None)
    assert found in (moment, moment - timedelta(hours=1))
