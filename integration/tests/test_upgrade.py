"""The daemon is replaced while guests run: killed, restarted, and exchanged with that of stock libvirt 11.3.0.

The patched daemon must keep what it finds, whichever daemon wrote it. These tests record how stock treats everything
that has the setting (docs/hosts.md tells the administrator): it must refuse it or keep the guest, and it drops settings
that it does not know.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest

from integration.domains import definitions, domxml
from integration.domains.layout import Layout
from integration.domains.snippets import ALL_OFF, PC, cut
from integration.host import connection, daemons
from integration.host.exchanged import Exchanged
from integration.host.scratch import scratch, through
from integration.tests.lives import (
    CASES,
    FEATURE,
    INACTIVE,
    INTERNAL_REVERT,
    RNG,
    alive,
    assert_still_protected,
    revert_to_internal,
)
from integration.tests.refused import refused

pytestmark = pytest.mark.guest

_UNKNOWN = "unexpected feature 'hotplug'"
"""Stock libvirt's error about the feature."""
_NO = " hotplug='no'"


def _partial(setting: str) -> str:
    """Return a small domain with the setting: of the domain (feature), of a device (attribute), or none (unused)."""
    return RNG.format(feature=FEATURE if setting == "feature" else "", setting=_NO if setting == "attribute" else "")


class Park:
    """Small domains that run their firmware, and what of them lies on disk."""

    def __init__(self, daemon: Exchanged, directory: Path, name: str) -> None:
        self.conn, self._stored, self.directory, self._name = daemon.become(), daemon.definitions, directory, name
        self.files: dict[str, bytes] = {}

    def name(self, label: str) -> str:
        """Return the name of the domain that is called ``label`` here."""
        return f"{self._name}-{label}"

    def domain(self, label: str) -> libvirt.virDomain:
        """Return that domain, as the present daemon knows it."""
        return self.conn.lookupByName(self.name(label))

    def add(self, label: str, partial: str) -> libvirt.virDomain:
        """Define and start a domain."""
        xml = definitions.named(partial, self.name(label), str(uuid.uuid4()))
        domain = self.conn.defineXML(domxml.text(xml))
        domain.create()
        self.files[label] = self.stored(label)
        return domain

    def stored(self, label: str) -> bytes:
        """Read the stored definition."""
        return (self._stored / f"{self.name(label)}.xml").read_bytes()

    def listed(self) -> dict[str, bool]:
        """Return the domains that the daemon lists, and whether they run."""
        listed = {domain.name(): bool(domain.isActive()) for domain in self.conn.listAllDomains()}
        return {label: listed[self.name(label)] for label in self.files if self.name(label) in listed}


@pytest.fixture
def park(daemon: Exchanged) -> Iterator[Park]:
    """A place for small domains; the daemon is the patched one in the beginning."""
    with scratch("park") as (name, directory):
        yield Park(daemon, directory, name)


_SNAPSHOT = "<domainsnapshot><name>s</name><memory snapshot='external' file='{}'/></domainsnapshot>"


def test_unused_setting(daemon: Exchanged, park: Park) -> None:
    """Without the setting nothing differs when guests go from stock to patched and back, byte for byte."""
    park.conn = daemon.become("--stock")
    park.add("q35", _partial("unused"))
    park.add("pc", _partial("unused").replace("<devices>", PC + "<devices>"))
    park.add("managed", _partial("unused")).managedSave()
    image = str(park.directory / "image")
    park.add("saved", _partial("unused")).save(image)
    park.add("snapshot", _partial("unused")).snapshotCreateXML(_SNAPSHOT.format(park.directory / "memory"))

    def found() -> dict[str, tuple[bool, str, str, bytes, list[str]]]:
        return {
            label: (
                running,
                park.domain(label).XMLDesc(),
                park.domain(label).XMLDesc(INACTIVE),
                park.stored(label),
                [snapshot.getXMLDesc() for snapshot in park.domain(label).listAllSnapshots()],
            )
            for label, running in park.listed().items()
        }

    before = found()
    assert set(before) == {"q35", "pc", "managed", "saved", "snapshot"}
    park.conn = daemon.become()
    assert found() == before
    park.conn = daemon.become("--stock")
    assert found() == before
    # What stock wrote, patched reads.
    park.conn = daemon.become()
    park.domain("managed").create()
    park.conn.restore(image)
    snapshot = park.domain("snapshot")
    snapshot.revertToSnapshot(snapshot.snapshotLookupByName("s"))
    assert park.listed() == dict.fromkeys(before, True)
    # A backup of the definition, taken from stock, is defined as it was.
    for label, (_, _, backup, _, _) in before.items():
        park.conn.defineXML(backup)
        assert park.domain(label).XMLDesc(INACTIVE) == backup


