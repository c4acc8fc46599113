"""Slots of several functions: which of them a guest cannot see, and which ports have a device before them."""

from __future__ import annotations

from integration.domains.layout import Layout
from integration.domains.pci import Address

_CHIPSET = {"pci-root": 0x01, "pcie-root": 0x1F}
"""The slot of bus 0 whose function 0 is the chipset's, which is in no XML, by the root's model."""


def _chipset(layout: Layout) -> int | None:
    return _CHIPSET[layout.controllers[0].model] if layout.x86 else None


def used(layout: Layout) -> set[Address]:
    """Return all addresses that devices and PCI controllers have."""
    controllers = {controller.address for controller in layout.controllers.values() if controller.address}
    return {device.address for device in layout.devices} | controllers


def unseen(layout: Layout) -> set[Address]:
    """Return the addresses that no guest looks at, because function 0 of their slot is missing."""
    here, chipset = used(layout), _chipset(layout)
    return {
        at for at in here if Address(at.domain, at.bus, at.slot, 0) not in here and (at.bus, at.slot) != (0, chipset)
    }


def ports(layout: Layout) -> set[Address]:
    """Return the addresses of the root ports."""
    models = [controller for controller in layout.controllers.values() if controller.model == "pcie-root-port"]
    return {controller.address for controller in models if controller.address}


def behind_a_device(layout: Layout) -> set[Address]:
    """Return the addresses of root ports that a guest sees only together with a device: function 0 of their slot."""
    there = ports(layout)
    devices = {device.address for device in layout.devices}
    return {at for at in there if Address(at.domain, at.bus, at.slot, 0) in devices}


def beside_a_device(layout: Layout) -> set[Address]:
    """Return the addresses of root ports that have a device in their slot, at whichever function."""
    taken = {(device.address.bus, device.address.slot) for device in layout.devices}
    return {at for at in ports(layout) if (at.bus, at.slot) in taken}
