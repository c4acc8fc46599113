"""Every type of device that can be hotplugged: refused if it is protected, and otherwise as without the series.

The domain is data/live/guest.xml, with ``<hotplug enable='no'/>`` and one device of each type; guest.detach
says how a refusal to detach each of them names it. A file in data/live/attach is a device to attach, and its
``.attach`` has a line ``KEY VALUE`` for each of:

    text   what the refusal says
    seen   attached with hotplug='yes', this is the vendor:device that the guest sees come, and go again
    stays  the same, but libvirt cannot unplug this type at all
    needs  a file that must be there, for root, to go on
    host   attached with hotplug='yes', it is refused as well, for this reason (a regular expression)

A file in data/live/untouched is a device that is not a PCI device.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.domxml import DISK_SIZE
from integration.domains.layout import Layout
from integration.domains.snippets import ALL_OFF, MEMORY, NO, PC, YES, cut, domain, nic
from integration.guest.boot import boot
from integration.guest.running import Guest
from integration.host import connection
from integration.oracle.cases import expected_lines
from integration.oracle.rules import assert_placed, can_unplug
from integration.oracle.verdict import attack
from integration.paths import BUILD, DATA
from integration.tests.refused import refused

pytestmark = pytest.mark.sanitized

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
BOTH = LIVE | CONFIG
_HOME = DATA / "live"
_SOON = 60.0
_STAYS = dict(line.split(maxsplit=1) for line in expected_lines(_HOME / "guest.detach"))
_REFUSED = libvirt.VIR_ERR_OPERATION_UNSUPPORTED


def _watch(guest: Guest) -> None:
    """Let a guest say which devices come and go, from now on."""
    guest.send("watch")
    guest.wait(lambda report: "start" in report.reached)
    guest.disconnect()


@pytest.fixture(scope="module")
def guest(events: connection.Events) -> Iterator[Guest]:
    """A guest with one protected device of each type; its log has the commands that QEMU got."""
    partial = (_HOME / "guest.xml").read_text()
    with boot(events, partial, "hotplug", defined=True) as live:
        for name in ("disk.raw", "pmem.raw"):
            with (live.directory / name).open("wb") as empty:
                empty.truncate(DISK_SIZE)
        live.done()
        _watch(live)
        yield live


def _device(guest: Guest, path: Path, attribute: str = "") -> str:
    """Read a device's XML, with an attribute added to the element."""
    text = path.read_text().replace("DIRECTORY", str(guest.directory))
    return re.sub(r"^<\w+", lambda start: f"{start.group()}{attribute}", text)


def _expected(path: Path) -> list[tuple[str, str]]:
    lines = expected_lines(path.with_suffix(".attach"))
    rows = [(key, value) for key, _, value in (line.partition(" ") for line in lines)]
    keys = {key for key, _ in rows}
    assert "text" in keys, f"{path}: no text of an error is expected"
    assert not keys - {"text", "seen", "stays", "needs", "host"}, path
    return rows


def _traces(guest: Guest) -> dict[str, object]:
    """Say all that an attempt could have changed: XML, what QEMU was told, and the host."""
    domain, directory = guest.domain, guest.directory
    log = (directory / "qmp.log").read_text()
    files: dict[str, tuple[int, ...]] = {}
    inodes: set[str] = set()
    for top in (directory, BUILD / "run/libvirt"):
        for path in top.rglob("*"):
            # Other guests start and end at the same time.
            ours = any(mark in str(path) for mark in (directory.name, f"/{domain.ID()}-", f"/domain-{domain.ID()}-"))
            if ours and (path.is_file() or path.is_socket() or path.is_dir()):
                stat = path.lstat()
                files[str(path)] = (stat.st_mode, stat.st_uid, stat.st_gid)
                inodes.add(str(stat.st_ino))
    locks = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return {
        "live XML": domain.XMLDesc(),
        "persistent XML": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
        "QEMU was told": log.count("handle_qmp_command"),
        "network devices": sorted(os.listdir("/sys/class/net")),
        "files": files,
        "locks": sorted(words[1:] for words in locks if words[-3].rpartition(":")[2] in inodes),
    }


