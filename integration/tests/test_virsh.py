"""virsh: dompcilist tells the truth, and set-pci-hotplug changes existing guests without moving a device.

Cases are files in data/virsh. ``keep/NAME.xml`` is a guest that boots with all its devices ejectable;
``NAME.expected`` has a line per network interface: its MAC, and the names that systemd gives it before and
after. ``refused/NAME.xml`` is a domain, ``NAME.expected`` the arguments on the first line and a text that the
error must contain on each further one.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions, domxml
from integration.domains.definitions import Definition
from integration.domains.domxml import Machine
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.guest.accel import accel
from integration.guest.image import image
from integration.guest.report import Report
from integration.guest.running import Guest, home
from integration.host import connection
from integration.oracle import cases
from integration.oracle.cases import Case
from integration.oracle.rules import can_unplug
from integration.oracle.verdict import judge
from integration.paths import DATA

KEEP = sorted((DATA / "virsh/keep").glob("*.xml"))
REFUSED = sorted((DATA / "virsh/refused").glob("*.xml"))
MEASURED = [case for name in ("facts", "settings") for case in cases.directory(name)]
_FLAGS = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_SLOT_NOTE, _INDEX_NOTE = "ens3 is enp0s3", "<acpi index/>"


def virsh(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the patched virsh on the private daemon."""
    return subprocess.run(("virsh", *args), capture_output=True, text=True, check=False)


def change(name: str, *args: str) -> str:
    """Run set-pci-hotplug, which must succeed; give what it says."""
    result = virsh("set-pci-hotplug", name, *args)
    assert result.returncode == 0, result.stderr
    return result.stdout


def stored(domain: libvirt.virDomain) -> str:
    """Give all of the XML that the daemon keeps for the next start."""
    return domain.XMLDesc(_FLAGS)


def net_id(report: Report, address: Address) -> str:
    """Name the network interface at ``address`` as systemd's net_id does: by ACPI index, slot, or path."""
    index = report.before[address].index
    if index:
        return f"eno{index}"
    slot = report.slots.get(str(address).partition(".")[0], "")
    if slot.isdigit() and int(slot) > 0:
        return f"ens{slot}"
    return f"enp{address.bus}s{address.slot}"


@dataclass(frozen=True)
class Seen:
    """What a guest saw, and which of its devices its root could unplug."""

    qemu_version: str
    hardware: dict[Address, str]
    names: dict[str, str]
    devices: set[str]
    unplugged: set[str]


@dataclass(frozen=True)
class Kept:
    """What became of a guest when the setting was made and removed again."""

    xml: str
    """what was stored in the beginning"""
    before: Seen
    audit_before: int
    """the exit status of the audit that allows no ejectable device"""
    said: str
    after: Seen
    audit_after: int
    xml_in_the_end: str


def _boot(domain: libvirt.virDomain, events: connection.Events, console: Path) -> Seen:
    console.unlink(missing_ok=True)
    domain.create()
    try:
        guest = Guest(domain, events, console)
        report = guest.done()
        verdicts, version = judge(guest), guest.qemu_version()
    finally:
        domain.destroy()
    return Seen(
        version,
        {address: seen.ident for address, seen in report.before.items()},
        {mac: net_id(report, address) for mac, address in report.nets.items()},
        guest.started_with,
        {alias for alias, verdict in verdicts.items() if verdict.unplugged},
    )


@contextmanager
def _bootable(
    conn: libvirt.virConnect, events: connection.Events, case: Case
) -> Iterator[tuple[libvirt.virDomain, Path]]:
    """Define a guest that tries to eject all, and remove it in the end."""
    machine = Machine(case.arch, case.machine, connection.emulator(case.arch), accel(conn, events, case.arch))
    with home(f"virsh-{case.machine}") as (name, directory):
        xml = domxml.complete(case.xml, name, machine)
        console = domxml.bootable(xml, image(case.arch), "probe.eject=all probe.end=idle", directory)
        domain = conn.defineXMLFlags(domxml.text(xml))
        try:
            yield domain, console
        finally:
            connection.discard(domain)


def _keep(conn: libvirt.virConnect, events: connection.Events, path: Path) -> Kept:
    kind = domxml.parse(path.read_text()).find("os/type")
    machine = "q35" if kind is None else kind.attrib["machine"]
    case = Case(f"virsh/{path.stem}", path.read_text(), "x86_64", machine, ())
    with _bootable(conn, events, case) as (domain, console):
        audit = ("dompcilist", domain.name(), "--check", "--strict")
        return Kept(
            stored(domain),
            _boot(domain, events, console),
            virsh(*audit).returncode,
            change(domain.name(), "no"),
            _boot(domain, events, console),
            virsh(*audit).returncode,
            (change(domain.name(), "default"), stored(domain))[1],
        )


