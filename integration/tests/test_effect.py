"""Settings are compared by what they do: hotplug='no' on a device is what enable='no' says of it anyway.

Platforms rebuild single elements and lose attributes that they do not know, such as Nova, whose live migration writes
each ``<interface>`` anew. Redefined snapshots, images that are saved or restored with other XML, and updates of running
guests all compare. No guest is booted: QEMU does not run one instruction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.definitions import Definition
from integration.domains.devices import all_devices
from integration.domains.snippets import ALL_OFF, MEMORY, NO, YES, cut, domain
from integration.tests.refused import refused

_LIVE, _CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
_SECURE = libvirt.VIR_DOMAIN_XML_SECURE
_PAUSED = libvirt.VIR_DOMAIN_START_PAUSED
_SNAPSHOT = "<domainsnapshot><name>s</name><creationTime>1</creationTime><state>shutoff</state>{}</domainsnapshot>"
_REDEFINE = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE

# The domain's setting, a device's in the one XML and in the other, and whether they do the same.
_PAIRS = {
    "no is the default": (ALL_OFF, NO, "", True),
    "the default is no": (ALL_OFF, "", NO, True),
    "no without the default": ("", NO, "", False),
    "nothing becomes no": ("", "", NO, False),
    "the default is yes, and no": ("<hotplug enable='yes'/>", "", NO, False),
    "no becomes yes": (ALL_OFF, NO, YES, False),
    "the default becomes yes": (ALL_OFF, "", YES, False),
    "yes becomes the default": (ALL_OFF, YES, "", False),
}
pairs = pytest.mark.parametrize(("feature", "one", "other", "same"), _PAIRS.values(), ids=_PAIRS)
_KINDS = sorted(name for name, device in all_devices().items() if "q35" in device.machines)
_RNG = "<rng model='virtio'{}><backend model='random'>/dev/urandom</backend><alias name='ua-it'/></rng>"
_PORT = "<controller type='pci' index='0' model='pcie-root'/><controller type='pci' index='1' model='pcie-root-port'/>"
_MAC = "<mac address='52:54:00:00:00:01'/>"
_NIC = "<interface type='user'{}>" + _MAC + "<model type='virtio'/><alias name='ua-nic'/></interface>"


def _with(xml: str, alias: str, setting: str) -> str:
    """Return a device another setting; nothing else is changed, and so it may be one that its address contradicts."""
    element = cut(xml, alias)
    return xml.replace(element, re.sub(r"^<(\w+)(.*?)( hotplug='\w+')?>", rf"<\1\2{setting}>", element, count=1))


def _accepts(same: bool, action: Callable[[], object]) -> None:
    """Assert that it is done if the settings do the same, and else refused for the setting."""
    if same:
        action()
        return
    with refused((libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_UNSUPPORTED), "hotplug"):
        action()


@pytest.mark.parametrize("kind", _KINDS)
def test_snapshot_of_every_kind(place: Definition, kind: str) -> None:
    """A snapshot's XML replaced by one that does the same: without the attribute, and with it again."""
    device = all_devices()[kind]
    memory = MEMORY
    for feature, same in ((ALL_OFF, True), ("", False)):
        given = domain(device.xml(1, "no"), feature).replace("<features>", memory + "<features>")
        dumped = place.define(place.xml(given))
        stored = place.conn.lookupByUUIDString(place.uuid)
        snapshot, bare = _SNAPSHOT.format(dumped), _SNAPSHOT.format(dumped.replace(NO, ""))
        assert snapshot != bare
        stored.snapshotCreateXML(snapshot, _REDEFINE)
        _accepts(same, partial(stored.snapshotCreateXML, bare, _REDEFINE))
        stored.snapshotCreateXML(snapshot, _REDEFINE)
        for one in stored.listAllSnapshots():
            one.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


@pairs
def test_snapshot(place: Definition, feature: str, one: str, other: str, same: bool) -> None:
    """The XML of a snapshot is replaced by one whose settings do the same, and by no other."""
    dumped = place.define(place.xml(domain(_PORT + _RNG.format(one), feature)))
    stored = place.conn.lookupByUUIDString(place.uuid)
    stored.snapshotCreateXML(_SNAPSHOT.format(dumped), _REDEFINE)
    changed = _SNAPSHOT.format(_with(dumped, "ua-it", other))
    assert changed != _SNAPSHOT.format(dumped)
    _accepts(same, lambda: stored.snapshotCreateXML(changed, _REDEFINE))