def _fill(park: Park, setting: str) -> None:
    """Make everything with the setting that an administrator may have before going back to stock."""
    park.add(f"{setting}-running", _partial(setting))
    park.add(f"{setting}-managed", _partial(setting)).managedSave()
    park.add(f"{setting}-saved", _partial(setting)).save(str(park.directory / f"{setting}.saved"))
    domain = park.add(f"{setting}-snapshot", _partial(setting))
    domain.snapshotCreateXML(_SNAPSHOT.format(park.directory / f"{setting}.memory"))


def _refused_by_stock(action: Callable[[], object]) -> None:
    with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, _UNKNOWN):
        action()


@pytest.mark.both
def test_rollback_with_the_feature(daemon: Exchanged, park: Park) -> None:
    """Stock refuses or does not list what has enable='no', and loses none of it: it is all there afterwards."""
    _fill(park, "feature")
    before = park.listed()
    live = {label: park.domain(label).XMLDesc() for label in before}
    backup = park.domain("feature-running").XMLDesc(INACTIVE)
    image = park.directory / "feature.saved"

    park.conn = daemon.become("--stock")
    assert park.listed() == {}
    _refused_by_stock(lambda: park.conn.restore(str(image)))
    _refused_by_stock(lambda: park.conn.defineXML(backup))
    _refused_by_stock(lambda: park.conn.createXML(backup))
    assert {label: park.stored(label) for label in park.files} == park.files

    park.conn = daemon.become()
    assert park.listed() == before
    assert {label: park.domain(label).XMLDesc() for label in before} == live
    park.domain("feature-managed").create()
    park.conn.restore(str(image))
    snapshot = park.domain("feature-snapshot")
    snapshot.revertToSnapshot(snapshot.snapshotLookupByName("s"))
    assert park.listed() == dict.fromkeys(before, True)
    assert {"<hotplug enable='no'/>" in park.domain(label).XMLDesc() for label in before} == {True}


def test_rollback_by_the_steps(daemon: Exchanged, park: Park) -> None:
    """As docs/hosts.md tells: without the feature and started again, stock manages guests, and where they were."""
    placed = {}
    for label, system in (("q35", ""), ("pc", PC)):
        domain = park.add(label, _partial("feature").replace("<devices>", system + "<devices>"))
        placed[label] = Layout(domain.XMLDesc(INACTIVE))
        park.conn.defineXML(domain.XMLDesc(INACTIVE).replace(ALL_OFF, ""))
        assert "<hotplug" not in domain.XMLDesc(INACTIVE)
        domain.destroy()
        domain.create()
    park.conn = daemon.become("--stock")
    assert park.listed() == dict.fromkeys(placed, True)
    for label, before in placed.items():
        layout = Layout(park.domain(label).XMLDesc(INACTIVE))
        assert (layout.devices, layout.controllers) == (before.devices, before.controllers)
    # Why the steps warn of this on pc.
    image = str(park.directory / "pc.saved")
    park.domain("pc").save(image)
    park.conn.restore(image)
    assert Layout(park.domain("pc").XMLDesc()).controllers[0].hotplug == ""


def test_pci_root_that_stock_left_out(daemon: Exchanged, park: Park) -> None:
    """An i440fx guest whose pci-root was off, saved by stock, is restored, and its devices are removable as before.

    Neither image nor snapshot says anything of pci-root. XML that has it off, which was not so, is refused, and the
    image is not lost.
    """
    park.conn = daemon.become("--stock")
    off = "<controller type='pci' index='0' model='pci-root'><target hotplug='off'/></controller>"
    partial = _partial("unused").replace("<devices>", PC + "<devices>" + off)
    xml = park.add("pc", partial).XMLDesc(INACTIVE)
    image = str(park.directory / "image")
    memory = str(park.directory / "memory")
    park.add("snapshot", partial).snapshotCreateXML(_SNAPSHOT.format(memory))
    park.domain("pc").save(image)
    for path in (image, memory):
        assert b"'pci-root'" not in Path(path).read_bytes().partition(b"</domain>")[0]
    park.conn = daemon.become()
    snapshot = park.domain("snapshot")
    snapshot.revertToSnapshot(snapshot.snapshotLookupByName("s"))
    assert snapshot.isActive()
    with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED):
        park.conn.restoreFlags(image, xml)
    park.conn.restore(image)
    assert park.domain("pc").isActive()
    assert Layout(park.domain("pc").XMLDesc()).controllers[0].hotplug == ""
    park.domain("pc").destroy()

    park.domain("pc").create()
    park.domain("pc").save(image)
    for target in ("", "<target hotplug='on'/>"):
        changed = xml.replace("<target hotplug='off'/>", target)
        assert changed != xml
        with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED):
            park.conn.restoreFlags(image, changed)
    park.conn.restore(image)
    assert Layout(park.domain("pc").XMLDesc()).controllers[0].hotplug == "off"


