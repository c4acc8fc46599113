"""The daemon survives calls that once ended it, and refuses those that it once accepted by mistake."""

from __future__ import annotations

import libvirt
import pytest

from integration.domains.definitions import Definition
from integration.domains.devices import MACHINES, all_devices
from integration.domains.snippets import ALL_OFF, MEMORY, cut, domain
from integration.oracle.rules import assert_placed
from integration.tests.refused import refused

pytestmark = pytest.mark.sanitized

_CASES = [
    pytest.param(machine, name, id=f"{machine}-{name}")
    for machine in MACHINES
    for name, device in all_devices().items()
    if machine in device.machines
]
STATED = {
    "isa": "type='isa' iobase='0x3f8'",
    "ccw": "type='ccw' cssid='0xfe' ssid='0' devno='0'",
    "unassigned": "type='unassigned'",
    "virtio-mmio": "type='virtio-mmio'",
    "usb": "type='usb' bus='0' port='1'",
    "drive": "type='drive' controller='7' bus='0' target='0' unit='0'",
    "pci": "type='pci' bus='1'",
}
NOT_ATTACHED = ("sound", "video", "memballoon", "crypto", "pstore", "panic", "iommu")
_CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG


def _whole(place: Definition, machine: str, name: str, feature: str, setting: str = "") -> str:
    arch, kind = MACHINES[machine]
    system = f"<os><type arch='{arch}' machine='{kind}'>hvm</type></os>"
    memory = "" if machine == "virt" else MEMORY
    device = all_devices()[name].xml(1, setting)
    return place.xml(domain(device, feature).replace("<features>", memory + system + "<features>"))


def _same_daemon(place: Definition) -> None:
    assert place.conn.isAlive(), "the daemon ended"
    assert place.conn.getVersion()


@pytest.mark.parametrize(("machine", "name"), _CASES)
@pytest.mark.parametrize("feature", ["", ALL_OFF], ids=["unset", "no"])
def test_native(place: Definition, machine: str, name: str, feature: str) -> None:
    """domxml-to-native of each kind of device gives QEMU's arguments, or an error, as often as it is asked."""
    xml = _whole(place, machine, name, feature)
    for given in (xml, place.define(xml)):
        for _ in range(2):
            try:
                told = place.conn.domainXMLToNative("qemu-argv", given)
            except libvirt.libvirtError as error:
                told = str(error)
            assert told
            _same_daemon(place)


@pytest.mark.parametrize("stated", STATED.values(), ids=STATED)
def test_attach_to_the_definition_likewise(place: Definition, stated: str) -> None:
    """Such a device is attached to a stored domain in a safe place, or it is refused and nothing changes."""
    before = place.define(place.xml(domain("").replace("<features>", MEMORY + "<features>")))
    for name, device in all_devices().items():
        (element, *more) = device.elements(1)
        if "q35" not in device.machines or more or element.tag in NOT_ATTACHED:
            continue
        given = device.xml(1, "no", f"<address {stated}/><alias name='ua-new'/>")
        try:
            place.conn.lookupByUUIDString(place.uuid).attachDeviceFlags(given, _CONFIG)
        except libvirt.libvirtError:
            _same_daemon(place)
            assert place.dump() == before, name
        else:
            assert_placed(place.dump())
            assert place.define(before) == before


def _switch(target: str) -> str:
    return f"""
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'>{target}</controller>
    <controller type='pci' index='2' model='pcie-switch-upstream-port'><address type='pci' bus='1'/></controller>
    <controller type='pci' index='3' model='pcie-switch-downstream-port'><address type='pci' bus='2'/></controller>
    <interface type='user'><model type='virtio'/><alias name='ua-nic'/><address type='pci' bus='3'/></interface>
    """


@pytest.mark.parametrize("target", ["", "<target hotplug='off'/>"], ids=["default", "off"])
@pytest.mark.parametrize(("setting", "fine"), [("no", False), ("yes", True), ("", True)])
def test_update_behind_a_switch(place: Definition, target: str, setting: str, fine: bool) -> None:
    """A stored domain with a switch is updated, where the definition's own controllers are all there is to judge by."""
    before = place.define(place.xml(domain(_switch(target), "")))
    update = cut(before, "ua-nic").replace(
        "type='user'", f"type='user' hotplug='{setting}'" if setting else "type='user'"
    )
    stored = place.conn.lookupByUUIDString(place.uuid)
    if fine:
        stored.updateDeviceFlags(update, _CONFIG)
        return
    with refused(libvirt.VIR_ERR_XML_ERROR, "pcie-switch-downstream-port"):
        stored.updateDeviceFlags(update, _CONFIG)
    assert place.dump() == before


def _circle(*parents: int) -> str:
    ports = "".join(
        f"<controller type='pci' index='{index}' model='pcie-root-port'><address type='pci' bus='{parent}' slot='0'/>"
        "</controller>"
        for index, parent in enumerate(parents, 1)
    )
    return f"<controller type='pci' index='0' model='pcie-root'/>{ports}"


@pytest.mark.parametrize("parents", [(1,), (2, 1), (2, 3, 1), (40,)], ids=["itself", "two", "three", "no such bus"])
def test_circles_and_buses_that_are_not_there(place: Definition, parents: tuple[int, ...]) -> None:
    """Controllers that lead nowhere are refused with a device that says no, and the daemon lives."""
    device = (
        "<rng model='virtio' hotplug='no'><backend model='random'>/dev/urandom</backend><alias name='ua-rng'/>"
        "<address type='pci' bus='1' slot='0'/></rng>"
    )
    try:
        kept = place.define(place.xml(domain(_circle(*parents) + device, "")))
    except libvirt.libvirtError:
        _same_daemon(place)
    else:
        assert_placed(kept)
