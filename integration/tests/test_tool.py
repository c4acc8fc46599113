"""virt-pci-hotplug, as it is installed, on the private daemon: it converts existing guests and changes nothing else.

``data/convert/NAME.xml`` is a guest that is used already. ``NAME.converted`` has what ``set`` takes to convert it, then
a line per network interface: its MAC, and the names that systemd gives it before and after.
"""

from __future__ import annotations

import io
import json
import runpy
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast
from unittest import mock

import libvirt
import pytest

from integration.arch import BOOTED
from integration.domains import domxml, snippets
from integration.domains.definitions import Definition
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.guest.boot import boot
from integration.guest.report import Report
from integration.guest.running import Guest
from integration.host import connection, daemons
from integration.oracle import rules
from integration.oracle.cases import Case, directory
from integration.oracle.verdict import attack
from integration.paths import DATA, NIGHTLY

_NIGHTLY = pytest.mark.nightly("test_converts[q35], and test_firmware.py boots from such a place")
CASES = [
    pytest.param(path, marks=[_NIGHTLY] * (path.stem == "uefi"), id=path.stem)
    for path in sorted((DATA / "convert").glob("*.xml"))
]
_STORED = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the installed tool on the private daemon."""
    return subprocess.run(("virt-pci-hotplug", *words), capture_output=True, text=True, check=False)


@cache
def _main() -> Callable[[], int]:
    path = shutil.which("virt-pci-hotplug")
    assert path
    return cast("Callable[[], int]", runpy.run_path(path)["main"])


def call(*words: str, read: str = "") -> subprocess.CompletedProcess[str]:
    """Do what tool() does in this process, which takes a tenth of the time."""
    given, out, err = (io.TextIOWrapper(io.BytesIO(text.encode())) for text in (read, "", ""))
    with mock.patch.multiple("sys", argv=["virt-pci-hotplug", *words], stdin=given, stdout=out, stderr=err):
        status = _main()()
        out.flush()
        err.flush()
    for stream in (out, err):
        stream.seek(0)
    return subprocess.CompletedProcess(words, status or 0, out.read(), err.read())


def change(name: str, *words: str) -> str:
    """Run ``set``, which must succeed; return what it says."""
    result = call("set", name, *words)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def check(name: str, *words: str) -> tuple[str, int]:
    """Run ``check``; return what it makes of the domain, and its exit status."""
    result = call("check", name, *words, "--json")
    return json.loads(result.stdout)["domains"][0]["result"], result.returncode


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
    """The devices that a guest saw, and those that its root could have removed."""

    hardware: dict[Address, str]
    names: dict[str, str]
    devices: set[str]
    unplugged: set[str]


def _see(guest: Guest) -> Seen:
    report = guest.done()
    verdicts = attack(guest)
    return Seen(
        {address: seen.ident for address, seen in report.before.items()},
        {mac: net_id(report, address) for mac, address in report.nets.items()},
        guest.started_with,
        {alias for alias, verdict in verdicts.items() if verdict.unplugged},
    )


@dataclass(frozen=True)
class Converted:
    """A guest before and after it was converted and cold-started, and what was said on the way."""

    before: Seen
    after: Seen
    plain: subprocess.CompletedProcess[str]
    """``set no`` without any option, while the guest ran"""
    said: str
    checks: dict[str, tuple[str, int]]


def _convert(events: connection.Events, path: Path) -> Converted:
    words = path.with_suffix(".converted").read_text().splitlines()[0].split()
    with boot(events, path.read_text(), f"convert-{path.stem}", defined=True) as guest:
        domain, name = guest.domain, guest.domain.name()
        before = _see(guest)
        checks = {"first": check(name), "strict": check(name, "--strict")}
        plain = tool("set", name, "no")
        said = plain.stdout if plain.returncode == 0 else change(name, *words)
        checks |= {"pending": check(name), "config": check(name, "--config", "--strict")}
        domain.destroy()
        domain.create()
        after = _see(guest.now())
        checks["done"] = check(name, "--strict")
    return Converted(before, after, plain, said, checks)


@pytest.mark.parametrize("path", CASES)
def test_converts(events: connection.Events, path: Path) -> None:
    """The guest sees the same hardware before and after; its root could remove all of it before, nothing after.

    Where addresses cannot stay, only a command that says so changes anything, and PCI IDs stay.
    """
    options, *lines = path.with_suffix(".converted").read_text().splitlines()
    guest = _convert(events, path)
    own = {alias for alias in guest.before.devices if alias.startswith("ua-")}  # and not those of the chipset
    assert own == guest.before.unplugged
    assert guest.after.devices == guest.before.devices
    assert guest.after.unplugged == set()
    if "--reassign" in options:
        assert sorted(guest.after.hardware.values()) == sorted(guest.before.hardware.values())
    else:
        assert guest.after.hardware == guest.before.hardware
    names = [tuple(line.split()) for line in lines]
    assert [(mac, guest.before.names[mac], guest.after.names[mac]) for mac, *_ in names] == names
    if options == "no":
        assert guest.plain.returncode == 0
    else:
        assert guest.plain.returncode == 1
        assert options.split()[1] in guest.plain.stdout
        # Each device, if its address cannot stay.
        devices = ("vda", "ua-scsi", "52:54:00:00:00:01", "52:54:00:00:00:02", "ua-balloon")
        named = [device for device in devices if f"  {device}" in guest.plain.stdout]
        assert named == (list(devices) if "--reassign" in options else [])
    assert "needs a cold start" in guest.said
    assert guest.checks == {
        "first": ("ok", 0),
        "strict": ("found", 1),
        "pending": ("pending", 1),
        "config": ("ok", 0),
        "done": ("ok", 0),
    }


_RICH = """<domain>
  <title>a &lt;b&gt; &amp; 'c' "d"</title>
  <description>first
  second &amp; last</description>
  <metadata><app:x xmlns:app='http://example.com/x' app:a="1"><app:y>it's</app:y></app:x></metadata>
  <devices>
    <graphics type='vnc' passwd='a&apos;b&quot;c'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-rng'/></rng>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-yes'/></rng>
  </devices>
