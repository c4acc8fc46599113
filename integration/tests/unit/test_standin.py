"""The domain that stands in for a user's domain."""

from __future__ import annotations

from integration.domains import domxml
from integration.domains.layout import Layout
from integration.domains.standin import stand_in

GIVEN = """
<domain type='kvm' id='3'>
  <name>theirs</name>
  <uuid>7c4a6f2e-0a3d-4e1b-8a25-8d3c3f3c0001</uuid>
  <os firmware='efi'><type arch='x86_64' machine='pc-q35-6.0'>hvm</type></os>
  <features><acpi/><hotplug enable='no'/><vmport state='off'/></features>
  <cpu mode='host-passthrough'/>
  <devices>
    <disk type='block' device='disk' hotplug='yes'>
      <driver name='qemu' type='qcow2' cache='none' iothread='1' iommu='on'/>
      <source dev='/dev/vg/root'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' bus='0x01' slot='0x00'/>
    </disk>
    <interface type='network'>
      <source network='default'/>
      <target dev='vnet3'/>
      <model type='virtio'/>
      <address type='pci' bus='0x00' slot='0x03'/>
    </interface>
    <hostdev mode='subsystem' type='pci'><alias name='hostdev0'/></hostdev>
    <channel type='unix'/>
    <graphics type='spice'/>
  </devices>
</domain>
"""


def test_keeps_what_counts() -> None:
    """Devices, addresses and settings are kept; sources, the host's devices and the rest are not."""
    domain, left_out = stand_in(GIVEN)
    xml = domxml.text(domain)
    given, made = Layout(GIVEN), Layout(xml)
    assert [(d.label, d.address, d.setting) for d in made.devices] == [
        (d.label, d.address, d.setting) for d in given.devices
    ]
    assert (made.machine, made.default) == ("pc-q35-6.0", "no")
    assert left_out == ["hostdev0"]
    for word in ("theirs", "uuid", "/dev/vg", "vnet3", "iothread", "qcow2", "spice", "firmware", "cpu"):
        assert word not in xml
    assert 'iommu="on"' in xml
