"""How the tests are shared out when several processes run them (``pytest -n``), and which of them count as coverage.

A file stays in one process, so that what its fixtures start is started once, and whatever starts the whole system
shares one process, so that two of them never compete for the machine. The longest come first and the many short ones
last: then no process waits for another at the end.
"""

from collections.abc import Generator

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

WHOLE_SYSTEM = ("tests/chaos/test_crash.py", "tests/chaos/test_chaos_on_local_cloud.py", "tests/e2e/")
SHORT = "tests/unit/"

UNMEASURED = (
    "tests/chaos/test_c",
    "tests/chaos/test_week.py",
    "tests/contract/test_relations_",
    "tests/contract/test_tape_baseline.py",
    "tests/e2e/",
    "tests/infrastructure/",
    "tests/integration/test_exchange_",
    "tests/integration/test_local_cloud_",
    "tests/performance/",
    "tests/property/test_exchange_",
    "tests/property/test_rest_fuzz.py",
    "tests/unit/test_exchange_",
)
"""These run the library long and broadly, or on the way to something else: the embedded exchange and AWS. Measuring
doubles the time they take, and a line that nothing but them reaches is to be seen as one without a test of its own."""


class ByFile(LoadScopeScheduling):
    """Hands out files, and the whole system's files as one."""

    def _split_scope(self, nodeid: str) -> str:
        return "whole system" if nodeid.startswith(WHOLE_SYSTEM) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """The scheduler of every run with several processes. It keeps to the order of ``pytest_collection_modifyitems``."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the whole system's tests first and the short ones last."""
    items.sort(key=lambda item: (not item.nodeid.startswith(WHOLE_SYSTEM), item.nodeid.startswith(SHORT)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let coverage rest while a test runs that does not count, its fixtures included."""
    measuring = Coverage.current()
    if measuring is None or not item.nodeid.startswith(UNMEASURED):
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()
