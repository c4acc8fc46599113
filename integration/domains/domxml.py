"""Completes the domain XML of a test or the demo, which states only what it is about.

What is added makes the smallest domain that boots our guest: no device that the XML does not name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementInclude, ElementTree
from xml.etree.ElementTree import Element, SubElement

from integration.arch import find

DISK_SIZE = 8 << 20
"""Size in bytes of the empty disks that are made for disks without a source."""

ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

_MEMORY_MIB = 320


@dataclass(frozen=True)
class Machine:
    """The machine to complete a domain for. ``accel`` is libvirt's domain type: qemu (TCG) or kvm."""

    arch: str
    type: str
    emulator: str
    accel: str = "qemu"
    acpi: bool = True


def add_text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    """Add an element with a text to another one."""
    SubElement(parent, tag, attributes).text = text


def within(domain: Element, tag: str) -> Element:
    """Return the element of that name in a domain, which is added if there is none."""
    found = domain.find(tag)
    return SubElement(domain, tag) if found is None else found


def parse(partial: str) -> Element:
    """Read a domain; the error of malformed XML shows where."""
    return ElementTree.fromstring(partial)


def read(path: Path) -> str:
    """Return the domain in a file with what it includes (XInclude)."""
    domain = parse(path.read_text())
    ElementInclude.include(domain, base_url=str(path))
    return text(domain)


def attribute(element: Element, child: str, name: str) -> str:
    """Return an attribute of the first child of that name; empty if there is none."""
    found = element.find(child)
    return found.get(name, "") if found is not None else ""


def arch_and_machine(partial: str) -> tuple[str, str]:
    """Return the architecture and machine type that a domain states, else x86_64 and q35."""
    stated = parse(partial).find("os/type")
    if stated is None:
        return "x86_64", "q35"
    return stated.get("arch", "x86_64"), stated.get("machine", "q35")


def complete(partial: str, name: str, machine: Machine) -> Element:
    """Make a whole domain called ``name`` of a partial one, without anything to boot.

    Its own words win: nothing that it states is changed.
    """
    domain = parse(partial)
    domain.set("type", domain.get("type") or machine.accel)
    if domain.find("name") is None:
        add_text(domain, "name", name)
    if domain.find("memory") is None:
        add_text(domain, "memory", str(_MEMORY_MIB), unit="MiB")
    if domain.find("os") is None:
        system = SubElement(domain, "os")
        add_text(system, "type", "hvm", arch=machine.arch, machine=machine.type)
    features = within(domain, "features")
    arch = find(machine.arch)
    if machine.acpi and arch.acpi and features.find("acpi") is None:
        SubElement(features, "acpi")
    if arch.cpu and domain.find("cpu") is None:
        add_text(SubElement(domain, "cpu", mode="custom", match="exact"), "model", arch.cpu)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        if domain.find(event) is None:
            add_text(domain, event, "destroy")
    devices = within(domain, "devices")
    if devices.find("emulator") is None:
        add_text(devices, "emulator", machine.emulator)
    if devices.find("controller[@type='usb']") is None:
        SubElement(devices, "controller", type="usb", model="none")
    if devices.find("memballoon") is None:
        SubElement(devices, "memballoon", model="none")
    return domain


def give_disks(domain: Element, home: Path) -> None:
    """Return the disks of a whole domain that have no source an empty one below ``home``, which must exist."""
    for number, disk in enumerate(within(domain, "devices").findall("disk")):
        if disk.find("source") is None and disk.get("type") == "file":
            path = home / f"disk{number}.raw"
            with path.open("wb") as empty:
                empty.truncate(DISK_SIZE)
            SubElement(disk, "source", file=str(path))


def give_console(domain: Element, home: Path) -> Path:
    """Give a whole domain a serial console that can be written to, and return the file in ``home`` that keeps it."""
    log = home / "console.log"
    serial = SubElement(within(domain, "devices"), "serial", type="pty")
    SubElement(serial, "log", file=str(log), append="on")
    SubElement(serial, "target", port="0")
    return log


def text(domain: Element) -> str:
    """Write a domain as text."""
    return ElementTree.tostring(domain, encoding="unicode")
