"""Real guests on the private daemon: told what to do, and listened to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu

from integration.domains.layout import Layout
from integration.guest.report import Report
from integration.host import connection
from integration.host.scratch import GuestError

TIMEOUT = 600.0
"""Seconds that a guest may take to do all it was told; it takes 8 to 60 under TCG on an idle machine."""

_TICK = 0.05


class Guest:
    """A running guest. ``layout`` is where its devices were when it started."""

    def __init__(self, domain: libvirt.virDomain, events: connection.Events, console: Path) -> None:
        self.domain = domain
        self.uuid: str = domain.UUIDString()
        self.xml: str = domain.XMLDesc()
        self.layout = Layout(self.xml)
        self.report = Report()
        self.started_with = self.ids() & {device.alias for device in self.layout.devices}
        """the PCI devices that QEMU has in the beginning, by libvirt's alias"""
        self.chipset = self._unnamed(self._ask("query-pci"))
        """those of them that are the chipset's own"""
        self._events = events
        self._console = console
        self._terminal: FileIO | None = None
        self._read = 0
        self._rest = ""

    def _ask(self, command: str, **arguments: str) -> Any:
        request = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuMonitorCommand(self.domain, request, 0))["return"]

    def ids(self) -> set[str]:
        """Return the ids of all devices that QEMU has now; of the chipset's own, which have none, the aliases.

        query-pci lists what is behind a bridge only while the bridge has bus numbers, which
        firmware or the guest gives it, so a device is also looked for among QEMU's objects.
        """
        objects, buses = self._ask("qom-list", path="/machine/peripheral"), self._ask("query-pci")
        return {item["name"] for item in objects} | set(_ids(buses)) | self._unnamed(buses)

    def _unnamed(self, buses: list[dict[str, Any]]) -> set[str]:
        """Return the aliases of the devices that have no id in the answer to query-pci: the chipset's own."""
        root = next(bus for bus in buses if bus["bus"] == 0)
        places = {(each["slot"], each["function"]) for each in root["devices"] if not each.get("qdev_id")}
        return {
            device.alias
            for device in self.layout.devices
            if device.address.bus == 0 and (device.address.slot, device.address.function) in places
        }

    def processes(self) -> dict[int, list[str]]:
        """Return the arguments of each QEMU that runs it, by process ID: there should be one."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                arguments = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if self.uuid in arguments and "-uuid" in arguments:
                    found[int(directory.name)] = arguments
        return found

    def qemu_version(self) -> str:
        """Return QEMU's version, such as 7.2."""
        qemu = self._ask("query-version")["qemu"]
        return f"{qemu['major']}.{qemu['minor']}"

    def deleted(self) -> set[str]:
        """Return the ids of the devices that QEMU said DEVICE_DELETED of."""
        details = (json.loads(text) for text in self._events.deleted(self.uuid))
        return {detail["device"] for detail in details if "device" in detail}

    def removed(self) -> set[str]:
        """Return the aliases of the devices that libvirt said DEVICE_REMOVED of."""
        return set(self._events.removed(self.uuid))

    def connect(self) -> None:
        """Open the guest's terminal, to tell it something; once more does no harm.

        QEMU looks once a second whether somebody has, and waits for one who does not read.
        """
        if not self._terminal:
            source = ElementTree.fromstring(self.domain.XMLDesc()).find("devices/serial[@type='pty']/source")
            assert source is not None
            self._terminal = FileIO(os.open(source.get("path", ""), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK), "r+")

    def disconnect(self) -> None:
        """Close its terminal, if it is open."""
        if self._terminal:
            self._terminal.close()
            self._terminal = None

    def _listen(self) -> None:
        # A terminal whose QEMU is gone gives an error.
        with suppress(OSError):
            while self._terminal and self._terminal.read(1 << 16):
                pass
        if not self._console.exists():
            return
        with self._console.open("rb") as console:
            console.seek(self._read)
            data = console.read()
        self._read += len(data)
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        for line in lines:
            self.report.feed(line)

    def _alive(self) -> bool:
        try:
            return bool(self.domain.isActive())
        except libvirt.libvirtError:
            return False

    def wait(
        self, until: Callable[[Report], object], timeout: float = TIMEOUT, tick: Callable[[], object] | None = None
    ) -> Report:
        """Listen until the report is as ``until`` wants it, at most ``timeout`` seconds.

        ``tick`` is called now and then. Raises GuestError with the console's end.
        """
        deadline = time.monotonic() + timeout
        while True:
            alive = self._alive()
            self._listen()
            if until(self.report):
                return self.report
            if not alive:
                raise GuestError(f"the guest stopped too early\n{self.tail()}")
            if time.monotonic() > deadline:
                raise GuestError(f"the guest said nothing more for {timeout:.0f} s\n{self.tail()}")
            if tick:
                tick()
            time.sleep(_TICK)

    def done(self, timeout: float = TIMEOUT, tick: Callable[[], object] | None = None) -> Report:
        """Listen until the guest has done all that it was told."""
        return self.wait(lambda report: "done" in report.reached, timeout, tick)

    def send(self, line: str) -> None:
        """Tell a guest to do one thing (see guest/init), without waiting for it: a daemon need not be there."""
        self.connect()
        assert self._terminal
        self._terminal.write(f"{line}\n".encode())

    def attempt(self, line: str, timeout: float = TIMEOUT) -> None:
        """Let a guest do one thing, as soon as it has done what it was told before."""
        count = len(self.report.tried)
        self.send(line)
        self.wait(lambda report: len(report.tried) > count, timeout)

    def reset(self) -> Report:
        """Reset the guest and wait until it has booted again, with an empty report. Its domain must say so."""
        self.report = Report()
        self.domain.reset()
        return self.done()

    def restore(self, edit: Callable[[str], str] = str) -> None:
        """Save a guest that is defined to a file and restore it, with the XML that ``edit`` makes of the file's."""
        conn, image = self.domain.connect(), str(self.directory / "saved")
        self.disconnect()
        self.domain.save(image)
        xml = conn.saveImageGetXMLDesc(image, libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
        conn.restoreFlags(image, edit(xml), 0)

    def now(self, domain: libvirt.virDomain | None = None, events: connection.Events | None = None) -> Guest:
        """Return this guest as it is now, which may be on another host, with an empty report."""
        guest = Guest(domain or self.domain, events or self._events, self._console)
        guest._read = self._console.stat().st_size
        return guest

    @property
    def directory(self) -> Path:
        """The directory of its files, which are removed with it."""
        return self._console.parent

    def console(self) -> str:
        """Return all that was said on the console."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def tail(self, lines: int = 12) -> str:
        """Return the end of the console."""
        if not self._console.exists():
            return "(no console)"
        text = self.console().splitlines()
        return "\n".join(f"  | {line[:200]}" for line in text[-lines:]) or "(nothing on the console)"


def _ids(buses: list[dict[str, Any]]) -> Iterator[str]:
    """Return the ids in the answer to query-pci, the devices behind bridges included."""
    for bus in buses:
        for device in bus.get("devices", ()):
            if device.get("qdev_id"):
                yield device["qdev_id"]
            if "pci_bridge" in device:
                yield from _ids([device["pci_bridge"]])
