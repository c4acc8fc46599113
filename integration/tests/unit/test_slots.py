"""Slots with several functions are read right."""

from __future__ import annotations

import pytest

from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.domains.slots import behind_a_device, beside_a_device, ports, unseen

_ADDRESS = "<address type='pci' bus='{}' slot='{}' function='{}'/>"
_PORT = "<controller type='pci' index='{}' model='pcie-root-port'>" + _ADDRESS.replace("{}", "0", 1) + "</controller>"
_RNG = "<rng model='virtio'>" + _ADDRESS + "</rng>"


def _layout(*devices: str, machine: str = "q35", root: str = "pcie-root") -> Layout:
    arch = "aarch64" if machine == "virt" else "x86_64"
    system = f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os>"
    roots = f"<controller type='pci' index='0' model='{root}'/>"
    return Layout(f"<domain>{system}<devices>{roots}{''.join(devices)}</devices></domain>")


def _at(*place: int) -> Address:
    return Address(0, *place)


def test_unseen() -> None:
    """Functions without a function 0 are found on every bus, of ports and of devices."""
    layout = _layout(_PORT.format(1, 5, 1), _RNG.format(0, 5, 3), _RNG.format(1, 0, 2), _RNG.format(0, 6, 0))
    assert unseen(layout) == {_at(0, 5, 1), _at(0, 5, 3), _at(1, 0, 2)}
    seen = _layout(_PORT.format(1, 5, 1), _RNG.format(0, 5, 0), _RNG.format(0, 5, 3))
    assert unseen(seen) == set()


@pytest.mark.parametrize(
    ("machine", "root", "slot", "lost"),
    [("q35", "pcie-root", "0x1f", False), ("virt", "pcie-root", "0x1f", True), ("pc", "pci-root", "1", False)],
)
def test_chipset(machine: str, root: str, slot: str, lost: bool) -> None:
    """The chipset's own function 0 is in no XML."""
    layout = _layout(_RNG.format(0, slot, 2), machine=machine, root=root)
    assert bool(unseen(layout)) == lost


def test_ports_and_devices() -> None:
    """A port behind a device is told from one before it, and from one that has ports beside it only."""
    layout = _layout(_RNG.format(0, 5, 0), _PORT.format(1, 5, 1), _PORT.format(2, 6, 0), _PORT.format(3, 6, 1))
    assert ports(layout) == {_at(0, 5, 1), _at(0, 6, 0), _at(0, 6, 1)}
    assert behind_a_device(layout) == beside_a_device(layout) == {_at(0, 5, 1)}
    before = _layout(_PORT.format(1, 5, 0), _RNG.format(0, 5, 1))
    assert behind_a_device(before) == set()
    assert beside_a_device(before) == {_at(0, 5, 0)}
