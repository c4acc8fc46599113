"""Changes of a stored definition, device by device, and the XML that leaves the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from integration.arch import of_machine
from integration.domains import definitions, domxml
from integration.domains.definitions import Definition
from integration.domains.snippets import ALL_OFF, MEMORY, NO, PC, YES, cut, domain, nic
from integration.oracle.rules import assert_placed
from integration.tests.refused import refused

CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG


def _domain(place: Definition) -> libvirt.virDomain:
    return place.conn.lookupByUUIDString(place.uuid)


def _setting(place: Definition, alias: str) -> str:
    return assert_placed(place.dump()).device(alias).setting


@pytest.mark.parametrize("setting", ["", NO, YES])
def test_attach(place: Definition, setting: str) -> None:
    """A device attached to the definition keeps its setting and gets an address that fits it."""
    place.define(place.xml(domain(nic(0))))
    _domain(place).attachDeviceFlags(nic(1, setting), CONFIG)
    assert _setting(place, "ua-nic1") == setting[10:-1]


def test_attach_contradiction(place: Definition) -> None:
    """A device whose address contradicts is not attached."""
    before = place.define(place.xml(domain(nic(0, YES))))
    port = assert_placed(before).device("ua-nic0").address.bus
    address = f"<address type='pci' bus='{port}' slot='0' function='1'/>"
    with refused(libvirt.VIR_ERR_XML_ERROR, "ua-nic1"):
        _domain(place).attachDeviceFlags(nic(1, NO, address=address), CONFIG)
    assert place.dump() == before


def test_update_keeps_the_setting(place: Definition) -> None:
    """An update without the attribute changes what it is about, and leaves the setting alone."""
    xml = place.define(place.xml(domain(nic(0, YES))))
    update = cut(xml, "ua-nic0").replace(YES, "").replace("<model", "<link state='down'/><model")
    assert "hotplug" not in update
    _domain(place).updateDeviceFlags(update, CONFIG)
    assert _setting(place, "ua-nic0") == "yes"
    assert "<link state='down'/>" in place.dump()


_UPDATED = {
    "disk": (
        f"<disk type='file' device='disk'{YES}><source file='/var/empty/one'/><target dev='vda' bus='virtio'/>"
        "<alias name='ua-it'/></disk>",
        ("/var/empty/one", "/var/empty/two"),
    ),
    "memory": (
        f"<memory model='virtio-mem'{YES}><target><size unit='MiB'>64</size><node>0</node><block unit='MiB'>2</block>"
        "<requested unit='MiB'>0</requested></target><alias name='ua-it'/></memory>",
        ("<requested unit='KiB'>0<", "<requested unit='KiB'>2048<"),
    ),
}


@pytest.mark.parametrize(("device", "change"), _UPDATED.values(), ids=_UPDATED)
def test_update_of_others_keeps_it(place: Definition, device: str, change: tuple[str, str]) -> None:
    """An update of a disk or of memory, the only other devices that can be updated, keeps the setting, too."""
    xml = place.define(place.xml(domain(device).replace("<features>", MEMORY + "<features>")))
    update = cut(xml, "ua-it").replace(YES, "").replace(*change)
    assert update != cut(xml, "ua-it").replace(YES, "")
    _domain(place).updateDeviceFlags(update, CONFIG)
    assert cut(place.dump(), "ua-it") == cut(xml, "ua-it").replace(*change)


def test_update_contradiction(place: Definition) -> None:
    """An update that makes the definition contradict itself is refused."""
    before = place.define(place.xml(domain(nic(0))))
    update = cut(before, "ua-nic0").replace("type='user'", "type='user'" + YES)
    with refused(libvirt.VIR_ERR_XML_ERROR, "pcie-root"):
        _domain(place).updateDeviceFlags(update, CONFIG)
    assert place.dump() == before


def test_detach_function_0(place: Definition) -> None:
    """A slot whose function 0 is detached gets a port there, and the others stay where they are."""
    full = assert_placed(place.define(place.xml(domain("".join(map(nic, range(60)))))))
    slot = full.device("ua-nic59").address.slot
    gone, *rest = [device for device in full.devices if device.address.slot == slot]
    assert gone.address.function == 0 and rest
    _domain(place).detachDeviceFlags(cut(place.dump(), gone.alias), CONFIG)
    now = assert_placed(place.dump())
    assert [now.device(device.alias).address for device in rest] == [device.address for device in rest]
    assert gone.address in [controller.address for controller in now.controllers.values()]


def test_update_without_function_0(place: Definition) -> None:
    """A device that guests do not see, for want of function 0, is made visible when an update says that it stays."""
    before = place.define(place.xml(domain(nic(0, address="<address type='pci' slot='9' function='1'/>"), "")))
    _domain(place).updateDeviceFlags(cut(before, "ua-nic0").replace("type='user'", "type='user'" + NO), CONFIG)
    now = assert_placed(place.dump())
    where = now.device("ua-nic0").address
    assert (where.slot, where.function) == (9, 1)
    assert [port.hotplug for port in now.controllers.values() if port.address == replace(where, function=0)] == ["off"]


_SWITCH = """
<controller type='pci' index='0' model='pcie-root'/>
<controller type='pci' index='1' model='pcie-root-port'><target hotplug='off'/></controller>
<controller type='pci' index='2' model='pcie-switch-upstream-port'><address type='pci' bus='1'/></controller>
<controller type='pci' index='3' model='pcie-switch-downstream-port'><address type='pci' bus='2'/></controller>
"""


def test_update_behind_a_switch(place: Definition) -> None:
    """The judge needs no QEMU: an update of a stored definition is judged below a switch, too."""
    before = place.define(place.xml(domain(_SWITCH + nic(0, address="<address type='pci' bus='3'/>"), "")))
    update = cut(before, "ua-nic0").replace("type='user'", "type='user'" + NO)
    with refused(libvirt.VIR_ERR_XML_ERROR, "pcie-switch-downstream-port"):
        _domain(place).updateDeviceFlags(update, CONFIG)
    assert place.dump() == before


@pytest.mark.parametrize("value", ["no", "yes"])
def test_migratable_xml(place: Definition, value: str) -> None:
    """The XML for migration has the setting, too."""
    feature = f"<hotplug enable='{value}'/>"
    assert feature in place.define(place.xml(domain("", feature)))
    migratable = _domain(place).XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    assert feature in migratable


def test_usb_setting_is_migrated(place: Definition) -> None:
    """The USB controller of pc is left out of what leaves the host, unless it has a setting."""
    usb = "<controller type='usb' index='0' model='piix3-uhci'{}/>"
    for setting in ("", NO):
        place.define(place.xml(domain(usb.format(setting)).replace("<features>", PC + "<features>")))
        migratable = _domain(place).XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
        assert ("<controller type='usb'" in migratable) == (f"model='piix3-uhci'{NO}" in migratable) == bool(setting)


def test_pci_root_stays_off(place: Definition) -> None:
    """On pc the root bus is turned off, also in the XML that a guest is restored or migrated with."""
    place.define(place.xml(domain(nic(0)).replace("<features>", PC + "<features>")))
    for flags in (libvirt.VIR_DOMAIN_XML_INACTIVE, libvirt.VIR_DOMAIN_XML_MIGRATABLE):
        xml = _domain(place).XMLDesc(flags)
        assert ALL_OFF in xml
        assert assert_placed(xml).controllers[0].hotplug == "off"
    # and it stays off when the setting is removed
    xml = place.define(place.dump().replace(ALL_OFF, ""))
    assert assert_placed(xml).controllers[0].hotplug == "off"


_SAFE = {
    "q35": ["pcie-root", "pcie-root-port"],
    "pc-q35-6.0": ["pcie-root", "pcie-root-port"],
    "pc": ["pci-root"],
    "virt": ["pcie-root"],
    "isapc": [],
    "microvm": [],
}
"""The controllers that can keep a device, by machine type."""


@pytest.mark.parametrize("machine", _SAFE)
def test_capabilities_tell(conn: libvirt.virConnect, machine: str) -> None:
    """Domain capabilities say which controllers can keep a device with a machine type, and nothing else."""
    arch = of_machine(machine)
    xml = conn.getDomainCapabilities(definitions.default_machine(arch).emulator, arch, machine, "qemu")
    (hotplug,) = domxml.parse(xml).iterfind("features/hotplug")
    assert hotplug.get("supported") == ("yes" if _SAFE[machine] else "no")
    assert [enum.get("name") for enum in hotplug] == ["controllerModel"] * bool(_SAFE[machine])
    assert [value.text for value in hotplug.iterfind("enum/value")] == _SAFE[machine]


@pytest.mark.parametrize("machine", ["microvm", "isapc"])
def test_machines_without_pci(place: Definition, machine: str) -> None:
    """enable='no' has nothing to do there; the attribute is refused, as the device is not a PCI device."""
    rng = "<rng model='virtio'{}><backend model='random'>/dev/urandom</backend><address type='virtio-mmio'/></rng>"
    system = f"<os><type arch='x86_64' machine='{machine}'>hvm</type></os>"

    def partial(feature: str, setting: str) -> str:
        devices = f"{rng.format(setting)}<memballoon model='none'/>"
        return f"<domain>{system}<features>{feature}</features><devices>{devices}</devices></domain>"

    kept = place.define(place.xml(partial(ALL_OFF, "")))
    assert ALL_OFF in kept and "type='virtio-mmio'" in kept
    with refused((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED), "'hotplug'", "rng"):
        place.define(place.xml(partial("", NO)))
    assert place.dump() == kept


@pytest.mark.parametrize("kind", ["q35", "pc-q35-6.0", "pc", "virt"])
@pytest.mark.parametrize("setting", ["", "no", "yes"])
@pytest.mark.parametrize("feature", ["", ALL_OFF])
def test_acpi_hotplug_by_the_settings(place: Definition, feature: str, setting: str, kind: str) -> None:
    """QEMU is told to hotplug by ACPI if a q35 domain says no anywhere; otherwise its arguments are unchanged."""
    arch = of_machine(kind)
    disk = "<disk type='file' device='disk'><source file='/nowhere'/><target dev='vda' bus='virtio'/></disk>"
    disk = disk.replace("device='disk'", f"device='disk' hotplug='{setting}'" if setting else "device='disk'")
    partial = f"<domain><os><type arch='{arch}' machine='{kind}'>hvm</type></os><features>{feature}</features>"
    if kind == "pc" and setting == "no" and not feature:
        return  # it takes the whole domain there
    xml = place.xml(f"{partial}<devices>{disk}</devices></domain>")
    told = place.conn.domainXMLToNative("qemu-argv", place.define(xml))
    says_no = bool(feature) or setting == "no"
    assert ("ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on" in told) == (says_no and "q35" in kind)


@pytest.mark.parametrize(("feature", "setting"), [(ALL_OFF, ""), ("<hotplug enable='yes'/>", ""), ("", NO), ("", YES)])
def test_other_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: str, setting: str) -> None:
    """A driver that keeps no device from being unplugged refuses the settings, and works without them as before.

    Here it is VMware's, which only wants to know a version; the stand-in for its tool says it.
    """
    for tool, says in (("vmplayer", "VMware Player 6.0.1 build-1379776"), ("vmrun", "Total running VMs: 0")):
        (tmp_path / tool).write_text(f"#!/bin/sh\necho {says}\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    conn = libvirt.open("vmwareplayer:///session")
    given = (
        "<domain type='vmware'><name>guest</name><memory unit='MiB'>4</memory><os><type>hvm</type></os>"
        "<features>{}</features><devices><disk type='file' device='disk'{}>"
        f"<source file='{tmp_path}/guest.vmdk'/><target dev='hda' bus='ide'/></disk></devices></domain>"
    )
    with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "'hotplug'", " not supported by this driver"):
        conn.defineXMLFlags(given.format(feature, setting))
    assert not list(tmp_path.glob("*.vmx"))
    accepted = conn.defineXMLFlags(given.format("", "")).XMLDesc()
    assert "<hotplug" not in accepted and "hotplug=" not in accepted
    conn.close()