@pytest.mark.parametrize("value", ["no", "yes"])
def test_feature_is_kept(daemon: Exchanged, park: Park, value: str) -> None:
    """A running guest has the feature as it was spelled, also when the daemon was killed."""
    feature = FEATURE.replace("no", value)
    live = park.add(value, RNG.format(feature=feature, setting="")).XMLDesc()
    assert f"<hotplug enable='{value}'/>" in live
    park.conn = daemon.become(how=signal.SIGKILL)
    assert park.domain(value).XMLDesc() == live


def test_rollback_with_the_attribute(daemon: Exchanged, park: Park) -> None:
    """Stock passes over the attribute: guests and addresses stay; what stock writes has no attribute any more."""
    _fill(park, "attribute")
    before = park.listed()
    placed = {label: _without_attribute(park.domain(label).XMLDesc(INACTIVE)) for label in before}
    park.conn = daemon.become("--stock")
    assert park.listed() == before
    assert {label: park.domain(label).XMLDesc(INACTIVE) for label in before} == placed
    assert {label: park.stored(label) for label in park.files} == park.files
    park.domain("attribute-managed").create()
    park.conn.restore(str(park.directory / "attribute.saved"))
    snapshot = park.domain("attribute-snapshot")
    snapshot.revertToSnapshot(snapshot.snapshotLookupByName("s"))
    assert park.listed() == dict.fromkeys(before, True)
    written = {label for label in before if park.stored(label) != park.files[label]}
    assert written == {"attribute-snapshot"}

    park.conn = daemon.become()
    assert park.listed() == dict.fromkeys(before, True)
    assert {label for label in before if _NO in park.domain(label).XMLDesc()} == set()
    assert {label for label in before if _NO in park.domain(label).XMLDesc(INACTIVE)} == set(before) - written


def _without_attribute(xml: str) -> str:
    return xml.replace(_NO, "")


_LIVE = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE


def test_migration_to_and_from_stock(daemon: Exchanged, park: Park) -> None:
    """A guest with enable='no' does not migrate to stock; a guest that stock can run does, and back."""
    labels = ("feature", "attribute", "unused")
    for label in labels:
        park.add(label, _partial(label))
    live = park.domain("feature").XMLDesc()
    uri = through(park.directory)
    with daemons.held("--stock", "--host=c") as stock_uri:
        stock = connection.connect(stock_uri)
        connection.sweep(stock)
        _refused_by_stock(lambda: park.domain("feature").migrate3(stock, uri, _LIVE))
        assert park.domain("feature").XMLDesc() == live
        for label in labels[1:]:
            park.domain(label).migrate3(stock, uri, _LIVE)
        assert park.listed() == {"feature": True}
        for label in labels[1:]:
            there = stock.lookupByName(park.name(label))
            assert _NO not in there.XMLDesc()
            back = there.migrate3(park.conn, uri, _LIVE)
            assert _NO not in back.XMLDesc()
        stock.close()
    assert park.listed() == dict.fromkeys(labels, True)


def test_internal_snapshot_on_stock(daemon: Exchanged) -> None:
    """Stock libvirt 11.3.0 does not revert to internal snapshots either: see test_life.py."""
    with refused(None, INTERNAL_REVERT):
        revert_to_internal(daemon.become("--stock"), "")


def _define_on_and_on(uri: str, name: str, begun: threading.Event) -> None:
    """Define domains until the daemon is gone."""
    conn, count = connection.connect(uri), 0
    names = [f"{name}-{number}" for number in range(5)]
    try:
        while True:
            one = names[count % len(names)]
            xml = definitions.named(_partial("feature"), one, str(uuid.uuid5(uuid.NAMESPACE_URL, one)))
            conn.defineXML(domxml.text(xml))
            count += 1
            begun.set()
    except libvirt.libvirtError as error:
        assert not conn.isAlive(), error


