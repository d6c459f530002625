"""What the demonstration finds in a usage file of one's own."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from deploy.demo.own_file import OwnFile, Survey, survey
from deploy.local.errors import StackError

TODAY = date(2026, 3, 15)


def look(
    tmp_path: Path, rows: Sequence[str], header: str = "ts,who,what,n", maps: str = ""
) -> Survey:
    path = tmp_path / "usage.csv"
    path.write_text("\n".join([header, *rows]))
    wanted = maps or "timestamp=ts,customer=who,meter=what,quantity=n"
    return survey(OwnFile(path=path, maps=[wanted]), TODAY)


def test_months_that_are_over_are_billed_from_the_earliest_to_the_latest(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        [
            "2025-12-31T23:30:00-01:00,acme,gb,1",
            "2026-02-10T00:00:00Z,Bolt,calls,1",
            "2026-03-10T00:00:00Z,corp,gb,1",
        ],
    )
    assert (found.first, found.last, found.months) == (date(2026, 1, 1), date(2026, 2, 28), 2)
    assert (found.customers, found.meters) == (["Bolt", "acme", "corp"], ["calls", "gb"])


def test_names_are_one_whatever_their_case_and_bad_rows_are_left_to_the_gateway(
    tmp_path: Path,
) -> None:
    found = look(
        tmp_path,
        [
            "2026-01-10T00:00:00Z,Acme,gb,1",
            "2026-01-11T00:00:00Z, ACME,GB,x",
            "2026-01-10,naive,gb,1",
            "1999-01-10T00:00:00Z,old,gb,1",
            "yesterday,no one,gb,1",
            "2026-01-10T00:00:00Z,,gb,1",
            "short,row",
        ],
    )
    assert (found.rows, found.customers, found.meters) == (7, ["Acme"], ["gb"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["2026-03-10T00:00:00Z,acme,gb,1"], "none of its months is over"),
        (["2026-01-10,acme,gb,1"], "no row has a time with an offset"),
        ([], "no row has a time"),
        (["2000-01-10T00:00:00Z,a,gb,1"] + [f"2026-01-10T00:00:00Z,{n},gb,1" for n in range(99)],
         "at most 5,000 invoices"),
        ([f"2026-01-10T00:00:00Z,a,{n},1" for n in range(101)], "at most 100 meters"),
    ],
    ids=["running month", "no offset", "empty", "too many invoices", "too many meters"],
)  # fmt: skip
def test_what_can_not_be_billed_is_said_before_anything_starts(
    tmp_path: Path, rows: Sequence[str], said: str
) -> None:
    with pytest.raises(StackError, match=said):
        look(tmp_path, rows)


def test_a_column_that_nobody_named_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="which column is customer, meter"):
        look(tmp_path, [], maps="timestamp=ts,quantity=n")
