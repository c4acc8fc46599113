"""Fixtures that all integration tests share: the connection to the private daemon, and the guests."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import libvirt
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from integration.arch import BOOTED
from integration.domains import definitions
from integration.domains.definitions import Definition
from integration.guest.running import TIMEOUT
from integration.host import connection, daemons
from integration.host.exchanged import Exchanged
from integration.oracle.cases import Case
from integration.oracle.runner import Pool
from integration.paths import BUILD, NIGHTLY


def pytest_configure() -> None:
    """Keep hypothesis's database below build/."""
    set_hypothesis_home_dir(BUILD / "hypothesis")


def pytest_report_header() -> list[str]:
    """Record the QEMUs that the results are about."""
    paths = [connection.emulator(arch) for arch in BOOTED]
    return [f"{path}: {'.'.join(map(str, connection.version(path)))}" for path in paths if os.access(path, os.X_OK)]


def pytest_xdist_auto_num_workers() -> int:
    """With "-n auto" more workers than cores, as guests settle and daemons end while nobody computes."""
    return min(3 * (os.cpu_count() or 1), 8)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the random writes came to, all workers together."""
    total: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name.startswith("noise "):
                total[name.removeprefix("noise ")] += int(str(value))
    if total:
        terminalreporter.write_line(
            f"noise: {total['writes']} random writes, {total['stayed']} devices stayed, {total['left']} that may go "
            f"went, QEMU ended by itself {total['ended']} times, state was not saved {total['unsaved']} times"
        )


def _parameter(item: pytest.Item, name: str) -> object:
    spec = getattr(item, "callspec", None)
    return spec.params.get(name) if spec else None


def _case(item: pytest.Item) -> Case | None:
    case = _parameter(item, "case")
    return case if isinstance(case, Case) else None


def _order(item: pytest.Item) -> int:
    """Long ones first: those with guests and daemons of their own, then guests of cases, then definitions."""
    if _case(item):
        return 1
    return 0 if item.get_closest_marker("timeout") else 2


def _group(item: pytest.Item) -> str | None:
    """Name what tests share, or have one at a time: a module's guest, other host or daemon, or the guest of a case."""
    names = getattr(item, "fixturenames", ())
    module = item.nodeid.partition("::")[0]
    if "guests" in names:
        return f"{module} {_parameter(item, 'name') or 'all-but-the-nic'}"
    if {"guest", "attacker", "other", "daemon"} & set(names):
        return module
    case = _case(item)
    return case.name if case else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what boots a guest, and say which tests one worker must do: those that share a guest or a daemon."""
    if late := [] if NIGHTLY else [item for item in items if item.get_closest_marker("nightly")]:
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in late]
    for item in items:
        if "events" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.guest)
        if item.get_closest_marker("guest") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1.5 * TIMEOUT))
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_order)


@pytest.fixture(scope="session", autouse=True)
def _frozen() -> None:
    """Leave what is there before the first test out of every collection of garbage, which is most of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Collect garbage after each test, not within.

    Freeing a virDomain resets the thread's last error. When the collector does that between a call that failed and
    libvirt-python's asking for the error, the exception has neither code nor text.
    """
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.fixture(scope="session")
def conn() -> Iterator[libvirt.virConnect]:
    """The connection; without ./run's daemon every test fails, none is skipped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ours = connection.connect()
    connection.sweep(ours)
    yield ours
    if ours.isAlive():
        connection.sweep(ours, own=True)


@pytest.fixture(autouse=True)
def _daemon_is_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail at once, and say why, when the daemon that tests share is gone."""
    if "conn" not in request.fixturenames:
        yield
        return
    ours: libvirt.virConnect = request.getfixturevalue("conn")
    if not ours.isAlive():
        pytest.fail("the private daemon is gone: an earlier test lost it", pytrace=False)
    yield
    if not ours.isAlive():
        pytest.fail("the private daemon ended during this test", pytrace=False)


@pytest.fixture
def place(conn: libvirt.virConnect, request: pytest.FixtureRequest) -> Iterator[Definition]:
    """A place to define a domain at."""
    with definitions.defined(conn, re.sub(r"\W+", "-", request.node.name)[:30]) as definition:
        yield definition


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> Iterator[Exchanged]:
    """A daemon that the test may kill and exchange, on a host of its module's own: in the beginning the patched one."""
    with Exchanged(request.module.__name__.rpartition("test_")[2][: daemons.LONGEST]) as one:
        yield one


@pytest.fixture(scope="session")
def lost(conn: libvirt.virConnect) -> connection.Events:
    """The devices that domains lost, as events tell."""
    return connection.Events(conn)


@pytest.fixture(scope="session")
def events(lost: connection.Events) -> connection.Events:
    """The same for tests that boot a guest, which this fixture marks."""
    return lost


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest, events: connection.Events) -> Iterator[Pool]:
    """The guests of cases. Those of all chosen tests are started in the background, unless workers share them out."""
    guests = Pool(events)
    if not hasattr(request.config, "workerinput"):
        guests.begin(filter(None, map(_case, request.session.items)))
    yield guests
    guests.close()
