"""The life of an installed system: started, looked at, shut down, converted, started again, looked at and attacked."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from integration.domains.domxml import Machine
from integration.guest.running import Guest
from integration.host import connection
from integration.host.scratch import GuestError, scratch
from integration.oracle.verdict import attack, unattacked
from integration.systems.case import Case, domain
from integration.systems.network import serving
from integration.systems.said import System, parse

LIMIT = 900.0
"""Seconds that a system may take to boot and to say what it sees, or to shut down. A boot takes 30 to 70 of a CPU."""

Card = dict[str, Any]
"""A network card in the tool's JSON: ``name``, and by version of systemd the names ``old`` and ``new``."""


@dataclass(frozen=True)
class Life:
    """What a system said before and after it was converted, what the tool said of it, and what root removed."""

    qemu: str
    before: System
    after: System
    refused: str
    """why the tool refused it without --rename-nics; empty if it was not asked, or did not refuse"""
    cards: list[Card]
    reordered: bool
    """the tool said that virtio disks get other letters"""
    removed: list[str]
    """the devices that root could remove, by address"""
    removable: list[str]
    """those that root can remove, as the tool says"""
    missed: list[str]
    """what root should have attacked, and did not"""


def _tool(*words: str) -> dict[str, Any]:
    """Run virt-pci-hotplug on one domain, and return what it says of it."""
    done = subprocess.run(["virt-pci-hotplug", *words, "--json"], capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    (record,) = json.loads(done.stdout)["domains"]
    return dict(record)


def _convert(name: str, case: Case) -> tuple[str, dict[str, Any]]:
    """Convert a domain; return why it was refused without --rename-nics, and what the tool said then."""
    refused = ""
    if "--rename-nics" in case.words:
        record = _tool("set", name, *(word for word in case.words if word != "--rename-nics"))
        refused = record["reason"] if record["result"] == "refused" else ""
    record = _tool("set", name, *case.words)
    assert record["result"] == "changed", record["reason"]
    return refused, record


def _shut_down(guest: Guest) -> None:
    """Press the power button, and wait until the system is off. Raises GuestError if it does not go."""
    guest.disconnect()
    guest.domain.shutdown()
    deadline = time.monotonic() + LIMIT
    while guest.domain.isActive():
        if time.monotonic() > deadline:
            raise GuestError(f"the system does not shut down\n{guest.tail()}")
        time.sleep(0.2)


@contextmanager
def _booted(dom: libvirt.virDomain, events: connection.Events, console: Path) -> Iterator[tuple[Guest, System]]:
    """Boot a system; what it said before is not read again. It may run in the end."""
    if console.exists():
        console.rename(console.with_name("before.log"))
    dom.create()
    guest = Guest(dom, events, console)
    try:
        guest.connect()
        guest.wait(lambda report: {"system", "done"} <= report.reached, LIMIT)
        yield guest, parse(guest.console())
    finally:
        guest.disconnect()


def _attacked(guest: Guest) -> tuple[list[str], list[str]]:
    """Let root try all; return the addresses of what it removed, and what it should have attacked and did not."""
    verdicts = attack(guest).values()
    removed = sorted(str(verdict.device.address) for verdict in verdicts if verdict.unplugged)
    return removed, unattacked(verdicts, guest.layout, guest.report)


def _live(dom: libvirt.virDomain, events: connection.Events, case: Case, console: Path) -> Life:
    """Let a defined system live."""
    name = dom.name()
    with _booted(dom, events, console) as (guest, before):
        qemu = guest.qemu_version()
        _shut_down(guest)
    refused, record = _convert(name, case)
    removable = sorted(row["address"] for row in _tool("list", name)["devices"] if row["removable"] != "no")
    with _booted(dom, events, console) as (guest, after):
        # It is not shut down: root may have switched off the port above the disk that it runs from.
        removed, missed = _attacked(guest)
    reordered = any("the names vda, vdb" in note for note in record["notes"])
    return Life(qemu, before, after, refused, record["cards"], reordered, removed, removable, missed)


@contextmanager
def lived(events: connection.Events, case: Case, machine: Machine, disks: dict[str, Path]) -> Iterator[Life]:
    """Return the life of a system. Its domain and files are removed, its consoles are kept if something is wrong."""
    network = serving(events.conn, disks["netboot"]) if case.netboot else nullcontext("")
    with network as served, scratch(case.name) as (name, directory):
        xml, console = domain(case, name, machine, disks, directory)
        dom = events.conn.defineXML(xml.replace('network="netboot"', f'network="{served}"'))
        try:
            life = _live(dom, events, case, console)
        finally:
            connection.discard(dom)
            for copy in directory.glob("*.qcow2"):
                copy.unlink()
        yield life
