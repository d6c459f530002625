"""Ports for servers that are about to start."""

import pytest

from deploy.local import ports


def test_no_port_is_given_twice_before_its_server_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = iter([40_001, 40_001, 40_001, 40_002])
    monkeypatch.setattr(ports, "_chosen_port", lambda: next(chosen))
    assert [ports.free_port(), ports.free_port()] == [40_001, 40_002]


def test_many_ports_in_a_row_differ() -> None:
    given = [ports.free_port() for _ in range(50)]
    assert len(set(given)) == len(given)