@pytest.fixture
def paused(conn: libvirt.virConnect, request: pytest.FixtureRequest) -> Iterator[Callable[[str], libvirt.virDomain]]:
    """Start a partial domain, paused."""
    with definitions.defined(conn, "effect") as place:

        def start(given: str) -> libvirt.virDomain:
            place.define(place.xml(given))
            running = conn.lookupByUUIDString(place.uuid)
            running.createWithFlags(_PAUSED)
            return running

        yield start
        for left in conn.listAllDomains():
            if left.name() == place.name and left.hasManagedSaveImage():
                left.managedSaveRemove()


@pairs
def test_saved_and_restored(
    paused: Callable[[str], libvirt.virDomain], tmp_path: Path, feature: str, one: str, other: str, same: bool
) -> None:
    """A guest is saved with, and restored with, XML whose settings do the same, and no other; it is never lost."""
    running = paused(domain(_PORT + _RNG.format(one), feature))
    conn, image = running.connect(), str(tmp_path / "image")
    xml = running.XMLDesc(_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    changed = _with(xml, "ua-it", other)
    assert changed != xml
    _accepts(same, lambda: running.saveFlags(image, changed, libvirt.VIR_DOMAIN_SAVE_PAUSED))
    if not same:
        assert running.isActive() == 1
        running.saveFlags(image, None, libvirt.VIR_DOMAIN_SAVE_PAUSED)
    saved = conn.saveImageGetXMLDesc(image, libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
    again = _with(saved, "ua-it", one if same else other)
    _accepts(same, lambda: conn.restoreFlags(image, again, libvirt.VIR_DOMAIN_SAVE_PAUSED))
    if not same:
        assert running.isActive() == 0
        conn.restoreFlags(image, None, libvirt.VIR_DOMAIN_SAVE_PAUSED)
    assert running.isActive() == 1


@pairs
def test_live_update(
    paused: Callable[[str], libvirt.virDomain], feature: str, one: str, other: str, same: bool
) -> None:
    """An update of a running card that says the same changes what it is about; one that does not is refused."""
    running = paused(domain(_PORT + _NIC.format(one), feature))
    element = cut(running.XMLDesc(), "ua-nic").replace("</interface>", "<link state='down'/></interface>")
    changed = re.sub(r"^<interface([^>]*?)( hotplug='\w+')?>", rf"<interface\1{other}>", element)
    assert changed != element
    before = running.XMLDesc()
    # An absent attribute means "unchanged" in an update.
    _accepts(same or not other, lambda: running.updateDeviceFlags(changed, _LIVE))
    if same or not other:
        after = cut(running.XMLDesc(), "ua-nic")
        assert "<link state='down'/>" in after
        assert (NO in after, YES in after) == (NO in cut(before, "ua-nic"), YES in cut(before, "ua-nic"))
    else:
        assert running.XMLDesc() == before


def test_update_of_both(paused: Callable[[str], libvirt.virDomain]) -> None:
    """With --live --config the setting may be spelled out, too: the guest's XML and the definition get the link."""
    running = paused(domain(_NIC.format("")))
    element = cut(running.XMLDesc(), "ua-nic").replace("</interface>", "<link state='down'/></interface>")
    running.updateDeviceFlags(element.replace("<interface", "<interface" + NO), _LIVE | _CONFIG)
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        assert "<link state='down'/>" in cut(running.XMLDesc(flags), "ua-nic")


def test_the_feature_is_compared(place: Definition) -> None:
    """The domain's own setting is compared as it is: what is attached later depends on it."""
    dumped = place.define(place.xml(domain(_RNG.format(NO))))
    stored = place.conn.lookupByUUIDString(place.uuid)
    stored.snapshotCreateXML(_SNAPSHOT.format(dumped), _REDEFINE)
    changed = _SNAPSHOT.format(dumped.replace(ALL_OFF, ""))
    _accepts(False, lambda: stored.snapshotCreateXML(changed, _REDEFINE))


def test_detach_ignores_the_setting(place: Definition) -> None:
    """A device is found to be detached whatever is said of its setting."""
    for said in ("", NO, YES):
        place.define(place.xml(domain(_NIC.format(""))))
        element = cut(place.dump(), "ua-nic").replace("<interface", "<interface" + said)
        place.conn.lookupByUUIDString(place.uuid).detachDeviceFlags(element, _CONFIG)
        assert "ua-nic" not in place.dump()
