"""A machine as an attacker sees it: its config spaces, numbered and mapped as by firmware, and its other registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from integration.domains.pci import capability
from integration.noise.qtest import Access, Qtest

_HEADER_TYPE, _BUSES, _CAPABILITIES, _COMMAND = 0x0E, 0x18, 0x34, 0x04
_ALL_ON = 0x0007
"""Command register: I/O, memory, bus master."""
_PAGE, _WINDOW, _IO_WINDOW = 0x1000, 0x100000, 0x1000
_LARGEST = 0x4000000
"""Bytes; a larger BAR is left where it is."""


@dataclass(frozen=True)
class Platform:
    """Where a machine has its registers."""

    ecam: tuple[int, ...]
    """addresses at which its config space may be; none: I/O ports 0xcf8 and 0xcfc"""
    memory: tuple[int, int]
    """the window for BARs, from and to"""
    ports: tuple[int, int]
    """the same for I/O; addresses of memory on machines that have no I/O ports"""
    port_base: int = 0
    """what is taken off an address in ``ports`` to be written into a BAR"""
    registers: tuple[tuple[str, bool, int, int], ...] = ()
    """other registers: name, whether they are I/O ports, first address, bytes"""

    @property
    def x86(self) -> bool:
        """Whether config space is at 0xcf8."""
        return not self.ecam


# Not APM's port: it makes an SMI, which needs a vCPU.
_PC_PORTS = (
    ("ACPI PCI hotplug", True, 0xAE00, 0x18),
    ("ACPI CPU hotplug", True, 0xAF00, 0x0C),
    ("memory hotplug", True, 0x0A00, 0x18),
    ("GPE", True, 0xAFE0, 0x04),
    ("PM", True, 0x0600, 0x40),
    ("old ACPI PCI hotplug", True, 0xAE08, 0x04),
)
_Q35_PORTS = (
    ("ACPI PCI hotplug", True, 0x0CC0, 0x18),
    ("ACPI CPU hotplug", True, 0x0CD8, 0x0C),
    ("memory hotplug", True, 0x0A00, 0x18),
    ("PM and GPE", True, 0x0600, 0x80),
)
_Q35_ECAM = 0xB0000000
PLATFORMS = {
    "q35": Platform((), (0xC0000000, 0xFE000000), (0xC000, 0x10000), 0, _Q35_PORTS),
    "pc": Platform((), (0xC0000000, 0xFE000000), (0xC000, 0x10000), 0, _PC_PORTS),
    "aarch64": Platform(
        (0x4010000000, 0x3F000000),
        (0x10000000, 0x3EF00000),
        (0x3EFF1000, 0x3F000000),
        0x3EFF0000,
        (("GED", False, 0x09080000, 0x10), ("GED's PCI hotplug", False, 0x090C0000, 0x18)),
    ),
    "riscv64": Platform((0x30000000,), (0x40000000, 0x7F000000), (0x03001000, 0x03010000), 0x03000000),
    "loongarch64": Platform(
        (0x20000000,),
        (0x40000000, 0x7F000000),
        (0x18005000, 0x18010000),
        0x18000000,
        (("GED", False, 0x100E0000, 0x04), ("memory hotplug", False, 0x100E0004, 0x18)),
    ),
}
"""By machine type of x86_64, and by architecture for virt machines. RAM ends below the windows."""
PLATFORMS["armv7l"] = PLATFORMS["aarch64"]


@dataclass
class Function:
    """A PCI function: its bus, its devfn, and what its config space said when it was found."""

    bus: int
    devfn: int
    config: bytes
    bars: list[tuple[bool, int, int]] = field(default_factory=list)
    """whether it is I/O, address, and size of each BAR that was mapped"""
    secondary: int = 0

    @property
    def bridge(self) -> bool:
        """Whether it is a bridge to another PCI bus."""
        return self.config[_HEADER_TYPE] & 0x7F == 1

    @property
    def port(self) -> bool:
        """Whether behind it is just one slot: it is a root or downstream port."""
        at = capability(self.config, 0x10)
        return self.bridge and at is not None and (self.config[at + 2] >> 4) & 0xF in (4, 6)


class Hardware:
    """A machine's PCI functions, found and mapped over qtest."""

    def __init__(self, qtest: Qtest, platform: Platform, extra_roots: Iterable[int] = ()) -> None:
        self.qtest, self.platform = qtest, platform
        self._roots = (0, *sorted(extra_roots))
        self.ecam = 0
        self.functions: list[Function] = []

    def at(self, bus: int, devfn: int, offset: int, size: int, value: int | None = None) -> list[Access]:
        """Return what reads or writes a register of a config space."""
        if self.ecam:
            return [Access(False, self.ecam | bus << 20 | devfn << 12 | offset, size, value)]
        index = Access(True, 0xCF8, 4, 0x80000000 | bus << 16 | devfn << 8 | offset & 0xFC)
        return [index, Access(True, 0xCFC + (offset & 3), size, value)]

    def _get(self, wanted: Iterable[tuple[int, int, int]]) -> list[int]:
        """Read 32 bits for each bus, devfn and offset."""
        accesses = [access for bus, devfn, offset in wanted for access in self.at(bus, devfn, offset, 4)]
        return [value & 0xFFFFFFFF for value in self.qtest.run(accesses)]

    def _put(self, wanted: Iterable[tuple[Function, int, int, int]]) -> None:
        """Write for each function, offset, size and value."""
        self.qtest.run(
            access for each, at, size, value in wanted for access in self.at(each.bus, each.devfn, at, size, value)
        )

    def _find_ecam(self) -> None:
        for base in self.platform.ecam:
            self.ecam = base
            if self._get([(0, 0, 0)])[0] & 0xFFFF not in (0, 0xFFFF):
                return

    def prepare(self) -> None:
        """Do what firmware does: number the buses, map BARs and windows, switch the ACPI registers on.

        After random writes there may be no ``functions`` to be seen, until the machine is reset.
        """
        self._find_ecam()
        self.functions = []
        next_bus = 0
        for root in self._roots:
            next_bus = self._number(max(root, next_bus) if root else 0) + 1
        self._size_bars()
        self._map()
        self._switch_on()

    def _scan(self, bus: int, single: bool) -> list[Function]:
        candidates = range(8 if single else 256)
        there = [
            devfn
            for devfn, found in zip(candidates, self._get((bus, devfn, 0) for devfn in candidates), strict=True)
            if found & 0xFFFF not in (0, 0xFFFF)
        ]
        words = self._get((bus, devfn, offset) for devfn in there for offset in range(0, 256, 4))
        spaces = [
            b"".join(word.to_bytes(4, "little") for word in words[at : at + 64]) for at in range(0, len(words), 64)
        ]
        return [Function(bus, devfn, space) for devfn, space in zip(there, spaces, strict=True)]

    def _number(self, bus: int, single: bool = False) -> int:
        """Number the buses below one, and return the highest number."""
        found = self._scan(bus, single)
        self.functions += found
        last = bus
        for bridge in (each for each in found if each.bridge):
            if last >= 254:
                break
            bridge.secondary = last + 1
            self._put([(bridge, _BUSES, 4, 0xFF << 16 | bridge.secondary << 8 | bus)])
            last = self._number(bridge.secondary, bridge.port)
            self._put([(bridge, _BUSES, 4, last << 16 | bridge.secondary << 8 | bus)])
        return last

    def _size_bars(self) -> None:
        places = [(each, 0x10 + 4 * i) for each in self.functions for i in range(2 if each.bridge else 6)]
        before = self._get((each.bus, each.devfn, at) for each, at in places)
        self._put((each, at, 4, 0xFFFFFFFF) for each, at in places)
        masks = self._get((each.bus, each.devfn, at) for each, at in places)
        self._put((each, at, 4, value) for (each, at), value in zip(places, before, strict=True))
        self._masks: dict[tuple[int, int], dict[int, int]] = {}
        for (each, at), mask in zip(places, masks, strict=True):
            self._masks.setdefault((each.bus, each.devfn), {})[at] = mask

    def _bars(self, each: Function) -> Iterator[tuple[int, bool, int]]:
        """Return the offset of each BAR, whether it is I/O, and its size."""
        masks, at = self._masks[each.bus, each.devfn], 0x10
        while at in masks:
            mask, wide = masks[at], masks[at] & 7 == 4
            io = bool(mask & 1)
            low = mask & (0xFFFC if io else 0xFFFFFFF0)
            if low:
                yield at, io, (-low) & (0xFFFF if io else 0xFFFFFFFF)
            at += 8 if wide else 4

    def _map(self) -> None:
        self._next = [self.platform.ports[0], self.platform.memory[0]]
        self._end = [self.platform.ports[1], self.platform.memory[1]]
        below = {each.secondary for each in self.functions if each.secondary}
        for root in dict.fromkeys(each.bus for each in self.functions if each.bus not in below):
            self._map_bus(root)

    def _take(self, memory: int, size: int, step: int) -> int | None:
        start = -(-self._next[memory] // step) * step
        if start + size > self._end[memory]:
            return None
        self._next[memory] = start + size
        return start

    def _map_bus(self, bus: int) -> None:
        for each in [one for one in self.functions if one.bus == bus]:
            each.bars = []
            for at, io, size in self._bars(each):
                start = None if size > _LARGEST else self._take(not io, size, max(size, 4 if io else _PAGE))
                if start is None:
                    continue
                each.bars.append((io, start, size))
                wide = not io and self._masks[each.bus, each.devfn][at] & 7 == 4
                self._put([(each, at, 4, start - (self.platform.port_base if io else 0))])
                self._put([(each, at + 4, 4, 0)] if wide else [])
            if each.secondary:
                self._map_bridge(each)
            self._put([(each, _COMMAND, 2, _ALL_ON)])

    def _map_bridge(self, each: Function) -> None:
        start = [self._take(0, 0, _IO_WINDOW), self._take(1, 0, _WINDOW)]
        self._map_bus(each.secondary)
        if start[1] is not None and self._next[1] > start[1]:
            self._take(1, 0, _WINDOW)
            self._put([(each, 0x20, 4, (self._next[1] - 1 & 0xFFF00000) | start[1] >> 16)])
        if start[0] is not None and self._next[0] > start[0]:
            self._take(0, 0, _IO_WINDOW)
            first, last = start[0] - self.platform.port_base, self._next[0] - 1 - self.platform.port_base
            self._put([(each, 0x1C, 2, last & 0xF000 | first >> 8 & 0xF0)])

    def _switch_on(self) -> None:
        """Switch on the ACPI registers of the chipset, and on q35 its ECAM."""
        if not self.platform.x86:
            return
        for each in self.functions:
            if each.bus or each.devfn not in (0x00, 0x0B, 0xF8):
                continue
            match int.from_bytes(each.config[:4], "little"):
                case 0x29188086:  # ICH9's LPC: ACPI at 0x600
                    self._put([(each, 0x40, 4, 0x601), (each, 0x44, 1, 0x80)])
                case 0x71138086:  # PIIX4's power management: the same
                    self._put([(each, 0x40, 4, 0x601), (each, 0x80, 1, 0x01)])
                case 0x29C08086:  # q35's host bridge: config space at 0xb0000000
                    self._put([(each, 0x60, 4, _Q35_ECAM | 1)])


def bridges(functions: Iterable[Function], wanted: Callable[[Function], object]) -> list[Function]:
    """Return the bridges that ``wanted`` is true of, the deepest first: what goes takes along all below."""
    return sorted((each for each in functions if each.bridge and wanted(each)), key=lambda each: -each.bus)