@pytest.fixture(scope="module")
def kept(conn: libvirt.virConnect, events: connection.Events) -> Iterator[dict[Path, Future[Kept]]]:
    """The guests that are changed, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {path: pool.submit(_keep, conn, events, path) for path in KEEP}


@pytest.mark.parametrize("path", KEEP, ids=lambda path: path.stem)
def test_keeps_the_hardware(kept: dict[Path, Future[Kept]], path: Path) -> None:
    """The guest sees the same hardware before and after, and can eject all of it before, nothing after.

    What it notices is what the command has said, and going back leaves the XML as it was.
    """
    lines = [line.split() for line in path.with_suffix(".expected").read_text().splitlines() if line[0] != "#"]
    guest = kept[path].result()
    # A name that newer versions of QEMU make of it follows: 10.0:name.
    after = {mac: name for mac, _, name, *_ in lines}
    for mac, *_, newer in lines:
        version, _, name = newer.rpartition(":")
        if version and float(guest.after.qemu_version) >= float(version):
            after[mac] = name
    assert guest.before.devices == guest.before.unplugged
    assert guest.audit_before != 0
    assert guest.after.hardware == guest.before.hardware
    assert guest.after.devices == guest.before.devices
    assert guest.after.unplugged == set()
    assert guest.audit_after == 0
    assert guest.before.names == {mac: name for mac, name, *_ in lines}
    assert guest.after.names == after
    assert _INDEX_NOTE in guest.said
    assert (_SLOT_NOTE in guest.said) == any(name.startswith("ens") for _, name, *_ in lines)
    assert guest.xml_in_the_end == guest.xml


@pytest.fixture
def place(conn: libvirt.virConnect) -> Iterator[Definition]:
    """A place to define a domain at."""
    with definitions.place(conn, "virsh") as definition:
        yield definition


def _define(place: Definition, xml: str) -> libvirt.virDomain:
    place.define(place.xml(xml))
    return place.conn.lookupByUUIDString(place.uuid)


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_refused(place: Definition, path: Path) -> None:
    """What cannot be kept is refused, with the reason for every device, and nothing changes."""
    domain = _define(place, path.read_text())
    before = stored(domain)
    args, *texts = path.with_suffix(".expected").read_text().splitlines()
    result = virsh("set-pci-hotplug", place.name, *args.split())
    assert result.returncode == 1, result.stdout
    assert [text for text in texts if text not in result.stderr] == [], result.stderr
    assert stored(domain) == before


def _raw(name: str) -> list[dict[str, str]]:
    """Give what dompcilist --raw says about the stored definition, a dictionary per device."""
    result = virsh("dompcilist", name, "--inactive", "--raw")
    assert result.returncode == 0, result.stderr
    lines = [line.strip().partition("=") for line in result.stdout.splitlines() if "=" in line]
    devices: list[dict[str, str]] = []
    for key, _, value in lines[1:]:
        number, _, field = key.removeprefix("pci.").partition(".")
        if int(number) == len(devices):
            devices.append({})
        devices[int(number)][field] = value
    assert lines[0] == ("pci.count", "=", str(len(devices)))
    return devices


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: case.name)
def test_lists_what_was_measured(place: Definition, case: Case) -> None:
    """The verdict is the rules', and nothing is called safe that a guest was seen to unplug.

    The XML printed without a change is what the daemon formats, byte for byte.
    """
    machine = Machine(case.arch, case.machine, connection.emulator(case.arch))
    partial = case.xml.replace("<domain>", f"<domain><uuid>{place.uuid}</uuid>")
    partial = partial.replace("<target dev='vda'", "<source file='/nonexistent'/><target dev='vda'")
    domain = place.conn.defineXMLFlags(domxml.text(domxml.complete(partial, place.name, machine)))
    xml = stored(domain)
    layout = Layout(xml)
    listed = {device["address"]: device for device in _raw(place.name)}
    assert sorted(listed) == sorted(str(device.address) for device in layout.devices)
    version = place.conn.getVersion()
    for device in layout.devices:
        verdict = listed[str(device.address)]
        switch = "pcie-switch-downstream-port" in [controller.model for controller in layout.path(device.address)]
        builtin = verdict["reason"] == "chipset"
        if not (builtin or (switch and case.machine == "q35")):
            assert verdict["unpluggable"] == ("yes" if can_unplug(layout, device.address) else "no"), verdict
        if device.alias in (line.alias for line in case.expected):
            line = next(line for line in case.expected if line.alias == device.alias)
            seen = line.unplugged(f"{version // 1000000}.{version // 1000 % 1000}")
            assert not (seen and verdict["unpluggable"] == "no"), verdict
    alias = next(device.alias for device in layout.devices if device.alias and not device.setting)
    printed = virsh("set-pci-hotplug", place.name, "default", alias, "--print-xml")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.rstrip("\n") == xml.rstrip("\n")


_RICH = """<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <title>a &lt;b&gt; &amp; 'c' "d"</title>
  <description>first
  second &amp; last</description>
  <metadata><app:x xmlns:app='http://example.com/x' app:a="1"><app:y>it's</app:y></app:x></metadata>
  <devices>
    <graphics type='vnc' passwd='a&apos;b&quot;c'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-rng'/></rng>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-yes'/></rng>
  </devices>
  <qemu:commandline><qemu:env name='A' value='b'/></qemu:commandline>
