"""A domain that libvirt starts paused, whose registers are written over qtest, and what QEMU lost meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import SubElement

import libvirt

from integration.domains import domxml
from integration.domains.definitions import default_machine
from integration.domains.devices import kind_of
from integration.domains.layout import Device
from integration.domains.pci import Address
from integration.guest.running import Guest
from integration.host import connection
from integration.host.scratch import scratch
from integration.noise.hardware import PLATFORMS, Hardware
from integration.noise.qtest import Access, Ended, Qtest
from integration.oracle.cases import bus_label

PREPARE, RESET, RESET_BY_REGISTER, SAVE = "prepare", "reset", "reset by register", "save"
Step = list[Access] | str
"""A write, as the accesses that do it, or what else happens to the machine."""

_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_SECURE = libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE
_PAUSED = libvirt.VIR_DOMAIN_START_PAUSED
_FILE_SIZE = 128 << 20
_MEMORY = {"loongarch64": "1024"}
"""MiB, where 320 do not do."""


@dataclass(frozen=True)
class Loss:
    """A device that QEMU removed although it must stay."""

    device: Device
    controller: str
    by: str
    deleted: bool
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        event = "DEVICE_DELETED" if self.deleted else "gone in QEMU, which sent no DEVICE_DELETED"
        writes = "\n".join(f"    {line}" for step in self.steps for line in described(step))
        at = self.device.address
        return (
            f"{self.device.label} ({self.device.alias}) at {at}, on {self.controller}, must stay, and was removed by "
            f"{self.by}: {event}\n{writes}"
        )


def described(step: Step) -> list[str]:
    """Return a step in words, a line for each access."""
    if isinstance(step, str):
        return [step]
    if len(step) == 2 and step[0].address == 0xCF8:
        to, write = step[0].value or 0, step[1]
        where = f"{to >> 16 & 0xFF:02x}:{to >> 11 & 31:02x}.{to >> 8 & 7} +{(to & 0xFC) + (write.address & 3):#04x}"
        return [f"config {where}, {write.size} bytes: {write.value:#x}"]
    return [
        f"{'I/O port' if write.port else 'memory'} {write.address:#x}, {write.size} bytes: {write.value:#x}"
        for write in step
        if write.value is not None
    ]


@dataclass
class Outcome:
    """What became of one domain."""

    stayed: int = 0
    """devices that must stay, and did"""
    left: int = 0
    """devices with hotplug='yes' that QEMU removed"""
    remained: list[str] = field(default_factory=list)
    """those that QEMU could have removed, and did not"""
    writes: int = 0
    seconds: float = 0.0
    ended: list[str] = field(default_factory=list)
    """in which parts QEMU ended by itself"""
    unsaved: int = 0
    """how often libvirt did not save its state"""
    losses: list[Loss] = field(default_factory=list)


class Session:
    """A running domain without a vCPU that runs, and the connection to its registers."""

    def __init__(self, domain: libvirt.virDomain, events: connection.Events, directory: Path) -> None:
        self.guest = Guest(domain, events, directory / "console.log")
        self._socket = directory / "qtest"
        self.layout = self.guest.layout
        self.unsaved = 0
        """how often its state was not saved"""
        arch, kind = domxml.arch_and_machine(self.guest.xml)
        self._platform = PLATFORMS[("pc" if "i440fx" in kind or kind == "pc" else "q35") if arch == "x86_64" else arch]
        self._connect()

    def _connect(self) -> None:
        roots = [each.bus_nr for each in self.layout.controllers.values() if each.bus_nr is not None]
        self.qtest = Qtest(self._socket)
        self.hardware = Hardware(self.qtest, self._platform, roots)

    def do(self, steps: Sequence[Step]) -> None:
        """Do these steps. Raises Ended."""
        pending: list[Access] = []
        for step in steps:
            if isinstance(step, str):
                self.qtest.run(pending)
                pending = []
                self._happen(step)
            else:
                pending += step
        self.qtest.run(pending)

    def _happen(self, what: str) -> None:
        if what == PREPARE:
            self.hardware.prepare()
        elif what == RESET:
            try:
                self.guest.domain.reset()
            except libvirt.libvirtError as error:
                raise Ended(str(error)) from error
        elif what == RESET_BY_REGISTER:
            self.qtest.run([Access(True, 0xCF9, 1, 0x02), Access(True, 0xCF9, 1, 0x06)])
        elif what == SAVE:
            self._save()

    def _save(self) -> None:
        """Save the domain's state to a file, and load it again, paused. Raises Ended if it cannot be loaded.

        One that libvirt does not save runs on.
        """
        domain, conn = self.guest.domain, self.guest.domain.connect()
        image, ident = str(self.guest.directory / "saved"), domain.UUIDString()
        try:
            domain.save(image)
        except libvirt.libvirtError:
            self.unsaved += 1
            return
        self.qtest.close()
        try:
            conn.restoreFlags(image, conn.saveImageGetXMLDesc(image, _SECURE), libvirt.VIR_DOMAIN_SAVE_PAUSED)
        except libvirt.libvirtError as error:
            raise Ended(str(error)) from error
        self.guest.domain = conn.lookupByUUIDString(ident)
        self._connect()

    def ids(self) -> set[str]:
        """Return the devices that QEMU has now, by alias. Raises Ended."""
        try:
            return self.guest.ids()
        except libvirt.libvirtError as error:
            raise Ended(str(error)) from error

    def visible(self, device: Device) -> bool:
        """Say whether software can see a device where libvirt put it."""
        configs = {}
        for each in self.hardware.functions:
            space = bytearray(each.config)
            space[0x19] = each.secondary
            configs[Address(0, each.bus, each.devfn >> 3, each.devfn & 7)] = bytes(space)
        try:
            return self.layout.in_guest(device.address, configs) in configs
        except KeyError:
            return False

    def lost(self, gone: set[str], by: str, steps: Sequence[Step]) -> list[Loss]:
        """Return the losses among devices that are gone."""
        deleted = self.guest.deleted()
        return [
            Loss(device, bus_label(self.layout.path(device.address)[-1]), by, device.alias in deleted, tuple(steps))
            for device in self.layout.devices
            if device.alias in gone and (device.setting or self.layout.default) == "no"
        ]

    def close(self) -> None:
        """Close the connection to its registers."""
        self.qtest.close()


def paused(partial: str, name: str, directory: Path) -> str:
    """Return a whole domain with a qtest socket in ``directory``, which must exist.

    ``DIRECTORY/NAME`` in the XML is a file there, or what a filesystem device shows the directory of that name.
    """
    for file in set(re.findall(r"DIRECTORY/([\w-]+)", partial)):
        if file.startswith("filesystem"):
            (directory / file).mkdir()
        else:
            with (directory / file).open("wb") as empty:
                empty.truncate(_FILE_SIZE)
    arch, kind = domxml.arch_and_machine(partial)
    partial = partial.replace("DIRECTORY", str(directory))
    domain = domxml.complete(partial, name, default_machine(arch, kind))
    for memory in domain.findall("memory"):
        memory.text = _MEMORY.get(arch, memory.text)
    for event, action in (("on_reboot", "restart"), ("on_crash", "preserve")):
        for element in domain.findall(event):
            element.text = action
    for system in domain.findall("os"):
        for line in system.findall("cmdline"):
            system.remove(line)  # that of a kernel that is not there
    domxml.give_disks(domain, directory)
    options = domain.find(f"{_QEMU}commandline")
    if options is None:
        options = SubElement(domain, f"{_QEMU}commandline")
    words = ["-qtest", f"unix:{directory}/qtest,server=on,wait=off", "-qtest-log", "none"]
    for word in [*words, *(["-bios", "none"] if arch == "riscv64" else [])]:
        SubElement(options, f"{_QEMU}arg", value=word)
    return domxml.text(domain)


@contextmanager
def session(conn: libvirt.virConnect, events: connection.Events, partial: str, label: str) -> Iterator[Session]:
    """Start a partial domain without running it. In the end it is destroyed, and its files are removed."""
    with scratch(label) as (name, directory):
        domain = conn.createXML(paused(partial, name, directory), _PAUSED)
        try:
            one = Session(domain, events, directory)
            try:
                yield one
            finally:
                with suppress(OSError):
                    one.close()
                domain = one.guest.domain
        finally:
            connection.discard(domain)


def held(xml: str) -> set[str]:
    """Return the aliases of the devices of a domain that ACPI does not eject."""
    found = set()
    for element in domxml.parse(xml).iterfind("devices/*"):
        kind = None if element.get("type") == "pci" else kind_of(element)
        if kind and "held" in kind.special:
            found.add(domxml.attribute(element, "alias", "name"))
    return found
