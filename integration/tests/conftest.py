"""What all integration tests share: the connection to the private daemon, and the guests."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator

import libvirt
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from integration.guest.pool import Pool
from integration.host import connection
from integration.oracle.cases import Case
from integration.paths import BUILD


def pytest_configure(config: pytest.Config) -> None:
    """Declare our markers; what hypothesis keeps goes where all goes."""
    set_hypothesis_home_dir(BUILD / "hypothesis")
    config.addinivalue_line("markers", "live: about running domains, so it runs on both kinds of daemon")
    config.addinivalue_line("markers", "restarts: restarts the daemon, so it runs after all others")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that restart the daemon last: guests and connections do not outlive that."""
    items.sort(key=lambda item: item.get_closest_marker("restarts") is not None)


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
    # A daemon that was restarted meanwhile does not know this connection.
    again = connection.connect()
    connection.sweep(again, own=True)
    again.close()


@pytest.fixture(scope="session")
def events(conn: libvirt.virConnect) -> connection.Events:
    """The devices that guests lost, as events tell."""
    return connection.Events(conn)


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest, conn: libvirt.virConnect, events: connection.Events) -> Iterator[Pool]:
    """The guests of all cases that the chosen tests are about, started in the background."""
    guests = Pool(conn, events)
    params = (getattr(item, "callspec", None) for item in request.session.items)
    cases = (spec.params.get("case") for spec in params if spec)
    guests.begin(case for case in cases if isinstance(case, Case))
    yield guests
    guests.close()
