"""The kinds of PCI devices: one file each in integration/data/devices, read by all tests that go through them.

``NAME.xml`` says on its first line, in a comment, which machines have the device (q35, pc, virt), and behind a
semicolon what is special about it, such as ``<!-- q35 pc; fixed once -->``:

    fixed    QEMU cannot unplug it: hotplug='yes' is refused
    piix     it is a function of i440fx's chipset: on pc, hotplug='no' is not refused for it alone
    once     a domain has one at most

Below is its XML, one element or more, without addresses and setting. ``{number}`` is a number that no other device of
the domain has, ``{letters}`` letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from integration.paths import DATA

MACHINES = {"q35": ("x86_64", "q35"), "pc": ("x86_64", "pc"), "virt": ("aarch64", "virt")}
"""The machines that devices are tried on: architecture and libvirt's machine type."""

_FIRST = re.compile(
    r"<!-- ((?:q35|pc|virt)(?: (?:q35|pc|virt))*)"
    r"(?:; ((?:fixed|piix|once)(?: (?:fixed|piix|once))*))? -->\n"
)


@dataclass(frozen=True)
class Device:
    """A kind of device."""

    name: str
    machines: frozenset[str]
    special: frozenset[str]
    pattern: str

    def elements(self, number: int) -> list[Element]:
        """Give its elements, as the ``number``-th device (from 1) of a domain."""
        letters = chr(97 + number // 26 % 26) + chr(97 + number % 26)
        text = self.pattern.replace("{number}", str(number)).replace("{letters}", letters)
        return list(ElementTree.fromstring(f"<devices>{text}</devices>"))

    def xml(self, number: int, setting: str = "", more: str = "") -> str:
        """Write it: with hotplug=``setting`` if that is not empty, and ``more`` (an address, an alias) inside."""
        written = ""
        for element in self.elements(number):
            if setting:
                element.set("hotplug", setting)
            element.extend(ElementTree.fromstring(f"<more>{more}</more>"))
            element.tail = None
            written += ElementTree.tostring(element, encoding="unicode")
        return written


def read(path: Path) -> Device:
    """Read a file. Raises ValueError if its first line is not as above, or its XML has what is not its to say."""
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
    """Give all kinds by name."""
    return {path.stem: read(path) for path in sorted((DATA / "devices").glob("*.xml"))}
