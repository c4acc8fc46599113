"""PCI addresses, and what a port's configuration space says about its slot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

_TEXT = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", re.IGNORECASE)

_CAPABILITIES = 0x34
_SECONDARY_BUS = 0x19
_PCIE = 0x10
_SHPC = 0x0C
_SLOT_IMPLEMENTED = 1 << 8
_HOT_PLUG_CAPABLE = 1 << 6


@dataclass(frozen=True, order=True)
class Address:
    """Where a device sits. In libvirt's XML ``bus`` is a controller's index, in a guest a bus number."""

    domain: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``0000:01:00.0``. Raises ValueError for anything else."""
        found = _TEXT.fullmatch(text)
        if not found:
            raise ValueError(f"not a PCI address: {text!r}")
        return cls(*(int(part, 16) for part in found.groups()))

    @classmethod
    def of(cls, device: Element) -> Address | None:
        """Read the address of a device element of a domain XML; None if it has no PCI address."""
        address = device.find("address")
        if address is None or address.get("type") != "pci" or address.get("bus") is None:
            return None
        return cls(*(int(address.get(part, "0"), 16) for part in ("domain", "bus", "slot", "function")))

    def beside(self, other: Address) -> bool:
        """Say whether the two are functions of one slot."""
        return (self.domain, self.bus, self.slot) == (other.domain, other.bus, other.slot)

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"


def capability(config: bytes, ident: int) -> int | None:
    """Find a capability; None for a device that does not have it."""
    offset, seen = config[_CAPABILITIES] & ~3, 0
    while offset >= 0x40 and seen < 48:
        if config[offset] == ident:
            return offset
        offset, seen = config[offset + 1] & ~3, seen + 1
    return None


def hotplug_capable(config: bytes) -> bool | None:
    """Say whether a port's Slot Capabilities have Hot-Plug Capable set.

    ``config`` is the bridge's configuration space, 256 bytes of it. None for a bridge that is no
    PCI Express port with a slot behind it.
    """
    offset = capability(config, _PCIE)
    if offset is None or not int.from_bytes(config[offset + 2 : offset + 4], "little") & _SLOT_IMPLEMENTED:
        return None
    return bool(int.from_bytes(config[offset + 0x14 : offset + 0x18], "little") & _HOT_PLUG_CAPABLE)


def has_shpc(config: bytes) -> bool:
    """Say whether a bridge has a standard hotplug controller, from its configuration space."""
    return capability(config, _SHPC) is not None


def secondary_bus(config: bytes) -> int:
    """Return the number of the bus behind a bridge, from its configuration space."""
    return config[_SECONDARY_BUS]
