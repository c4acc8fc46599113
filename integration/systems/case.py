"""The cases: domains that run an installed system, and how virt-pci-hotplug converts them.

``data/systems/NAME.xml`` is a partial domain. A disk without a source is a copy of the installed system's disk whose
name is its ``<serial>``: ``disk``, which it boots from, or ``data``. On the network ``netboot`` its boot program is
served. ``NAME.case``, if there is one, has lines

``set WORDS``: what ``virt-pci-hotplug set`` is told, else just ``no``. What it says with ``--rename-nics`` must be
refused without.

``name QEMU MAC OLD NEW``: names of a card that the tool does not know if that version is not the host's own QEMU, - for
those that it knows.

``only SUITE``: the only system that it is run with.

``letters``: virtio disks get other letters, vda and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import SubElement

from integration.domains import domxml
from integration.domains.domxml import Machine
from integration.paths import DATA
from integration.systems.installed import SUITES, overlay

_MEMORY_MIB = 640


@dataclass(frozen=True)
class Case:
    """A domain, and the words that convert it."""

    name: str
    xml: str
    words: tuple[str, ...]
    names: dict[tuple[str, str], tuple[str, str]]
    """by QEMU's version and MAC the old and the new name, where the tool does not know them"""
    suites: tuple[str, ...]
    reordered: bool
    """virtio disks get other letters"""

    @property
    def kind(self) -> tuple[str, str]:
        """Return its architecture and machine type."""
        return domxml.arch_and_machine(self.xml)

    @property
    def netboot(self) -> bool:
        """Say whether it boots from the network."""
        return "<source network='netboot'/>" in self.xml


def _load(path: Path) -> Case:
    """Read the case whose XML file is ``path``. Raises ValueError for a line that is none of a case."""
    words: tuple[str, ...] = ("no",)
    names: dict[tuple[str, str], tuple[str, str]] = {}
    suites: tuple[str, ...] = SUITES
    reordered = False
    beside = path.with_suffix(".case")
    for line in beside.read_text().splitlines() if beside.exists() else ():
        match line.split():
            case ["set", *rest]:
                words = tuple(rest)
            case ["name", qemu, mac, old, new]:
                names[qemu, mac] = (old, new)
            case ["only", *rest]:
                suites = tuple(rest)
            case ["letters"]:
                reordered = True
            case _:
                raise ValueError(f"{beside}: {line}")
    return Case(path.stem, path.read_text(), words, names, suites, reordered)


def cases() -> list[Case]:
    """Return all cases, by name."""
    return [_load(path) for path in sorted((DATA / "systems").glob("*.xml"))]


def domain(case: Case, name: str, machine: Machine, disks: dict[str, Path], home: Path) -> tuple[str, Path]:
    """Return the whole domain's XML, with copies of ``disks`` in ``home``, and the file of its console."""
    whole = domxml.complete(case.xml, name, machine)
    memory = whole.find("memory")
    assert memory is not None
    memory.text = str(_MEMORY_MIB)
    for disk in domxml.within(whole, "devices").findall("disk"):
        serial = disk.findtext("serial", "")
        if disk.find("source") is None and serial in disks:
            SubElement(disk, "source", file=str(overlay(disks[serial], home / f"{serial}.qcow2")))
    nvram = whole.find("os/nvram")
    if nvram is not None:
        nvram.text = str(home / "nvram.fd")
    console = domxml.give_console(whole, home)
    return domxml.text(whole), console