def _check_refusals(domain: libvirt.virDomain) -> None:
    """Assert that protected devices are neither detached nor attached, and that no device gets another's address."""
    before = domain.XMLDesc()
    rng = "<rng model='virtio'{}><backend model='random'>/dev/urandom</backend></rng>"
    for action, xml, code in (
        (domain.detachDeviceFlags, cut(domain.XMLDesc(INACTIVE), "ua-rng"), libvirt.VIR_ERR_OPERATION_UNSUPPORTED),
        (domain.attachDeviceFlags, rng.format(""), libvirt.VIR_ERR_OPERATION_UNSUPPORTED),
        # The one port is taken.
        (domain.attachDeviceFlags, rng.format(" hotplug='yes'"), libvirt.VIR_ERR_CONFIG_UNSUPPORTED),
    ):
        with refused(code):
            action(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert domain.XMLDesc() == before


def _check_definitions(conn: libvirt.virConnect, directory: Path) -> None:
    """Every stored definition is whole, and known."""
    names = {domain.name() for domain in conn.listAllDomains()}
    for path in directory.glob("*.xml"):
        assert ElementTree.parse(path).findtext("name") in names, path


@pytest.mark.both
def test_killed(daemon: Exchanged) -> None:
    """Killed while a guest runs and domains are being defined: nothing is half written, and all is as before."""
    conn, case = daemon.become(), CASES["all-but-the-nic"]
    events = connection.Events(conn)
    with alive(events, case) as guest, scratch("defined") as (name, _), ThreadPoolExecutor() as pool:
        guest.done()
        live, inactive, ids = guest.domain.XMLDesc(), guest.domain.XMLDesc(INACTIVE), guest.ids()
        for _ in range(3):
            begun = [threading.Event() for _ in range(2)]
            writers = [
                pool.submit(_define_on_and_on, conn.getURI(), f"{name}-{number}", event)
                for number, event in enumerate(begun)
            ]
            for event, writer in zip(begun, writers, strict=True):
                while not event.wait(0.1):
                    assert not writer.done(), writer.exception()
            time.sleep(0.5)
            conn = daemon.become(how=signal.SIGKILL)
            for writer in writers:
                writer.result()
            _check_definitions(conn, daemon.definitions)
            guest.domain = conn.lookupByUUIDString(guest.uuid)
            assert guest.domain.XMLDesc() == live
            assert guest.domain.XMLDesc(INACTIVE) == inactive
            assert guest.ids() == ids
            _check_refusals(guest.domain)
        assert_still_protected(guest.now(events=connection.Events(conn)), case)


def test_taken_over_and_back(daemon: Exchanged) -> None:
    """A guest that cannot eject still cannot after stock, which did not list it, was there."""
    conn, case = daemon.become(), CASES["all-but-the-nic"]
    with alive(connection.Events(conn), case) as guest:
        guest.done()
        live, ids = guest.domain.XMLDesc(), guest.ids()
        conn = daemon.become("--stock")
        assert guest.uuid not in {domain.UUIDString() for domain in conn.listAllDomains()}
        conn = daemon.become()
        guest.domain = conn.lookupByUUIDString(guest.uuid)
        assert guest.domain.XMLDesc() == live
        assert guest.ids() == ids
        assert_still_protected(guest.now(events=connection.Events(conn)), case)


def test_autostart(daemon: Exchanged) -> None:
    """A daemon that starts on a host that just booted starts the domain as it was defined."""
    name = f"{connection.PREFIX}{os.getpid()}-autostart"
    conn = daemon.become()
    domain = conn.defineXML(domxml.text(definitions.named(_partial("feature"), name, str(uuid.uuid4()))))
    domain.setAutostart(1)
    before = Layout(domain.XMLDesc(INACTIVE)).device("ua-rng")
    daemons.end(conn)
    # A daemon leaves this until the host boots.
    markers = list(daemon.host.top.rglob("autostarted"))
    assert markers
    for marker in markers:
        marker.unlink()
    domain = daemon.become().lookupByName(name)
    deadline = time.monotonic() + 60
    while not domain.isActive():
        assert time.monotonic() < deadline, "not started"
        time.sleep(0.1)
    xml = domain.XMLDesc()
    assert Layout(xml).device("ua-rng") == before
    assert ALL_OFF in xml