def _refuses(guest: Guest, texts: Iterable[str], action: str, *arguments: object) -> None:
    """Assert that an action is refused with these texts, and that nothing was touched."""
    before = _traces(guest)
    with refused(_REFUSED, *texts):
        getattr(guest.domain, action)(*arguments)
    assert _traces(guest) == before


@pytest.mark.parametrize("path", sorted((_HOME / "attach").glob("*.xml")), ids=lambda path: path.stem)
def test_attach(guest: Guest, path: Path) -> None:
    """A protected device cannot be attached; with hotplug='yes' it can, live and in the definition, and be detached."""
    expected = _expected(path)
    texts = [value for key, value in expected if key == "text"]
    for flags in (LIVE, BOTH):
        _refuses(guest, texts, "attachDeviceFlags", _device(guest, path), flags)
    for key, value in expected:
        if key == "needs" and not (os.geteuid() == 0 and Path(value).exists()):
            pytest.skip(f"only the refusal was tested: {value} is missing, or we are not root")
        if key == "host":
            with refused(None) as refusal:
                guest.domain.attachDeviceFlags(_device(guest, path, YES), LIVE)
            assert re.search(value, refusal.text), refusal
        if key in ("seen", "stays"):
            _come_and_go(guest, path, value, key == "stays")


def _come_and_go(guest: Guest, path: Path, ident: str, stays: bool) -> None:
    domain, seen = guest.domain, len(guest.report.plugs)
    alias = f"ua-new-{path.stem}"
    domain.attachDeviceFlags(_device(guest, path, YES), BOTH)
    guest.wait(lambda report: [found for _, _, found in report.plugs[seen:]] == [ident], _SOON)
    address = guest.report.plugs[seen][1]
    assert address.bus != 0
    assert YES in cut(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), alias)
    element = cut(domain.XMLDesc(), alias)
    assert YES in element
    domain.detachDeviceAlias(alias, CONFIG)
    assert alias not in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if stays:
        return
    domain.detachDeviceFlags(element.replace(YES, ""), LIVE)
    guest.wait(lambda report: report.plugs[seen + 1 :] == [("removed", address, "")], _SOON)
    guest.wait(lambda _: alias not in domain.XMLDesc(), _SOON)
    assert not [text for text in domain.messages(libvirt.VIR_DOMAIN_MESSAGE_DEPRECATION) if "unplugged" in text]


@pytest.mark.parametrize("alias", _STAYS)
def test_detach(guest: Guest, alias: str) -> None:
    """A protected device cannot be detached: not by its XML, whatever that says about the setting, nor by its alias."""
    element = cut(guest.domain.XMLDesc(), alias)
    for xml in (element, re.sub(r"^<\w+", rf"\g<0>{YES}", element)):
        _refuses(guest, [_STAYS[alias]], "detachDeviceFlags", xml, LIVE)
    for flags in (LIVE, BOTH):
        _refuses(guest, [_STAYS[alias]], "detachDeviceAlias", alias, flags)


_DEVICES_NO = """
<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
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
  <qemu:commandline>
    <qemu:arg value='-trace'/>
    <qemu:arg value='handle_qmp_command'/>
    <qemu:arg value='-D'/>
    <qemu:arg value='DIRECTORY/qmp.log'/>
  </qemu:commandline>
</domain>
"""
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
    "nic": _NIC.format(NO, "52:54:00:00:00:02"),
    "rng": _RNG.format(NO, ""),
    "disk": f"<disk type='file' device='disk'{NO}><source file='/var/empty/x'/><target dev='vdx' bus='virtio'/></disk>",
}
_DETACH = {
    "nic": _NIC.format("", "52:54:00:00:00:01"),
    "nic, saying so": _NIC.format(NO, "52:54:00:00:00:01"),
    "rng": _RNG.format("", "<alias name='ua-rng'/>"),
    "watchdog": "<watchdog model='i6300esb' action='reset'><alias name='ua-watchdog'/></watchdog>",
    "scsi controller": "<controller type='scsi' model='virtio-scsi' index='0'/>",
}


