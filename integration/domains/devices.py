"""The kinds of devices: one file for each PCI kind in integration/data/devices, read by all tests that go through them.

``NAME.xml`` says on its first line, in a comment, which machines have the device (q35, pc, virt), and behind a
semicolon what is special about it, such as ``<!-- q35 pc; held once -->``:

    held     ACPI never ejects it; Slot Control and SHPC remove it (tests/test_noise.py)
    fixed    its place is fixed, in the chipset or on the root bus: hotplug='yes' is refused
    piix     it is the function of i440fx's chipset that stays: on pc, hotplug='no' is not refused for it alone
    once     a domain has one at most
    few      a domain cannot have many, or they are numbered
    random   random domains (arbitrary.py) have it
    together it is one of those that fill the root bus of a pc in a test
    ats      it is virtio, and can have address translation services
    static   it cannot be attached to a running guest; others have a file in data/live/attach
    alone    it excludes kinds that other domains of a test have, or is needed by them

Below is its XML, one element or more, without addresses and setting. ``{number}`` is a number that no other device of
the domain has, ``{letters}`` letters. Device elements that are no PCI devices are in integration/data/not-pci.xml.
Every rule about kinds asks kind_of(), which knows both, and raises an error for an element that is in neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from integration.arch import of_machine
from integration.paths import DATA

MACHINES = {machine: (of_machine(machine), machine) for machine in ("q35", "pc", "virt")}
"""The machines that devices are tried on: architecture and libvirt's machine type."""

_SPECIAL = "held fixed piix once few random together ats static alone"
_ANY = _SPECIAL.replace(" ", "|")
_FIRST = re.compile(rf"<!-- ((?:q35|pc|virt)(?: (?:q35|pc|virt))*)(?:; ((?:{_ANY})(?: (?:{_ANY}))*))? -->\n")

_TOLD_BY = {
    "controller": ("@type", "@model"),
    "disk": ("target/@bus",),
    "filesystem": ("driver/@type",),
    "hostdev": ("@type", "@display", "@ramfb"),
    "input": ("@bus",),
    "interface": ("model/@type",),
    "iommu": ("@model",),
    "memballoon": ("@model",),
    "memory": ("@model",),
    "panic": ("@model",),
    "serial": ("target/@type",),
    "shmem": ("model/@type",),
    "sound": ("@model",),
    "video": ("model/@type",),
    "watchdog": ("@model",),
}
"""The attributes that tell a kind from others of the same element."""

_ONE = {
    ("filesystem", "path"): ("filesystem", ""),
    ("serial", ""): ("serial", "isa-serial"),
    ("controller", "virtio-serial", ""): ("controller", "virtio-serial", "virtio"),
    ("controller", "usb", ""): ("controller", "usb", "piix3-uhci"),
    ("memballoon", "virtio-non-transitional"): ("memballoon", "virtio"),
}
"""Kinds that may be written in two ways."""


@dataclass(frozen=True)
class Device:
    """A kind of device."""

    name: str
    machines: frozenset[str]
    special: frozenset[str]
    pattern: str

    def elements(self, number: int) -> list[Element]:
        """Return its elements, as the ``number``-th device (from 1) of a domain."""
        letters = chr(97 + number // 26 % 26) + chr(97 + number % 26)
        text = self.pattern.replace("{number}", str(number)).replace("{letters}", letters)
        return list(ElementTree.fromstring(f"<devices>{text}</devices>"))

    @lru_cache(10000)  # noqa: B019 - the few kinds are kept anyway
    def xml(self, number: int, setting: str = "", more: str = "") -> str:
        """Return its XML: with hotplug=``setting`` if that is not empty, and ``more`` (an address, an alias) inside."""
        written = ""
        for element in self.elements(number):
            if setting:
                element.set("hotplug", setting)
            element.extend(ElementTree.fromstring(f"<more>{more}</more>"))
            element.tail = None
            written += ElementTree.tostring(element, encoding="unicode")
        return written


def read(path: Path) -> Device:
    """Return the kind of a file. Raises ValueError if its first line or its XML is not as described above."""
    text = path.read_text()
    first = _FIRST.match(text)
    if not first:
        raise ValueError(f"{path}: its first line does not name its machines")
    device = Device(
        path.stem,
        frozenset(first[1].split()),
        frozenset((first[2] or "").split()),
        text[first.end() :].strip(),
    )
    for element in device.elements(1):
        if element.get("hotplug") is not None or element.find("address[@type='pci']") is not None:
            raise ValueError(f"{path}: setting and address are the tests'")
    return device


@cache
def all_devices() -> dict[str, Device]:
    """Return all kinds of PCI devices by name."""
    return {path.stem: read(path) for path in sorted((DATA / "devices").glob("*.xml"))}


def names(special: str) -> list[str]:
    """Return the names of the kinds of which the first line says ``special``. Raises ValueError for no such word."""
    if special not in _SPECIAL.split():
        raise ValueError(f"no first line can say {special!r}")
    return [name for name, device in all_devices().items() if special in device.special]


def not_pci() -> list[Element]:
    """Return one element of each kind that is no PCI device."""
    return list(ElementTree.parse(DATA / "not-pci.xml").getroot())


def _value(element: Element, path: str) -> str:
    child, _, name = path.rpartition("@")
    found = element.find(child.rstrip("/")) if child else element
    return found.get(name, "") if found is not None else ""


def _key(element: Element) -> tuple[str, ...]:
    """Return what tells the kind of an element from others."""
    key = (element.tag, *(_value(element, path) for path in _TOLD_BY.get(element.tag, ())))
    if element.tag == "interface" and (element.get("type") == "hostdev" or not key[1]):
        return ("interface", "hostdev")  # or one from a network of assigned devices
    if element.tag == "hostdev":
        return ("hostdev", "nohotplug") if "on" in key[2:] else key[:2]
    return _ONE.get(key, key)


@cache
def _table() -> dict[tuple[str, ...], Device | None]:
    """Return all kinds, those that are no PCI devices as None. Raises ValueError where two files contradict."""
    table: dict[tuple[str, ...], Device | None] = {_key(element): None for element in not_pci()}
    for device in all_devices().values():
        for element in device.elements(1):
            before = table.setdefault(_key(element), device)
            if before is None or {"held"} & before.special != {"held"} & device.special:
                raise ValueError(f"{device.name}: the table of devices has two opinions of {_key(element)}")
    return table


def kind_of(element: Element) -> Device | None:
    """Return the kind of a device element, None if it is no PCI device. Raises ValueError if the table lacks it."""
    try:
        return _table()[_key(element)]
    except KeyError:
        raise ValueError(
            f"no kind of device is {' '.join(filter(None, _key(element)))}: add it to integration/data/devices, or to "
            "integration/data/not-pci.xml"
        ) from None
