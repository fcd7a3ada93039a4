"""How the tests are shared out when several processes run them (``pytest -n``): a file stays in one process, so that
what its fixtures start is started once, and whatever starts the whole system shares one process, so that two of them
never compete for the machine."""

from pathlib import Path

import pytest

WHOLE_SYSTEM = "whole system"
ROOMS = (Path("tests/e2e"), Path("tests/chaos"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the process group of every test."""
    for item in items:
        file = item.path.relative_to(config.rootpath)
        group = WHOLE_SYSTEM if file.parent in ROOMS else str(file)
        item.add_marker(pytest.mark.xdist_group(group))