@pytest.fixture(scope="module")
def attacker(events: connection.Events) -> Iterator[Guest]:
    """A guest without enable='no' that has four devices with hotplug='no', and whose root has tried to eject all."""
    with boot(events, _DEVICES_NO, "attacker") as live:
        live.done()
        attack(live)
        _watch(live)
        yield live


@pytest.mark.both
@pytest.mark.parametrize("xml", _ATTACH.values(), ids=_ATTACH)
def test_attach_is_refused(attacker: Guest, xml: str) -> None:
    """A protected device cannot be attached to a running guest, and nothing changes."""
    _refuses(attacker, (), "attachDeviceFlags", xml, LIVE)


@pytest.mark.both
@pytest.mark.parametrize("xml", _DETACH.values(), ids=_DETACH)
def test_detach_is_refused(attacker: Guest, xml: str) -> None:
    """The host cannot detach a protected device from a running guest, and nothing changes."""
    _refuses(attacker, (), "detachDeviceFlags", xml, LIVE)


def _disk_comes_and_goes(guest: Guest, xml: str) -> None:
    known = len(guest.report.disks)
    guest.domain.attachDeviceFlags(xml, LIVE)
    guest.wait(lambda report: report.disks[known:] == [("added", "sda")], _SOON)
    guest.domain.detachDeviceFlags(xml, LIVE)
    guest.wait(lambda report: report.disks[known + 1 :] == [("removed", "sda")], _SOON)


@pytest.mark.both
def test_scsi_disks_come_and_go(attacker: Guest) -> None:
    """SCSI disks are attached and detached, twice, at a virtio-scsi controller that is protected."""
    path = attacker.directory / "scsi.raw"
    path.write_bytes(bytes(DISK_SIZE))
    for _ in range(2):
        _disk_comes_and_goes(attacker, _DISK.format(path))
    assert "ua-scsi" in attacker.ids()


@pytest.mark.both
def test_no_requirement_no_change(attacker: Guest) -> None:
    """A device without the setting is attached, and detached if the guest agrees, as without the series."""
    xml = _NIC.format("", "52:54:00:00:00:03").replace("<model", "<alias name='ua-more'/><model")
    attacker.domain.attachDeviceFlags(xml, LIVE)
    assert "ua-more" in attacker.ids()
    attacker.domain.detachDeviceFlags(xml, LIVE)
    attacker.wait(lambda _: "ua-more" not in attacker.ids(), _SOON)


@pytest.mark.parametrize("path", sorted((_HOME / "untouched").glob("*.xml")), ids=lambda path: path.stem)
def test_untouched(guest: Guest, path: Path) -> None:
    """A device that is no PCI device is attached and detached as without the series."""
    xml, alias = _device(guest, path), f"ua-new-{path.stem}"
    guest.domain.attachDeviceFlags(xml, LIVE)
    assert alias in guest.domain.XMLDesc()
    guest.domain.detachDeviceFlags(xml, LIVE)
    guest.wait(lambda _: alias not in guest.domain.XMLDesc(), _SOON)


def _definitions(guest: Guest) -> list[str]:
    return [guest.domain.XMLDesc(flags) for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE)]


def _with_link(element: str, state: str) -> str:
    """Make of an interface what a client that wants its link up or down sends: without the setting."""
    element = re.sub(r" hotplug='\w+'|<link [^>]*>|<address [^>]*>", "", element)
    return element.replace("</interface>", f"<link state='{state}'/></interface>")


@pytest.mark.parametrize("setting", ["", YES])
def test_update_keeps_the_setting(guest: Guest, setting: str) -> None:
    """An update without the attribute, as clients make it, keeps the setting: live, in the definition, and in both."""
    alias = "ua-new-interface" if setting else "ua-nic"
    if setting:
        guest.domain.attachDeviceFlags(_device(guest, _HOME / "attach/interface.xml", setting), BOTH)
    for flags, down, up in ((LIVE, [1, 0], [0, 0]), (CONFIG, [0, 1], [0, 0]), (BOTH, [1, 1], [0, 0])):
        for state, expected in (("down", down), ("up", up)):
            shown = guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if flags == CONFIG else 0)
            guest.domain.updateDeviceFlags(_with_link(cut(shown, alias), state), flags)
            elements = [cut(xml, alias) for xml in _definitions(guest)]
            assert ["<link state='down'/>" in element for element in elements] == [bool(n) for n in expected]
            assert [element.count(" hotplug=") for element in elements] == [bool(setting)] * 2
    if setting:
        guest.domain.detachDeviceAlias(alias, BOTH)
        guest.wait(lambda _: not any(alias in xml for xml in _definitions(guest)), _SOON)


