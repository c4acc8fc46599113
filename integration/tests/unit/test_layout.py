"""The reader of a domain's topology, and where a guest sees its devices."""

from __future__ import annotations

import pytest

from integration.domains.layout import Layout
from integration.domains.pci import Address, hotplug_capable, secondary_bus

DOMAIN = """
<domain>
  <devices>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'>
      <target chassis='1' port='0x8' hotplug='off'/>
      <address type='pci' domain='0' bus='0' slot='1' function='0'/>
    </controller>
    <controller type='pci' index='2' model='pcie-to-pci-bridge'>
      <address type='pci' domain='0' bus='1' slot='0' function='0'/>
    </controller>
    <interface type='user' hotplug='no'>
      <model type='e1000'/>
      <alias name='ua-nic'/>
      <address type='pci' domain='0' bus='2' slot='3' function='0'/>
    </interface>
    <disk type='file'><target dev='sda' bus='scsi'/><address type='drive'/></disk>
  </devices>
</domain>
"""


def bridge(secondary: int) -> bytes:
    """Make a bridge's configuration space."""
    config = bytearray(256)
    config[0x19] = secondary
    return bytes(config)


def test_path() -> None:
    """The controllers above a device are found, the outermost first; what is no PCI device is left out."""
    layout = Layout(DOMAIN)
    (nic,) = layout.devices
    assert (nic.alias, nic.label, nic.setting, nic.address) == ("ua-nic", "e1000 NIC", "no", Address(0, 2, 3, 0))
    assert [controller.model for controller in layout.path(nic.address)] == [
        "pcie-root",
        "pcie-root-port",
        "pcie-to-pci-bridge",
    ]
    assert layout.controllers[1].hotplug == "off"


def test_in_guest() -> None:
    """A guest's bus numbers are its bridges'; a bridge that it does not see leads nowhere."""
    layout = Layout(DOMAIN)
    configs = {Address(0, 0, 1, 0): bridge(5), Address(0, 5, 0, 0): bridge(6)}
    assert layout.in_guest(layout.devices[0].address, configs) == Address(0, 6, 3, 0)
    del configs[Address(0, 5, 0, 0)]
    with pytest.raises(KeyError):
        layout.in_guest(layout.devices[0].address, configs)


def test_capabilities() -> None:
    """Hot-Plug Capable is a bit of Slot Capabilities, which only a port with a slot has."""
    config = bytearray(bridge(1))
    assert hotplug_capable(bytes(config)) is None
    config[0x34], config[0x40] = 0x40, 0x10
    assert hotplug_capable(bytes(config)) is None
    config[0x43] = 1  # Slot Implemented
    assert hotplug_capable(bytes(config)) is False
    config[0x54] = 0x40
    assert hotplug_capable(bytes(config)) is True
    assert secondary_bus(bytes(config)) == 1


@pytest.mark.parametrize("text", ["", "00:01.0", "0000:00:01.8", "0000:00:01.0 "])
def test_no_address(text: str) -> None:
    """A text that is no address is refused."""
    with pytest.raises(ValueError, match="not a PCI address"):
        Address.parse(text)
