"""What differs between architectures, in one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """An architecture by libvirt's name. What only our guest needs is empty if there is none for it."""

    name: str
    emulator: str
    """QEMU's program"""
    machine: str = "virt"
    """the machine type that guests have unless they say otherwise"""
    cpu: str = ""
    """the CPU model of a domain that states none, if libvirt's default does not do"""
    acpi: bool = False
    """it has ACPI without firmware"""
    debian: str = ""
    """Debian's name, of the packages that the guest is made from"""
    compiler: str = ""
    console: str = ""
    """Linux's name of the first serial port"""
    cmdline: str = ""
    """more for the kernel's command line"""
    packed: bool = True
    """QEMU starts Debian's vmlinuz; otherwise it starts the kernel in it faster"""


_ALL = (
    Arch(
        "x86_64",
        "qemu-system-x86_64",
        machine="q35",
        acpi=True,
        debian="amd64",
        compiler="gcc",
        console="ttyS0",
        cmdline="no_timer_check",  # on a busy machine a timer of TCG may seem not to work
        packed=False,
    ),
    Arch(
        "aarch64",
        "qemu-system-aarch64",
        cpu="cortex-a57",
        debian="arm64",
        compiler="aarch64-linux-gnu-gcc",
        console="ttyAMA0",
    ),
    Arch("armv7l", "qemu-system-arm"),
    Arch("riscv64", "qemu-system-riscv64"),
    Arch("loongarch64", "qemu-system-loongarch64"),
)
ARCHES = {arch.name: arch for arch in _ALL}
"""The architectures that tests are about."""

BOOTED = tuple(arch.name for arch in _ALL if arch.debian)
"""Those that there is a guest for."""


def find(name: str) -> Arch:
    """Return an architecture; of one that is not in the table no more is known than its name."""
    return ARCHES.get(name) or Arch(name, f"qemu-system-{name}")


def of_machine(machine: str) -> str:
    """Return the architecture that a machine type is tried on."""
    return "aarch64" if machine == "virt" else "x86_64"
