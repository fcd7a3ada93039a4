"""How the tests are shared out when several processes run them (``pytest -n``): a file stays in one process, so that
what its fixtures start is started once, and whatever starts the whole system shares one process, so that two of them
never compete for the machine."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

WHOLE_SYSTEM = ("tests/chaos/", "tests/e2e/")


class ByFile(LoadScopeScheduling):
    """Hands out files, and the whole system's files as one."""

    def _split_scope(self, nodeid: str) -> str:
        return "whole system" if nodeid.startswith(WHOLE_SYSTEM) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """The scheduler of every run with several processes."""
    return ByFile(config, log)
