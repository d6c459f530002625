"""The alert rules name metrics that there are, and sections of the runbook that there are."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = (DEPLOY / "prometheus" / "rules.yml").read_text()
_EXPORTED = re.compile(r"\b(?:gateway|rater|invoicer)_[a-z_]+\b")


def rules() -> list[dict[str, str]]:
    """Return the rules with their fields; the file is plain enough to be read line by line."""
    found = []
    for text in RULES.split("- alert: ")[1:]:
        fields = dict(re.findall(r"^\s+(\w+): (.+)$", text, re.MULTILINE))
        found.append({"alert": text.splitlines()[0].strip(), **fields})
    return found


def exported() -> dict[str, set[str]]:
    """Return the names that the services export, with their labels."""
    found: dict[str, set[str]] = {}
    for service in ("gateway", "rater", "invoicer"):
        for metric in vars(import_module(f"{service}.metrics")).values():
            if isinstance(metric, MetricWrapperBase):
                [described] = metric.describe()
                suffix = "_total" if described.type == "counter" else ""
                found[described.name + suffix] = set(metric._labelnames)
    return found


def sections() -> set[str]:
    """Return the runbook's headings, without the metric in brackets."""
    heads = re.findall(r"^## ([^(\n]+)", (DEPLOY / "runbook.md").read_text(), re.MULTILINE)
    return {head.strip() for head in heads}


def test_each_rule_is_whole_and_has_a_name_of_its_own() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) >= 9
    for rule in found:
        assert {"expr", "labels", "summary", "runbook"} <= set(rule), rule["alert"]
        assert rule["labels"] in ("{severity: page}", "{severity: ticket}")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_and_labels_that_are_exported(rule: dict[str, str]) -> None:
    known = exported()
    asked = _EXPORTED.findall(rule["expr"])
    assert asked
    for name in asked:
        assert name in known, name
        selector = re.search(name + r"\{([^}]*)\}", rule["expr"])
        labels = re.findall(r"(\w+)(?:=~|!=|=)", selector[1]) if selector else []
        assert set(labels) <= known[name]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_leads_to_a_section_of_the_runbook(rule: dict[str, str]) -> None:
    path, section = rule["runbook"].split(", ")
    assert path == "deploy/runbook.md"
    assert section in sections()
