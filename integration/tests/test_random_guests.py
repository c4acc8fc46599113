"""Random domains in which a guest's root attacks: what must stay stays, what may go goes, and the rules know both."""

from __future__ import annotations

import time

import libvirt
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from integration.domains import domxml
from integration.domains.arbitrary import domains
from integration.domains.definitions import Definition
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.domains.snippets import stripped
from integration.domains.standin import stand_in
from integration.guest.pool import Pool
from integration.host import connection
from integration.oracle.cases import Case
from integration.oracle.rules import stays
from integration.oracle.verdict import unattacked
from integration.paths import NIGHTLY

_MOST = 30
"""Devices that a guest has at most: under TCG each takes its time."""

# Machine types that all QEMUs have; every other one is the newest.
_OLD = {
    "q35": ("pc-q35-6.0", "pc-q35-6.1", "pc-q35-5.2"),
    "pc": ("pc-i440fx-5.2", "pc-i440fx-6.0"),
    "virt": ("virt-6.0",),
}


def _number(index: int) -> int:
    """Number a domain: those of "make nightly" are other ones every day."""
    return index + int(time.strftime("%Y%m%d")) * 100 if NIGHTLY else index


def _aged(partial: str, number: int) -> str:
    machine = domxml.kind(partial)[1]
    old = (machine, _OLD[machine][number // 2 % len(_OLD[machine])])[number % 2]
    return partial.replace(f"machine='{machine}'", f"machine='{old}'")


def _starts(xml: str) -> bool:
    """Say whether QEMU starts a domain: on a root bus no transitional device that shall use an IOMMU.

    And no controller behind one with a higher index, which libvirt, stock or patched, gives it in the wrong order.
    """
    default = Layout(xml).default
    for device in domxml.parse(xml).iterfind("devices/*"):
        at = Address.of(device)
        iommu = domxml.attribute(device, "driver", "iommu") == "on"
        if at and device.get("type") == "pci" and at.bus > int(device.get("index", "0")):
            return False
        if at and at.bus == 0 and iommu and (device.get("hotplug") or default) != "no":
            return False
    return True


def _made_up(place: Definition, number: int) -> str:
    """Give a domain that libvirt accepts, as it is kept: with a setting, few devices, and those that QEMU has."""
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
    @given(partial=domains())
    def find(partial: str) -> None:
        if kept or partial == stripped(partial) or ("igb" in partial and not igb):
            return
        try:
            xml = place.define(place.xml(_aged(partial, number)))
        except libvirt.libvirtError:
            return
        if 4 <= len(Layout(xml).devices) <= _MOST and _starts(xml):
            kept.append(xml)

    find()
    return kept[0]


@pytest.mark.guest
@pytest.mark.parametrize("number", [_number(index) for index in range(40 if NIGHTLY else 6)])
def test_attacked(place: Definition, pool: Pool, number: int) -> None:
    """Root removes no device that must stay, and every one that must be unpluggable and that it sees."""
    domain, _ = stand_in(_made_up(place, number))
    xml = domxml.text(domain)
    arch, machine = domxml.kind(xml)
    result = pool.result(Case(f"random/{number}", xml, arch, machine, ()))
    assert unattacked(result.verdicts.values(), result.layout, result.report) == []
    for verdict in result.verdicts.values():
        setting = verdict.device.setting or result.layout.default
        if verdict.unplugged:
            assert setting != "no", f"{verdict.device}: {verdict}\n{xml}"
            assert not stays(result.layout, verdict.device), f"{verdict.device}: {verdict}\n{xml}"
        elif setting == "yes":
            assert not verdict.guest_address, f"{verdict.device}: {verdict}\n{xml}"