def test_update_media(guest: Guest) -> None:
    """The medium of a CD-ROM drive can be changed."""
    element = cut(guest.domain.XMLDesc(), "ua-cdrom")
    other = re.sub(r"<source file='[^']*'", f"<source file='{guest.directory}/pmem.raw'", element)
    assert other != element
    guest.domain.updateDeviceFlags(other, BOTH)
    assert all("pmem.raw" in cut(xml, "ua-cdrom") for xml in _definitions(guest))
    guest.domain.updateDeviceFlags(element, BOTH)


def test_update_of_the_setting_is_refused(guest: Guest) -> None:
    """The setting of a running device cannot be changed; link and all stay as they are.

    What does the same as the domain's setting is no change (test_effect.py).
    """
    element = _with_link(cut(guest.domain.XMLDesc(), "ua-nic"), "down")
    # the definition has no place for hotplug='yes' where it is, and says that first
    texts = ("hotplug setting", "persistent definition")
    _refuses(guest, texts, "updateDeviceFlags", element.replace("<interface", f"<interface{YES}"), LIVE)


def test_both_or_neither(guest: Guest) -> None:
    """A change that the definition refuses is not done live either."""
    address = "<address type='pci' bus='0' slot='0x1d'/>"
    xml = _device(guest, _HOME / "attach/interface.xml", YES).replace("</interface>", address + "</interface>")
    before = _traces(guest)
    with refused(libvirt.VIR_ERR_XML_ERROR):
        guest.domain.attachDeviceFlags(xml, BOTH)
    assert _traces(guest) == before


_PAUSED = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
_PORT = "<controller type='pci' model='pcie-root-port'/>"
_EDITED = domain("<controller type='pci' model='pcie-root'/>" + _PORT * 2 + nic(0), "")


@pytest.mark.parametrize(
    ("now", "then"), [(ALL_OFF, ""), ("", ALL_OFF), (ALL_OFF, "<hotplug enable='yes'/>")], ids=["off", "on", "yes"]
)
def test_edit(conn: libvirt.virConnect, now: str, then: str) -> None:
    """A definition edited while the guest runs counts from the next start on, and the guest's XML tells what is."""
    with definitions.defined(conn, "edit") as place:
        place.define(place.xml(_EDITED.replace("<features>", f"<features>{now}")))
        running = conn.lookupByUUIDString(place.uuid)
        running.createWithFlags(_PAUSED)
        live = running.XMLDesc()
        edited = place.define(place.xml(_EDITED.replace("<features>", f"<features>{then}")))
        assert running.XMLDesc() == live and ("<hotplug enable" in live) == bool(now)
        assert then in edited and edited.count("<hotplug ") == bool(then)
        if now == ALL_OFF:
            with refused(_REFUSED):
                running.attachDeviceFlags(nic(1), BOTH)
            assert running.XMLDesc() == live and place.dump() == edited
        else:
            running.attachDeviceFlags(nic(1), BOTH)
            assert not can_unplug(assert_placed(place.dump()), assert_placed(place.dump()).device("ua-nic1").address)
            assert can_unplug(Layout(running.XMLDesc()), Layout(running.XMLDesc()).device("ua-nic1").address)
        edited = place.dump()
        running.destroy()
        running.createWithFlags(_PAUSED)
        assert (ALL_OFF in running.XMLDesc()) == (then == ALL_OFF)
        assert Layout(running.XMLDesc()).device("ua-nic0").address == Layout(edited).device("ua-nic0").address


_STATED = [
    "type='isa' iobase='0x3f8'",
    "type='ccw' cssid='0xfe' ssid='0' devno='0'",
    "type='unassigned'",
    "type='virtio-mmio'",
    "type='usb' bus='0' port='1'",
    "type='spapr-vio'",
    "type='pci' bus='1'",
]


