"""Random domains that libvirt accepts, each known by its number: what tests start, and attack."""

from __future__ import annotations

from contextlib import suppress

import libvirt
from hypothesis import HealthCheck, Phase, given, seed, settings

from integration.domains import domxml
from integration.domains.arbitrary import domains
from integration.domains.definitions import Definition
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.domains.snippets import stripped
from integration.host import connection

# Machine types that all QEMUs have; every other one is the newest.
_OLD = {
    "q35": ("pc-q35-6.0", "pc-q35-6.1", "pc-q35-5.2"),
    "pc": ("pc-i440fx-5.2", "pc-i440fx-6.0"),
    "virt": ("virt-6.0",),
}
_NO_OLD = ("riscv64", "loongarch64")
"""Architectures whose machine type virt has no versions."""


def _aged(partial: str, number: int) -> str:
    arch, machine = domxml.arch_and_machine(partial)
    if arch in _NO_OLD:
        return partial
    old = (machine, _OLD[machine][number // 2 % len(_OLD[machine])])[number % 2]
    return partial.replace(f"machine='{machine}'", f"machine='{old}'")


def _starts(xml: str) -> bool:
    """Say whether QEMU starts a domain: on a root bus no transitional device that shall use an IOMMU, and no igb.

    igb's virtual functions collide with devices there. And no controller behind one with a higher index, which libvirt,
    stock or patched, gives QEMU in the wrong order.
    """
    default = Layout(xml).default
    for device in domxml.parse(xml).iterfind("devices/*"):
        at = Address.of(device)
        iommu = domxml.attribute(device, "driver", "iommu") == "on"
        if at and device.get("type") == "pci" and at.bus > int(device.get("index", "0")):
            return False
        if at and at.bus == 0 and domxml.attribute(device, "model", "type") == "igb":
            return False
        if at and at.bus == 0 and iommu and (device.get("hotplug") or default) != "no":
            return False
    return True


class _FoundError(Exception):
    """Ends hypothesis's search."""


def made_up(place: Definition, number: int, most: int, arch: str = "") -> str:
    """Return domain ``number`` as libvirt keeps it: with a setting, devices that this QEMU has, and at most ``most``.

    It is of ``arch``, or if that is empty, of x86_64 or aarch64, perhaps with UEFI firmware. Raises ValueError if
    libvirt accepts none.
    """
    igb = connection.has_device(connection.emulator("x86_64"), "igb")
    kept: list[str] = []

    @seed(number)
    @settings(
        max_examples=500,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(partial=domains(arch))
    def find(partial: str) -> None:
        if not kept and partial != stripped(partial) and (igb or "igb" not in partial):
            with suppress(libvirt.libvirtError):
                xml = place.define(place.xml(_aged(partial, number)))
                if 4 <= len(Layout(xml).devices) <= most and _starts(xml):
                    kept.append(xml)
        if kept:
            raise _FoundError

    with suppress(_FoundError):
        find()
    if not kept:
        raise ValueError(f"of 500 domains for number {number} libvirt accepts none of this size")
    return kept[0]
