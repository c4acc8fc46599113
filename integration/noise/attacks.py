"""The known ways to have QEMU remove a device, as integration/guest/attack.c has them, and random writes."""

from __future__ import annotations

import random
from collections.abc import Iterator

from integration.domains.pci import capability
from integration.noise.hardware import Function, Hardware, bridges
from integration.noise.qtest import Access

Write = list[Access]
"""The accesses that write one register."""

SLOT_CONTROL, ACPI, SHPC = "slot-control", "acpi", "shpc"
KNOWN = (SLOT_CONTROL, ACPI, SHPC)
"""The names that verdict.ATTEMPTS has for them, in the same order."""

_POWER, _EXPRESS, _SHPC_CAPABILITY = 0x01, 0x10, 0x0C
_SLOT_CONTROL = 0x18
_NO_SLEEP = (0x604, 0x605)
"""Where PM1 Control is. Software that puts the machine to sleep ends QEMU, as it should; guests that boot try S3."""


def slot_control(hardware: Hardware) -> list[Write]:
    """Return what switches every slot of a PCIe port on, with its indicator, and then both off."""
    done = []
    for port in bridges(hardware.functions, lambda each: capability(each.config, _EXPRESS)):
        at = capability(port.config, _EXPRESS) or 0
        if port.config[at + 3] & 1:  # Slot Implemented
            for value in (0x0100, 0x0700):
                done.append(hardware.at(port.bus, port.devfn, at + _SLOT_CONTROL, 2, value))
    return done


def acpi(hardware: Hardware) -> list[Write]:
    """Return what ejects every slot of every bus by the registers of ACPI PCI hotplug.

    QEMU numbers the buses for it from 0 on, so no more than there are bridges, and some to spare.
    """
    buses = len(bridges(hardware.functions, bool)) + 4
    done = []
    for name, port, base, _ in hardware.platform.registers:
        if not name.endswith("PCI hotplug") or name.startswith("old"):
            continue
        for bus in range(buses):
            done.append([Access(port, base + 0x10, 4, bus)])
            done += [[Access(port, base + 0x08, 4, 1 << slot)] for slot in range(32)]
    return done


def shpc(hardware: Hardware) -> list[Write]:
    """Return what enables, then disables, every slot of the standard hotplug controllers, in their BAR 0."""
    done = []
    for bridge in bridges(hardware.functions, lambda each: capability(each.config, _SHPC_CAPABILITY)):
        for _, address, _ in bridge.bars[:1]:
            for slot in range(1, 32):
                done += [[Access(False, address + 0x14, 2, slot << 8 | code)] for code in (0x06, 0x0F)]
    return done


def disturb(hardware: Hardware) -> list[Write]:
    """Return what puts every function to D3 and back, and resets the bus behind every bridge: map them again then."""
    done = []
    for each in hardware.functions:
        if (at := capability(each.config, _POWER)) is not None:
            done += [hardware.at(each.bus, each.devfn, at + 4, 2, state) for state in (3, 0)]
    for bridge in bridges(hardware.functions, bool):
        for value in (0x40, 0):
            done.append(hardware.at(bridge.bus, bridge.devfn, 0x3E, 2, value))
    return done


def known(hardware: Hardware, kind: str) -> list[Write]:
    """Return one of the known attacks."""
    return {SLOT_CONTROL: slot_control, ACPI: acpi, SHPC: shpc}[kind](hardware)


class Noise:
    """Random writes to all registers of a machine, from a seed."""

    def __init__(self, hardware: Hardware, seed: float | str) -> None:
        self._hardware = hardware
        self._random = random.Random(seed)

    def _value(self, size: int) -> int:
        """Choose a value: any bits, one bit, a small number, or a few bits of either half."""
        kind, bits = self._random.randrange(4), 8 * size
        if kind == 0:
            return self._random.getrandbits(bits)
        if kind == 1:
            return 1 << self._random.randrange(bits)
        if kind == 2:
            return self._random.randrange(16)
        return (self._random.randrange(32) << 8 | self._random.getrandbits(4)) & ((1 << bits) - 1)

    def _offset(self, each: Function) -> int:
        """Choose a register of a config space: of a capability, of a bridge's own, or any."""
        express = capability(each.config, _EXPRESS)
        kind = self._random.randrange(4)
        if kind == 0 and express is not None:
            return express + self._random.randrange(0x3C)
        if kind == 1 and each.bridge:
            return self._random.choice((0x04, 0x18, 0x19, 0x1A, 0x1C, 0x20, 0x22, 0x24, 0x26, 0x3E))
        if kind == 2:
            return self._random.randrange(0x40)
        return self._random.randrange(0x100)

    def _config(self) -> Write:
        each = self._random.choice(self._hardware.functions)
        size = self._random.choice((1, 2, 2, 4))
        offset = self._offset(each) & ~(size - 1)
        return self._hardware.at(each.bus, each.devfn, offset, size, self._value(size))

    def _bar(self) -> Write:
        each = self._random.choice(self._hardware.functions)
        if not each.bars:
            return self._config()
        port, address, length = self._random.choice(each.bars)
        size = self._random.choice((1, 2, 4))
        span = min(length, self._random.choice((0x40, 0x100, 0x1000, length)))
        offset = self._random.randrange(span) & ~(size - 1)
        port = port and self._hardware.platform.x86
        return [Access(port, address + offset, size, self._value(size))]

    def _register(self) -> Write:
        registers = self._hardware.platform.registers
        if not registers:
            return self._config()
        _, port, base, length = self._random.choice(registers)
        size = self._random.choice((1, 2, 4, 4))
        address = base + self._random.randrange(length) & ~(size - 1)
        if port and any(address <= at < address + size for at in _NO_SLEEP):
            return self._config()
        return [Access(port, address, size, self._value(size))]

    def writes(self, count: int) -> Iterator[Write]:
        """Return ``count`` random writes; each is what does it."""
        kinds = (self._config, self._config, self._bar, self._register)
        for _ in range(count):
            yield self._random.choice(kinds)()
