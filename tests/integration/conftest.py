"""Everything under this directory needs the real servers."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from deploy.local.servers import Servers
from tests.ground import Ground, NewGround, own_ground

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this directory `integration`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def new_ground(
    servers: Servers, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> NewGround:
    """Make grounds for services: each has a name, a database and topics of its own."""

    def make(name: str) -> AbstractAsyncContextManager[Ground]:
        logs = Path(tmp_path_factory.mktemp(name))
        return own_ground(servers, template_database, logs, name)

    return make