</domain>"""


def test_nothing_else_changes(place: Definition, tmp_path: Path) -> None:
    """A definition that is converted and restored is the same, secrets included, and no output has a secret."""
    place.define(place.xml(_RICH))
    domain = place.conn.lookupByUUIDString(place.uuid)
    first = domain.XMLDesc(_STORED)
    said = tool("set", place.name, "no", "--dry-run")
    assert said.returncode == 0
    assert domain.XMLDesc(_STORED) == first
    said.stdout += change(place.name, "no", "--backup", str(tmp_path)) + tool("list", place.name, "--json").stdout
    assert domain.XMLDesc(_STORED) != first
    change(place.name, "yes", "--device", "ua-yes")
    assert check(place.name) == ("ok", 0)
    layout = Layout(domain.XMLDesc(_STORED))
    assert [device.setting for device in layout.devices if device.alias == "ua-yes"] == ["yes"]
    change(place.name, "default", "--ports-on")
    assert domain.XMLDesc(_STORED) == first
    assert "a'b" not in said.stdout
    assert "a&apos;b" not in said.stdout
    (kept,) = tmp_path.iterdir()
    assert kept.read_text() == first


REAL = sorted((DATA / "tool/real").glob("*.xml"))


def _whole(path: Path, name: str) -> str:
    partial = path.read_text()
    arch, kind = domxml.arch_and_machine(partial)
    known = arch in BOOTED
    made = domxml.Machine(arch, kind, connection.emulator(arch) if known else f"/usr/bin/qemu-system-{arch}")
    return domxml.text(domxml.complete(partial, name, made))


def outcome(domain: libvirt.virDomain, *words: str) -> tuple[int, str]:
    """Run ``set`` as a dry run, which must change nothing, then really; both must agree on whether it is refused."""
    before = domain.XMLDesc(_STORED)
    dry = call("set", domain.name(), *words, "--dry-run")
    assert domain.XMLDesc(_STORED) == before
    result = call("set", domain.name(), *words)
    assert (dry.returncode, dry.stderr, result.stderr) == (result.returncode, "", ""), (
        words,
        dry.stdout,
        result.stdout,
    )
    if result.returncode:
        assert "refused: " in dry.stdout.splitlines()[0]
        assert dry.stdout == result.stdout
        assert domain.XMLDesc(_STORED) == before
    return result.returncode, result.stdout


def _kept(xml: str, reassigned: bool) -> str:
    """Take out the setting, and what --reassign may change: addresses, models of virtio devices, and ports."""
    root = domxml.parse(xml)
    devices = root.find("devices")
    assert devices is not None
    for device in list(devices):
        device.attrib.pop("hotplug", None)
        for element in (device, *device.findall("model")) if reassigned else ():
            for key in ("model", "type"):
                if element.get(key, "").startswith("virtio"):
                    del element.attrib[key]
        for address in device.findall("address[@type='pci']") if reassigned else ():
            device.remove(address)
        if reassigned and device.get("type") == "pci":
            devices.remove(device)
    return domxml.text(root)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_domains(place: Definition, path: Path) -> None:
    """Domains in the shapes that people and platforms use are listed, converted, checked, and restored.

    ``NAME.set``: ``refused`` and a part of the reason, or what ``set`` takes. Without one of its options it is
    refused, and names that option; what a dry run accepts is accepted.
    """
    verdict, _, options = path.with_suffix(".set").read_text().strip().partition(" ")
    assert verdict in ("refused", "no"), path
    domain = place.conn.defineXML(_whole(path, place.name))
    first = domain.XMLDesc(_STORED)
    for words in (["--tree"], ["--config"], ["--live"], ["--json"]):
        listed = call("list", place.name, *words)
        assert (listed.returncode, listed.stderr) == (0, ""), words
        assert "sekrit" not in listed.stdout
    if verdict == "refused":
        for words in ([], ["--reassign", "--rename-nics"], ["--per-device"]):
            status, said = outcome(domain, "no", *words)
            assert (status, options in said) == (1, True), said
        assert domain.XMLDesc(_STORED) == first
        return
    given = options.split()
    for left_out in given:
        status, said = outcome(domain, "no", *(word for word in given if word != left_out))
        assert (status, left_out in said.splitlines()[0]) == (1, True), said
    status, said = outcome(domain, "no", *given)
    assert status == 0, said
    assert outcome(domain, "no", *given) == (0, f"{place.name}: unchanged\n")
    assert check(place.name) == ("ok", 0)
    assert check(place.name, "--leaving")[1] == 1
    change(place.name, "default", "--ports-on", "--rename-nics")
    assert check(place.name, "--leaving") == ("ok", 0)
    last = domain.XMLDesc(_STORED)
    assert _kept(last, "--reassign" in given) == _kept(first, "--reassign" in given)
    status, said = outcome(domain, "no", "--per-device", *given)
    assert (status, "added later are not protected" in said) == (0, f"{place.name}: changed" in said), said
    assert check(place.name) == ("ok", 0)
    assert "<hotplug enable" not in domain.XMLDesc(_STORED)


def _filter(xml: str, *words: str) -> str:
    result = call("convert", "no", *words, read=xml)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_filter(place: Definition, path: Path) -> None:
    """The filter's output, for fresh XML and for XML with addresses, is safe on the daemon or refused by it.

    With --reassign it is refused only where ``set`` refuses it, too. Filtering it again changes nothing.
    """
    refused = path.with_suffix(".set").read_text().startswith("refused")
    fresh = _whole(path, place.name)
    plain = place.conn.defineXML(fresh)
    stored = plain.XMLDesc(_STORED)
    for xml in (fresh, stored):
        plain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        for words in ((), ("--reassign",)):
            filtered = _filter(xml, *words)
            assert _filter(filtered, *words) == filtered
            try:
                domain = place.conn.defineXML(filtered)
            except libvirt.libvirtError as error:
                assert refused or not words or "commandline" in xml, error
                assert error.get_error_code() in (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED)
                continue
            assert check(place.name)[0] in ("ok", "unknown")
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        plain = place.conn.defineXML(xml)


_REFUSED = """<domain><devices>
  <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/>
    <teaming type='persistent'/><alias name='ua-one'/></interface>
  <hostdev mode='subsystem' type='pci' managed='yes'>
    <source><address domain='0' bus='0xfe' slot='0' function='0'/></source>
    <teaming type='transient' persistent='ua-one'/></hostdev>
