"""What every test may use, and one rule: where ``CI`` is set, a skipped test is a failure.

Fixtures: ``postgres15``, ``postgres16``, ``postgres18`` (a running ``Cluster`` each, one a run), ``postgres`` (the
test runs once on each), ``host`` and ``ordinary_host`` (an OpenSSH server each). Where a peer is missing the test
is skipped, and the summary says what was missing.
"""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.peers.postgres import VERSIONS, Cluster, PeerMissing, cluster
from tests.peers.sshd import Sshd, ordinary, sshd


def _running(version: str) -> Iterator[Cluster]:
    try:
        with cluster(version) as running:
            yield running
    except PeerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres15() -> Iterator[Cluster]:
    """PostgreSQL 15 of Debian: with TLS and pg_stat_statements."""
    yield from _running("15")


@pytest.fixture(scope="session")
def postgres16() -> Iterator[Cluster]:
    """PostgreSQL 16 of the wheel: without TLS."""
    yield from _running("16")


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Cluster]:
    """PostgreSQL 18 of the wheel: without TLS."""
    yield from _running("18")


@pytest.fixture(scope="session")
def host() -> Iterator[Sshd]:
    """Debian's sshd, which allows everything."""
    try:
        with sshd() as running:
            yield running
    except PeerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def ordinary_host() -> Iterator[Sshd]:
    """The same for someone who is not root: only such a one's processes get signals."""
    try:
        with sshd(user=ordinary()) as running:
            yield running
    except PeerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=VERSIONS)
def postgres(request: pytest.FixtureRequest) -> Cluster:
    """Each version in turn."""
    running: Cluster = request.getfixturevalue(f"postgres{request.param}")
    return running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """A test that asks for a peer itself (``psql.stock``) is skipped like one that asks for a fixture."""
    try:
        return (yield)
    except PeerMissing as missing:
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """On CI everything is there to be tested: what was skipped has not been, and must not look as if it had."""
    if os.environ.get("CI") and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure where CI is set: {why}"
