"""What all tests share: the real images where they are; no silent skip where all is required."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# No test of ours asserts a time, and a busy machine is no reason to fail one.
settings.register_profile("espalier", deadline=None)
settings.load_profile("espalier")

REQUIRE_ALL = os.environ.get("ESPALIER_REQUIRE_ALL", "0") not in ("", "0")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skip fail where everything is required."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{item.nodeid}: a skip fails under ESPALIER_REQUIRE_ALL=1: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a skip of a whole module fail too."""
    report = yield
    if REQUIRE_ALL and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"a skip fails under ESPALIER_REQUIRE_ALL=1: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def cifar_dir() -> Path:
    """Return the folder of the real CIFAR-10 images; skip where there is none."""
    given = os.environ.get("ESPALIER_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real CIFAR-10 images not found: set ESPALIER_DATA to their folder")
    return folder
