"""The domains that are measured: disks and network cards in turn, and ways to place them."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement

from integration.domains import domxml

PLACEMENTS = ("stock", "no", "off", "packed", "modern")
"""Stock's own; the series' with ``enable='no'``; by hand behind ports with hotplug off; by hand packed as functions;
``enable='no'`` with ``virtio-non-transitional`` devices, which have no I/O ports."""

PATCHED = ("no", "packed", "modern")
"""What needs the series: those with ``enable='no'``."""


def _letters(number: int) -> str:
    """Return the end of a disk's name: a to z, then aa and so on."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def _device(devices: Element, number: int, modern: bool) -> Element:
    if number % 2:
        nic = SubElement(devices, "interface", type="user")
        SubElement(nic, "model", type="virtio-non-transitional" if modern else "virtio")
        return nic
    disk = SubElement(devices, "disk", type="file", device="disk")
    if modern:
        disk.set("model", "virtio-non-transitional")
    SubElement(disk, "target", dev=f"vd{_letters(number // 2)}", bus="virtio")
    return disk


def _off_port(number: int) -> dict[str, str]:
    return {"bus": str(number + 1), "slot": "0"}


def _packed(number: int) -> dict[str, str]:
    address = {"bus": "0", "slot": str(1 + number // 8), "function": str(number % 8)}
    return address if number % 8 else address | {"multifunction": "on"}


def _slot_each(number: int) -> dict[str, str]:
    return {"bus": "0", "slot": str(1 + number)}


_BY_HAND: dict[str, Callable[[int], dict[str, str]]] = {"off": _off_port, "packed": _packed, "slots": _slot_each}


def domain(count: int, placement: str) -> str:
    """Return a partial domain XML of ``count`` devices.

    ``placement`` is one of PLACEMENTS, or "slots": by hand, each in a slot of pcie-root of its own.
    """
    root = Element("domain")
    devices = SubElement(root, "devices")
    if placement in PATCHED:
        SubElement(SubElement(root, "features"), "hotplug", enable="no")
    if placement == "off":
        for number in range(count):
            port = SubElement(devices, "controller", type="pci", index=str(number + 1), model="pcie-root-port")
            SubElement(port, "target", hotplug="off")
    for number in range(count):
        device = _device(devices, number, placement == "modern")
        if placement in _BY_HAND:
            SubElement(device, "address", {"type": "pci"} | _BY_HAND[placement](number))
    return domxml.text(root)