</devices></domain>"""
"""A domain that cannot be converted."""


def test_yes(place: Definition) -> None:
    """A device whose place libvirt chooses regardless of the setting is refused, in the dry run as well."""
    place.define(place.xml("<domain><devices><video><model type='virtio'/></video></devices></domain>"))
    domain = place.conn.lookupByUUIDString(place.uuid)
    for name in ("video@00:01.0", "sata0"):
        status, said = outcome(domain, "yes", "--device", name, "--reassign")
        assert (status, "its place is fixed" in said) == (1, True), said


@pytest.mark.parametrize(
    ("device", "order"),
    [
        ("vda", "the names vda, vdb ... in another order: vdb, vdc, vda"),
        ("vdc", ""),
        ("52:54:00:00:00:01", "with net.ifnames=0 in another order: 52:54:00:00:00:02, 52:54:00:00:00:01"),
    ],
)
def test_order_of_devices(place: Definition, device: str, order: str) -> None:
    """A device that moves behind a port comes last for Linux: set says the new order of disks, and of eth0, eth1."""
    disks = "".join(f"<disk type='file'><source file='/nowhere'/><target dev='vd{letter}'/></disk>" for letter in "abc")
    cards = "".join(map(snippets.nic, (1, 2)))
    place.define(place.xml(snippets.domain(disks + cards)))
    said = change(place.name, "yes", "--device", device, "--reassign", "--rename-nics")
    assert ("in another order" in said, order in said) == (bool(order), True)


@pytest.mark.parametrize("case", [*directory("facts"), *directory("settings")], ids=lambda case: case.name)
def test_verdicts_are_the_rules(place: Definition, case: Case, tmp_path: Path) -> None:
    """Wherever a device sits, it is said to stay exactly if it does by the rules that were measured."""
    whole = domxml.parse(place.xml(case.xml))
    domxml.give_disks(whole, tmp_path)
    place.define(domxml.text(whole))
    layout = Layout(place.dump())
    listed = json.loads(tool("list", place.name, "--json").stdout)["domains"][0]["devices"]
    said = {device["address"]: device["removable"] for device in listed}
    rule = {str(device.address): "no" if rules.stays(layout, device) else "yes" for device in layout.devices}
    if "acpi-pci-hotplug" in case.xml:
        rule = dict.fromkeys(rule, "unknown")
    assert said == rule


def test_other_drivers() -> None:
    """Domains of other drivers than QEMU's are listed without a verdict, and the exit status is not 0."""
    for words in (["list"], ["check"], ["check", "--leaving"], ["set", "test", "no"], ["set", "test", "default"]):
        result = tool("-c", "test:///default", *words)
        assert result.returncode == 3, words
        assert "does not know the setting" in result.stderr, words
    assert "test" in tool("-c", "test:///default", "list").stdout


