"""Every kind of PCI device, in every model: alone and together, with each setting, on three machines.

A new kind is a file in data/devices: see domains/devices.py.
"""

from __future__ import annotations

from xml.etree.ElementTree import SubElement

import libvirt
import pytest

from integration.domains import definitions, domxml
from integration.domains.definitions import Definition
from integration.domains.devices import MACHINES, all_devices, names
from integration.domains.snippets import ALL_OFF, MEMORY, NO
from integration.oracle.refusals import OUR_CODES
from integration.oracle.rules import assert_placed
from integration.paths import DATA
from integration.tests.refused import refused

DEVICES = all_devices()
CASES = [
    pytest.param(machine, name, id=f"{machine}-{name}")
    for machine in MACHINES
    for name, device in DEVICES.items()
    if machine in device.machines
]


def _xml(place: Definition, machine: str, names: list[str], feature: str, setting: str) -> str:
    devices = "".join(DEVICES[name].xml(number, setting) for number, name in enumerate(names, 1))
    # A controller that is not asked for would be one more device.
    if 'type="usb"' not in devices:
        devices += "<controller type='usb' index='0' model='none'/>"
    memory = "" if machine == "virt" else MEMORY
    partial = f"<domain>{memory}<features>{feature}</features><devices>{devices}</devices></domain>"
    complete = domxml.complete(partial, place.name, definitions.default_machine(*MACHINES[machine]))
    SubElement(complete, "uuid").text = place.uuid
    return domxml.text(complete)


def _define(place: Definition, machine: str, names: list[str], feature: str, setting: str) -> str:
    xml = place.define(_xml(place, machine, names, feature, setting))
    assert_placed(xml)
    assert place.define(xml) == xml
    return xml


_REMOVABLE_IN = {
    ("pc", "usb-piix3"): {""},
    ("pc", "usb-ich9"): {""},
    ("pc", "usb-ich9-ehci1"): {""},
    ("q35", "usb-ich9"): set[str](),
}
"""The domain's settings with which a USB controller that libvirt gives an address of its own can have hotplug='yes'.

On pc its slot is one that guests can remove devices from, unless pci-root is off.
"""


def _refusal(place: Definition, machine: str, name: str, setting: str, feature: str = "") -> str:
    with refused(OUR_CODES) as refusal:
        _define(place, machine, [name], feature, setting)
    return refusal.text


@pytest.mark.parametrize(("machine", "name"), CASES)
def test_alone(place: Definition, machine: str, name: str) -> None:
    """Alone in its domain, the device obeys the domain's setting and its own."""
    device = DEVICES[name]
    _define(place, machine, [name], "", "")
    _define(place, machine, [name], ALL_OFF, "")
    assert _define(place, machine, [name], "<hotplug enable='yes'/>", "").count("hotplug=") == 0
    removable = _REMOVABLE_IN.get((machine, name), set() if "fixed" in device.special else {"", ALL_OFF})
    for feature in ("", ALL_OFF):
        if feature in removable:
            _define(place, machine, [name], feature, "yes")
        else:
            assert "hotplug='yes'" in _refusal(place, machine, name, "yes", feature)
    if machine == "pc" and "piix" not in device.special:
        assert "pci-root" in _refusal(place, machine, name, "no")
    else:
        _define(place, machine, [name], "", "no")


def _together(machine: str) -> list[str]:
    """Choose the devices for one domain: all that the machine has (pc: as many as fit), but just one video card."""
    several = names("together") if machine == "pc" else list(DEVICES)
    several = [name for name in several if machine in DEVICES[name].machines and name not in names("alone")]
    spare = [name for name in several if name.startswith("video-")][1:]
    return [name for name in several if name not in spare]


@pytest.mark.parametrize("machine", MACHINES)
def test_together(place: Definition, machine: str) -> None:
    """All of them in one domain: none can be unplugged, or all but one."""
    names = _together(machine)
    _define(place, machine, names, ALL_OFF, "")
    xml = _xml(place, machine, names, ALL_OFF, "")
    xml = xml.replace('<rng model="virtio"', '<rng model="virtio" hotplug="yes"')
    assert_placed(place.define(xml))


def test_every_kind_is_attached() -> None:
    """Each element is attached to a running guest (test_hotplug.py), unless its file says that it is static."""
    here = {element.tag for device in DEVICES.values() for element in device.elements(1)}
    attached = {domxml.parse(path.read_text()).tag for path in (DATA / "live/attach").glob("*.xml")}
    static = {element.tag for name in names("static") for element in DEVICES[name].elements(1)}
    assert here - attached == static, "a device needs files in data/live/attach, or the word static on its first line"


@pytest.mark.parametrize("name", names("ats"))
def test_ats(place: Definition, name: str) -> None:
    """On q35 a virtio device with ATS, which it would not have on pcie-root, is placed behind a port with hotplug off.

    Not the first video card, whose place is on pcie-root in any case.
    """
    whole = domxml.parse(_xml(place, "q35", [name], ALL_OFF, ""))
    (kind,) = DEVICES[name].elements(1)
    (device,) = (each for each in whole.iterfind(f"devices/{kind.tag}") if kind.attrib.items() <= each.attrib.items())
    driver = device.find("driver")
    (SubElement(device, "driver") if driver is None else driver).set("ats", "on")
    SubElement(device, "alias", name="ua-ats")
    layout = assert_placed(place.define(domxml.text(whole)))
    port = layout.controllers[layout.device("ua-ats").address.bus]
    assert (port.model, port.hotplug) == ("pcie-root-port", "off")


_SNAPSHOT = "<domainsnapshot><name>s</name><creationTime>1</creationTime><state>shutoff</state>{}</domainsnapshot>"


@pytest.mark.parametrize("name", sorted(name for name, device in DEVICES.items() if "q35" in device.machines))
def test_setting_is_compared(place: Definition, name: str) -> None:
    """The setting of every kind of device is hardware, which replaced XML (here that of a snapshot) must not change."""
    snapshot = _SNAPSHOT.format(_define(place, "q35", [name], "", "no"))
    assert NO in snapshot
    domain, flags = place.conn.lookupByUUIDString(place.uuid), libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
    domain.snapshotCreateXML(snapshot, flags)
    with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "hotplug setting"):
        domain.snapshotCreateXML(snapshot.replace(NO, ""), flags)
    domain.snapshotCreateXML(snapshot, flags)