</domain>"""


_ON_ROOT = """<domain>
  <devices>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
      <alias name='ua-yes'/>
      <address type='pci' domain='0' bus='0' slot='9' function='0'/>
    </rng>
  </devices>
</domain>"""


def test_print_xml_is_what_is_kept(place: Definition) -> None:
    """What --print-xml prints is what the daemon then keeps, passwords included; printing changes nothing."""
    domain = _define(place, _RICH)
    first = stored(domain)
    printed = virsh("set-pci-hotplug", place.name, "no", "--print-xml").stdout
    assert stored(domain) == first != printed
    change(place.name, "no")
    assert stored(domain).rstrip("\n") == printed.rstrip("\n")
    assert "passwd='a&apos;b&quot;c'" in printed
    change(place.name, "default")
    assert stored(domain) == first


def test_reassign_and_spare(place: Definition) -> None:
    """New addresses are safe ones, with no port left over; spare ports are there, and go again."""
    domain = _define(place, _RICH)
    first = Layout(stored(domain))
    change(place.name, "yes", "ua-yes")
    change(place.name, "no", "--reassign")
    layout = Layout(stored(domain))
    assert not can_unplug(layout, layout.device("ua-rng").address)
    assert can_unplug(layout, layout.device("ua-yes").address)
    assert layout.device("ua-yes").address == first.device("ua-yes").address
    xml = stored(domain)
    change(place.name, "no", "--spare", "5")
    more = Layout(stored(domain))
    free = [
        port
        for port in more.controllers.values()
        if port.model == "pcie-root-port" and port.hotplug != "off" and not list(more.children(port.index))
    ]
    assert len(free) == 5
    change(place.name, "default")
    change(place.name, "no")
    assert stored(domain) == xml


def test_reassigned_device_takes_no_spare_port(place: Definition) -> None:
    """A device that must be unpluggable and moves to a port is not at the cost of the free ones that were asked for."""
    domain = _define(place, _ON_ROOT)
    change(place.name, "yes", "ua-yes", "--reassign", "--spare", "2")
    layout = Layout(stored(domain))
    ports = [port for port in layout.controllers.values() if port.model == "pcie-root-port"]
    assert can_unplug(layout, layout.device("ua-yes").address)
    assert len([port for port in ports if not list(layout.children(port.index))]) >= 2


def test_check_fails_until_cold_start(place: Definition) -> None:
    """A setting is of no use to a guest that runs, or that a managed save brings back, and the check says so."""
    domain = _define(place, _RICH)
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        change(place.name, "no")
        running = virsh("dompcilist", place.name, "--check")
        domain.managedSave()
        saved = virsh("dompcilist", place.name, "--check")
        noted = change(place.name, "no", "--spare", "5")
        domain.managedSaveRemove()
    finally:
        if domain.isActive():
            domain.destroy()
    for result, configuration in ((running, " running "), (saved, " saved ")):
        assert result.returncode == 1, result.stdout
        assert configuration in result.stdout
        assert "ua-rng" in result.stdout
    assert "managed save" in noted
    after = virsh("dompcilist", place.name, "--check")
    assert after.returncode == 0, after.stderr


def test_domains_that_vanish(conn: libvirt.virConnect, place: Definition) -> None:
    """A check of all domains is not disturbed by those that come and go meanwhile."""
    domain = _define(place, _RICH)
    xml = stored(domain)
    stop = threading.Event()

    def flicker() -> None:
        while not stop.is_set():
            domain.undefineFlags()
            conn.defineXMLFlags(xml)

    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        result = virsh(";".join(["dompcilist --check"] * 200))
    finally:
        stop.set()
        thread.join()
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
