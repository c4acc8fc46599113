"""Every kind of device in every kind of place, as libvirt without the settings starts it: slots of eight functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from integration.domains.devices import Device, all_devices, names
from integration.domains.snippets import MEMORY

FUNCTIONS = 8
MACHINES = {"q35": "q35", "pc-q35-6.0": "q35", "pc": "pc", "virt": "virt"}
"""Machine types, and what the table of devices calls them."""

NOT_STARTED = {
    "hostdev": "no device to assign",
    "hostdev-mdev": "the same",
    "hostdev-ramfb": "the same",
    "hostdev-vhost-scsi": "the same",
    "nic-hostdev": "the same",
    "nic-network": "with a network of virtio cards the same as nic-virtio, else an assigned device",
    "filesystem-virtiofs": "it needs a virtiofsd",
    "shmem-doorbell": "it needs a server",
    "vsock": "it needs the host's vhost_vsock",
    "nic-iommu": "it does not start on pcie-root as a transitional device",
    "sata": "the chipset's own, which has no id",
    "ide": "the same",
    "usb-piix3": "its place is fixed: a fact of its own (pc-slot-1)",
    "usb-ich9": "a slot of its own: with usb-ich9-ehci1, which is one of them",
}
"""Kinds of which no device is started here, and why."""


@dataclass(frozen=True)
class Place:
    """A kind of place for devices: slots of a bus, or the slot behind each of several ports."""

    name: str
    machines: tuple[str, ...]
    safe: bool
    ports: str = ""
    """the XML inside each root port, if there are ports; else the devices are on the one bus"""
    ported: bool = False
    above: str = ""
    """the controllers above ports or devices, if they are not on the root bus"""
    bus: int = 0
    """the index of the controller that ports or devices are on"""
    root: str = ""
    """the root bus, where it is not as libvirt makes it"""
    acpi_alone: bool = False
    """only ACPI removes devices there, not Slot Control or SHPC"""
    acpi: str = ""
    """ACPI PCI hotplug of bridges, on or off; empty: as the machine type has it"""


def _above(model: str, inside: str = "", bus: int = 0) -> str:
    slot = 0 if bus else 4
    return (
        f"<controller type='pci' index='{bus + 1}' model='{model}'>{inside}"
        f"<address type='pci' bus='{bus}' slot='{slot}' function='0'/></controller>"
    )


_OFF = "<target hotplug='off'/>"
_ROOT_OFF = f"<controller type='pci' index='0' model='pci-root'>{_OFF}</controller>"
_EXPANDER = _above("pcie-expander-bus", "<target busNr='128'/>")
_BEHIND_PORT = _above("pcie-root-port") + _above("pcie-to-pci-bridge", bus=1)
_PCIE = ("q35", "pc-q35-6.0", "virt")
PLACES = (
    Place("pcie-root", _PCIE, True),
    Place("off root port", ("q35",), True, _OFF, ported=True),
    Place("off root port, ACPI on", ("pc-q35-6.0",), True, _OFF, ported=True, acpi="on"),
    Place("pci-root off", ("pc",), True, root=_ROOT_OFF),
    Place("root port", ("q35",), False, ported=True, acpi_alone=True),
    Place("root port", ("pc-q35-6.0", "virt"), False, ported=True),
    Place("root port, ACPI off", ("q35",), False, ported=True, acpi="off"),
    Place("off root port", ("pc-q35-6.0", "virt"), False, _OFF, ported=True),
    Place("off root port of an expander bus", _PCIE, False, _OFF, ported=True, above=_EXPANDER, bus=1),
    Place("pci-root", ("pc",), False, acpi_alone=True),
    Place("pci-bridge", ("pc",), False, above=_above("pci-bridge"), bus=1),
    Place("dmi-to-pci-bridge", ("q35",), False, above=_above("dmi-to-pci-bridge"), bus=1, acpi_alone=True),
    Place("pcie-to-pci-bridge", ("q35",), False, above=_BEHIND_PORT, bus=2, acpi_alone=True),
    Place("pcie-to-pci-bridge", ("pc-q35-6.0", "virt"), False, above=_BEHIND_PORT, bus=2),
)
"""All kinds of places; switches and bridges behind each other are facts (data/facts)."""


_FILLER = all_devices()["rng"]


def exceptions(place: Place) -> set[str]:
    """Return the kinds that are not removed in a place that is not safe: those that ACPI spares, if all is ACPI."""
    return set(names("held")) if place.acpi_alone else set()


def kinds(machine: str, place: Place, turn: int) -> list[Device]:
    """Return the kinds that are started in a place of a machine type: of video cards another one in each turn."""
    here = [one for one in all_devices().values() if place.safe or one.name not in _ENDS]
    here = [one for one in here if MACHINES[machine] in one.machines and one.name not in NOT_STARTED]
    if place.ported or place.bus:
        here = [one for one in here if one.name not in _INTEGRATED]
    if place.bus and not place.ported:
        here = [one for one in here if one.name not in _EXPRESS]
    cards = [one for one in here if one.name.startswith("video-")]
    return [one for one in here if one not in cards or one == cards[turn % len(cards)]]


_ENDS = ("virtio-mem",)
"""Kinds that are started in safe places alone: elsewhere QEMU 7.2.22 ended."""

_INTEGRATED = ("pvpanic-pci", "virtio-iommu")
"""Kinds that libvirt puts on a root bus alone."""

_EXPRESS = ("nic-e1000e", "nic-igb", "video-bochs", "usb-qemu-xhci", "usb-nec-xhci")
"""Kinds that libvirt does not put on conventional PCI."""


def _address(bus: int, slot: int, function: int) -> str:
    more = " multifunction='on'" if function == 0 else ""
    return f"<address type='pci' bus='{bus:#x}' slot='{slot:#x}' function='{function}'{more}/>"


def _domain_of(machine: str, place: Place, devices: str) -> str:
    arch = "aarch64" if machine == "virt" else "x86_64"
    options = ""
    if place.acpi:
        value = f"ICH9-LPC.acpi-pci-hotplug-with-bridge-support={place.acpi}"
        options = f"<qemu:commandline><qemu:arg value='-global'/><qemu:arg value='{value}'/></qemu:commandline>"
    memory = MEMORY if arch == "x86_64" else ""
    return (
        f"<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>{memory}"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os><devices>{devices}</devices>{options}</domain>"
    )


def domain(machine: str, place: Place, turn: int, lacking: frozenset[str] = frozenset()) -> tuple[str, set[str]]:
    """Return a partial domain with all kinds there, in slots of eight, and their names.

    Functions are shifted by ``turn``; where none falls on function 0 a filler is there. ``lacking`` are names of kinds
    to leave out. A device's alias is ``ua-KIND``.
    """
    here = [one for one in kinds(machine, place, turn) if one.name not in lacking]
    parts = [place.root, place.above]
    for start in range(0, len(here), FUNCTIONS):
        number = start // FUNCTIONS
        bus, slot = place.bus, 8 + number
        if place.ported:
            index = 10 + number
            parts.append(
                f"<controller type='pci' index='{index}' model='pcie-root-port'>{place.ports}"
                f"<address type='pci' bus='{bus}' slot='{slot:#x}' function='0'/></controller>"
            )
            bus, slot = index, 0
        functions = {(turn + at) % FUNCTIONS: one for at, one in enumerate(here[start : start + FUNCTIONS])}
        if 0 not in functions:
            parts.append(_FILLER.xml(number, "", f"{_address(bus, slot, 0)}<alias name='ua-filler{number}'/>"))
        parts += [_device(one, bus, slot, function) for function, one in functions.items()]
    return _domain_of(machine, place, "".join(parts)), {one.name for one in here}


def _device(one: Device, bus: int, slot: int, function: int) -> str:
    number = bus * 256 + slot * 8 + function
    xml = one.xml(number, "", f"{_address(bus, slot, function)}<alias name='ua-{one.name}'/>")
    return re.sub("/nowhere", lambda _: f"DIRECTORY/{one.name}", xml)
