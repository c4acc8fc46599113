"""Boots each case's guest once, some at a time, and keeps what was found for all tests that ask."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import BoundedSemaphore

from integration.domains.layout import Layout
from integration.guest.boot import boot
from integration.guest.report import Report
from integration.host import connection
from integration.oracle import acpi
from integration.oracle.cases import Case
from integration.oracle.verdict import Verdict, attack
from integration.paths import NIGHTLY


@dataclass(frozen=True)
class Result:
    """The results for one guest whose root tried to have every device removed."""

    layout: Layout
    verdicts: dict[str, Verdict]
    report: Report
    ejectable: set[str]
    """the paths with ``_EJ0`` in its ACPI tables"""
    qemu: str
    """QEMU's version, such as 7.2"""
    console: str
    """all that the guest said"""
    xml: str
    """the domain as it started"""


class Pool:
    """Runs cases in the background, one per core, at most four; guests that only settle do not count."""

    def __init__(self, events: connection.Events) -> None:
        self._events = events
        cores = min(os.cpu_count() or 1, 4)
        self._cores = BoundedSemaphore(cores)
        self._pool = ThreadPoolExecutor(2 * cores, "guest")
        self._futures: dict[str, Future[Result]] = {}

    def _run(self, case: Case) -> Result:
        with ExitStack() as busy:
            busy.enter_context(self._cores)
            # To load drivers takes a guest as long as to boot, and QEMU removes a device with one or without.
            label, defined = case.name.replace("/", "-"), bool(case.history)
            with boot(self._events, case.xml, label, defined=defined, drivers=NIGHTLY) as guest:
                report = guest.done()
                if case.history == "reset":
                    report = guest.reset()
                elif case.history == "restore":
                    guest.restore()
                guest.attempt("tables")
                verdicts = attack(guest, tried=busy.close)
                qemu, console = guest.qemu_version(), guest.console()
        return Result(guest.layout, verdicts, report, acpi.ejectable(report.tables), qemu, console, guest.xml)

    def begin(self, cases: Iterable[Case]) -> None:
        """Start with these, in the background."""
        for case in cases:
            if case.name not in self._futures:
                self._futures[case.name] = self._pool.submit(self._run, case)

    def result(self, case: Case) -> Result:
        """Return what was found, as soon as it is there; raises what went wrong with the guest."""
        self.begin([case])
        return self._futures[case.name].result()

    def close(self) -> None:
        """Stop: what has not begun never will, and running guests are destroyed."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        conn = connection.connect()  # ours is dead if the daemon was restarted meanwhile
        connection.sweep(conn, own=True)
        conn.close()
        self._pool.shutdown()
