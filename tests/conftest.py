"""How the tests are shared out when several processes run them (``pytest -n``): a file stays in one process, so that
what its fixtures start is started once, and whatever starts the whole system shares one process, so that two of them
never compete for the machine."""

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

WHOLE_SYSTEM = ("tests/chaos/test_crash.py", "tests/chaos/test_chaos_on_local_cloud.py", "tests/e2e/")


class ByFile(LoadScopeScheduling):
    """Hands out files, and the whole system's files as one."""

    def _split_scope(self, nodeid: str) -> str:
        return "whole system" if nodeid.startswith(WHOLE_SYSTEM) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """The scheduler of every run with several processes."""
    return ByFile(config, log)
