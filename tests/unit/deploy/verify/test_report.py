"""What `verify` says, and the exit code it ends with."""

import io

import pytest
from rich.console import Console

from deploy.cli.verify import print_report
from deploy.verify.check import WITNESSES_MAX, Check, Finding, Result, Scope, plural
from deploy.verify.partitions import Conservation
from deploy.verify.report import CHECKS, Report, as_json

RIGHT = Conservation(
    total=100_000,
    rated=97_000,
    duplicates=1_500,
    conflicts=300,
    dead_letters=200,
    unrated=1_000,
    amendments=0,
)


async def _nothing(_scope: Scope, _finding: Finding) -> None:
    """Find nothing."""


CHECK = Check(name="charges", sentence="every charge is right", unit="charges", run=_nothing)


def result(*, broken: int = 0, reason: str = "") -> Result:
    finding = Finding("charges", counted=40)
    for number in range(broken):
        finding.broken(f"charge {number} is [wrong]")
    return Result(check=CHECK, finding=finding, reason=reason)


def report(*results: Result) -> Report:
    return Report(results=results, conservation=RIGHT)


def printed(given: Report) -> str:
    output = io.StringIO()
    print_report(Console(file=output, width=120), given)
    return output.getvalue()


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ((), 0),
        ((result(),), 0),
        ((result(), result(broken=1)), 1),
        ((result(), result(reason="no broker")), 2),
        ((result(reason="no broker"), result(broken=1)), 1),
    ],
)
def test_the_exit_code_tells_right_from_broken_from_not_checked(
    results: tuple[Result, ...], code: int
) -> None:
    assert report(*results).exit_code == code


def test_every_check_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert len({check.sentence for check in CHECKS}) == len(CHECKS)


def test_the_first_broken_things_are_named_and_all_are_counted() -> None:
    text = printed(report(result(broken=12)))
    assert "FAIL" in text
    assert "difference 12" in text
    assert text.count("is [wrong]") == WITNESSES_MAX
    assert "… and 2 more" in text


def test_what_could_not_be_checked_says_why() -> None:
    text = printed(report(result(reason="no [broker]")))
    assert "could not check: no [broker]" in text
    assert "difference" not in text


def test_conservation_is_a_sum_that_people_can_read() -> None:
    assert str(RIGHT) == (
        "100,000 accepted = 97,000 rated + 1,500 duplicates + 300 conflicts + 200 dead letters "
        "+ 1,000 unrated, difference 0"
    )


def test_the_json_says_the_same_as_the_lines() -> None:
    plain = as_json(report(result(broken=1)))
    assert plain["status"] == "FAIL"
    assert plain["conservation"] == {
        "accepted": 100_000,
        "rated": 97_000,
        "duplicates": 1_500,
        "conflicts": 300,
        "dead_letters": 200,
        "unrated": 1_000,
        "amendments": 0,
        "difference": 0,
    }


@pytest.mark.parametrize(
    ("count", "unit", "text"),
    [(0, "cuts", "0 cuts"), (1, "cuts", "1 cut"), (1_000, "billed lines", "1,000 billed lines")],
)
def test_units_follow_their_count(count: int, unit: str, text: str) -> None:
    assert plural(count, unit) == text