_DRIVE = """
<controller type='scsi' index='0' model='virtio-scsi'/>
<disk type='file' device='cdrom'>
  <target dev='sdz' bus='scsi'/>
  <readonly/>
  <address type='drive' controller='0' bus='0' target='0' unit='25'/>
</disk>
"""


@pytest.fixture(scope="module")
def paused(conn: libvirt.virConnect) -> Iterator[libvirt.virDomain]:
    """A guest with enable='no' and a free port, none of whose instructions ran."""
    with definitions.defined(conn, "paused") as place:
        place.define(place.xml(domain("<controller type='pci' model='pcie-root'/>" + _PORT + _DRIVE)))
        running = conn.lookupByUUIDString(place.uuid)
        running.createWithFlags(_PAUSED)
        yield running


@pytest.mark.parametrize("stated", _STATED)
def test_stated_address(paused: libvirt.virDomain, stated: str) -> None:
    """A PCI device is refused, whatever address it states."""
    before = paused.XMLDesc()
    with refused((_REFUSED, libvirt.VIR_ERR_CONFIG_UNSUPPORTED)):  # libvirt itself refuses some
        paused.attachDeviceFlags(nic(1, "", "e1000e", f"<address {stated}/>"), LIVE)
    assert paused.XMLDesc() == before


def test_media_change_by_an_attach(paused: libvirt.virDomain, tmp_path: Path) -> None:
    """An attach to a drive that is there changes its medium, and needs no controller, whatever the name suggests."""
    medium = tmp_path / "medium.iso"
    medium.write_bytes(bytes(DISK_SIZE))
    attached = re.sub("<controller.*|<address.*", "", _DRIVE).replace("<target", f"<source file='{medium}'/><target")
    paused.attachDeviceFlags(attached, LIVE)
    assert str(medium) in paused.XMLDesc()
    assert paused.XMLDesc().count("<controller type='scsi'") == 1


def test_update_of_others_keeps_the_setting(conn: libvirt.virConnect, tmp_path: Path) -> None:
    """An update of a running guest's disk or memory, of which little can be changed, keeps the setting."""
    file = tmp_path / "disk"
    file.write_bytes(bytes(DISK_SIZE))
    devices = (
        f"<disk type='file' device='disk'{YES}><source file='{file}'/><target dev='vda' bus='virtio'/>"
        "<alias name='ua-disk'/></disk>"
        f"<memory model='virtio-mem'{YES}><target><size unit='MiB'>64</size><node>0</node><block unit='MiB'>2</block>"
        "<requested unit='MiB'>0</requested></target><alias name='ua-memory'/></memory>"
    )
    changes = {
        "ua-disk": ("<source file=", "<source startupPolicy='optional' file="),
        "ua-memory": ("<requested unit='KiB'>0<", "<requested unit='KiB'>2048<"),
    }
    with definitions.defined(conn, "updated") as place:
        place.define(place.xml(domain(devices).replace("<features>", MEMORY + "<features>")))
        running = conn.lookupByUUIDString(place.uuid)
        running.createWithFlags(_PAUSED)
        for alias, change in changes.items():
            update = cut(running.XMLDesc(), alias).replace(YES, "")
            assert change[0] in update
            running.updateDeviceFlags(update.replace(*change), LIVE)
            element = cut(running.XMLDesc(), alias)
            assert YES in element.partition(">")[0]
            assert change[1].split()[1] in element


def test_bridge_of_i440fx(conn: libvirt.virConnect) -> None:
    """With pci-root off what may be unplugged is attached behind a free bridge."""
    with definitions.defined(conn, "bridge") as place:
        bridge = "<controller type='pci' index='1' model='pci-bridge'/>"
        place.define(place.xml(domain(bridge + nic(0)).replace("<features>", PC + "<features>")))
        running = conn.lookupByUUIDString(place.uuid)
        running.createWithFlags(_PAUSED)
        running.attachDeviceFlags(nic(1, YES), BOTH)
        for xml in (running.XMLDesc(), place.dump()):
            layout = assert_placed(xml)
            assert layout.controllers[layout.device("ua-nic1").address.bus].model == "pci-bridge"
