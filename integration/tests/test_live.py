"""Running guests: what must stay is refused before QEMU hears of it; all else still comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from integration.domains.domxml import DISK_SIZE
from integration.guest.accel import machine
from integration.guest.boot import running
from integration.guest.running import Guest
from integration.host import connection
from integration.host.scratch import scratch

pytestmark = pytest.mark.both

_DOMAIN = """
<domain>
  <devices>
    <controller type='pci' index='1' model='pcie-root-port'/>
    <controller type='scsi' model='virtio-scsi' hotplug='no'>
      <alias name='ua-scsi'/>
    </controller>
    <interface type='user' hotplug='no'>
      <mac address='52:54:00:00:00:01'/>
      <model type='virtio'/>
    </interface>
    <watchdog model='i6300esb' action='reset' hotplug='no'>
      <alias name='ua-watchdog'/>
    </watchdog>
    <rng model='virtio' hotplug='no'>
      <backend model='random'>/dev/urandom</backend>
      <alias name='ua-rng'/>
    </rng>
  </devices>
</domain>
"""
_SOON = 30.0
_DISK = """
<disk type='file' device='disk'>
  <driver name='qemu' type='raw'/>
  <source file='{}'/>
  <target dev='sda' bus='scsi'/>
</disk>
"""
_NIC = "<interface type='user'{}><mac address='{}'/><model type='virtio'/></interface>"
_RNG = "<rng model='virtio'{}><backend model='random'>/dev/urandom</backend>{}</rng>"
_ATTACH = {
    "nic": _NIC.format(" hotplug='no'", "52:54:00:00:00:02"),
    "rng": _RNG.format(" hotplug='no'", ""),
    "disk": "<disk type='file' device='disk' hotplug='no'><source file='/var/empty/x'/>"
    "<target dev='vdx' bus='virtio'/></disk>",
}
_DETACH = {
    "nic": _NIC.format("", "52:54:00:00:00:01"),
    "nic, saying so": _NIC.format(" hotplug='no'", "52:54:00:00:00:01"),
    "rng": _RNG.format("", "<alias name='ua-rng'/>"),
    "watchdog": "<watchdog model='i6300esb' action='reset'><alias name='ua-watchdog'/></watchdog>",
    "scsi controller": "<controller type='scsi' model='virtio-scsi' index='0'/>",
}


@pytest.fixture(scope="module")
def guest(conn: libvirt.virConnect, events: connection.Events) -> Iterator[Guest]:
    """A guest with four devices that must stay, whose root has tried to eject every slot."""
    with running(
        conn, events, _DOMAIN, machine(conn, events), "probe.eject=all probe.watch=1 probe.end=idle", "live"
    ) as live:
        live.done()
        yield live


def _refused(guest: Guest, action: str, xml: str) -> None:
    before, ids = guest.domain.XMLDesc(), guest.ids()
    with pytest.raises(libvirt.libvirtError) as refusal:
        getattr(guest.domain, action)(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert refusal.value.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED, refusal.value
    assert guest.domain.XMLDesc() == before
    assert guest.ids() == ids


@pytest.mark.parametrize("xml", _ATTACH.values(), ids=_ATTACH)
def test_attach_is_refused(guest: Guest, xml: str) -> None:
    """A device that must stay cannot come by hotplug; the guest and its XML are as they were."""
    _refused(guest, "attachDeviceFlags", xml)


@pytest.mark.parametrize("xml", _DETACH.values(), ids=_DETACH)
def test_detach_is_refused(guest: Guest, xml: str) -> None:
    """The host cannot unplug it either; the guest and its XML are as they were."""
    _refused(guest, "detachDeviceFlags", xml)


def _come_and_go(guest: Guest, xml: str) -> None:
    known = len(guest.report.disks)
    guest.domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.wait(lambda report: report.disks[known:] == [("added", "sda")], _SOON)
    guest.domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.wait(lambda report: report.disks[known + 1 :] == [("removed", "sda")], _SOON)


def test_scsi_disks_come_and_go(guest: Guest) -> None:
    """SCSI disks are hotplugged and unplugged, twice, at a virtio-scsi controller that must stay."""
    with scratch("scsi-disk") as (_, directory):
        disk = Path(directory, "disk.raw")
        with disk.open("wb") as empty:
            empty.truncate(DISK_SIZE)
        _come_and_go(guest, _DISK.format(disk))
        _come_and_go(guest, _DISK.format(disk))
    assert "ua-scsi" in guest.ids()


def test_no_requirement_no_change(guest: Guest) -> None:
    """A device without the setting is attached and, the guest willing, detached as ever."""
    xml = _NIC.format("", "52:54:00:00:00:03").replace("<model", "<alias name='ua-more'/><model")
    guest.domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert "ua-more" in guest.ids()
    guest.domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.wait(lambda _: "ua-more" not in guest.ids(), _SOON)