def test_read_only(place: Definition) -> None:
    """A read-only connection shows places, and cannot tell more."""
    place.define(place.xml(_RICH))
    listed, checked = (tool("-r", *words, place.name) for words in (["list"], ["check"]))
    assert (listed.returncode, checked.returncode) == (0, 3)
    assert "ua-rng" in listed.stdout
    assert "unknown" in listed.stdout
    assert "forbidden" in checked.stderr


@pytest.fixture(scope="module")
def other() -> Iterator[libvirt.virConnect]:
    """A host of our own, whose domains are all ours."""
    with daemons.held("--host=to") as uri:
        conn = connection.connect(uri)
        for domain in conn.listAllDomains():
            connection.discard(domain)
        yield conn
        for domain in conn.listAllDomains():
            connection.discard(domain)
        conn.close()


_DOMAINS = 1000 if NIGHTLY else 250


def _fill(conn: libvirt.virConnect, count: int) -> None:
    partial = snippets.domain(snippets.nic(1) + snippets.nic(2), "")
    for number in range(count):
        place = Definition(conn, f'it\'s "{number}"')
        place.define(place.xml(partial))


def test_many(other: libvirt.virConnect) -> None:
    """100 domains are listed in less than a second, whatever their names are; all but a bad one are converted."""
    _fill(other, _DOMAINS - 1)
    bad = Definition(other, "bad")
    bad.define(bad.xml(_REFUSED))
    start = time.monotonic()
    listed = tool("-c", other.getURI(), "list", "--json")
    seconds = time.monotonic() - start
    said: dict[str, Any] = json.loads(listed.stdout)
    assert len(said["domains"]) == _DOMAINS
    assert seconds < 0.01 * _DOMAINS
    changed = tool("-c", other.getURI(), "set", "--all", "no", "--yes")
    assert changed.stdout.splitlines()[-1] == f"{_DOMAINS} domains: {_DOMAINS - 1} changed, 1 refused; not done: bad"
    found = json.loads(tool("-c", other.getURI(), "check", "--strict", "--json").stdout)["domains"]
    assert [domain["name"] for domain in found if domain["result"] != "ok"] == ["bad"]


def test_domains_that_vanish(other: libvirt.virConnect) -> None:
    """All domains are listed although another one is defined and undefined meanwhile."""
    place = Definition(other, "flickers")
    place.define(place.xml(_RICH))
    domain, stop = other.lookupByUUIDString(place.uuid), threading.Event()
    xml = domain.XMLDesc(_STORED)
    times = 0

    def flicker() -> None:
        nonlocal times
        while not stop.is_set():
            domain.undefine()
            other.defineXML(xml)
            times += 1

    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        for _ in range(5):
            for words in (["check"], ["list"], ["check", "--json"]):
                before = times
                result = tool("-c", other.getURI(), *words)
                assert (result.returncode, result.stderr) == (0, "")
                assert times > before + 1, "nothing came and went meanwhile"
    finally:
        stop.set()
        thread.join()
