"""Guests that are restored although they can unplug a protected device: libvirt never refuses them, and always warns.

No libvirt with the setting writes the state that they come from; the tests put the setting into saved images.
"""

from __future__ import annotations

import re
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions, domxml
from integration.domains.snippets import nic
from integration.guest.boot import boot
from integration.host import connection, daemons
from integration.host.exchanged import Exchanged
from integration.host.scratch import scratch, through
from integration.tests.lives import INACTIVE, edit_image
from integration.tests.refused import refused

pytestmark = pytest.mark.guest

_AARCH64 = "<os><type arch='aarch64' machine='virt'>hvm</type></os>"
_RNG = "<rng model='virtio'>"
_RNG_NO = "<rng model='virtio' hotplug='no'>"
_CAN = "the guest can unplug devices which must not be unpluggable: "
_WAS = "rng (alias '{}') was unplugged although it must not be unpluggable"
_TAINT = "use of deprecated configuration settings"
_SNAPSHOT = "<domainsnapshot><name>s</name><memory snapshot='external' file='{}'/></domainsnapshot>"
_LIVE = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE


def _domain(system: str = "", target: str = "") -> str:
    """Write a domain with two devices behind root ports, which a saved image will protect, and a removable NIC."""
    root = "<controller type='pci' index='0' model='pcie-root'/>"
    ports = f"<controller type='pci' model='pcie-root-port'>{target}</controller>" * 3
    free = nic(3, address="<address type='pci' bus='3'/>")
    devices = "".join(
        f"{_RNG}<backend model='random'>/dev/urandom</backend><alias name='ua-{bus}'/>"
        f"<address type='pci' bus='{bus}'/></rng>"
        for bus in (1, 2)
    )
    return f"<domain>{system}<devices>{root}{ports}{devices}{free}</devices></domain>"


def _said(domain: libvirt.virDomain) -> list[str]:
    """Return the messages of a tainted domain."""
    assert [text for text in domain.messages(libvirt.VIR_DOMAIN_MESSAGE_TAINTING) if _TAINT in text]
    texts = domain.messages(libvirt.VIR_DOMAIN_MESSAGE_DEPRECATION)
    assert len(texts) == len(set(texts)), texts
    return [text.partition(": ")[2] for text in texts]


def _save(domain: libvirt.virDomain, image: Path) -> None:
    """Save a guest, and protect its devices in the image."""
    domain.save(str(image))
    edit_image(image, _RNG, _RNG_NO)


def _restored(domain: libvirt.virDomain, image: Path) -> None:
    domain.save(str(image))
    domain.connect().restore(str(image))


def _started(domain: libvirt.virDomain, _: Path) -> None:
    domain.managedSave()
    domain.create()


def _reverted(domain: libvirt.virDomain, image: Path) -> None:
    snapshot = domain.snapshotCreateXML(_SNAPSHOT.format(image))
    domain.revertToSnapshot(snapshot)
    snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


_WAYS: dict[str, Callable[[libvirt.virDomain, Path], None]] = {
    "restore": _restored,
    "managed save": _started,
    "revert": _reverted,
}


def _check(domain: libvirt.virDomain) -> None:
    """Check that a domain runs, and says of both devices that the guest can unplug them, once."""
    assert domain.isActive()
    assert domain.XMLDesc().count(_RNG_NO) == 2
    (text,) = _said(domain)
    assert text.startswith(_CAN), text
    assert text.count("(alias 'ua-1')") == text.count("(alias 'ua-2')") == 1


def _there_and_back(conn: libvirt.virConnect, domain: libvirt.virDomain, directory: Path) -> libvirt.virDomain:
    """Migrate a guest to another host, with a hook there that sees all XML, and back."""
    hook = daemons.Host("ho").config / "libvirt/hooks/qemu"
    with ExitStack() as stack:
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(f"#!/bin/sh\ncase $2 in migrate) touch {directory}/hook; cat ;; esac\n")
        hook.chmod(0o755)
        stack.callback(hook.unlink)
        other = connection.connect(stack.enter_context(daemons.held("--host=ho")))
        stack.callback(other.close)
        connection.sweep(other)
        there = domain.migrate3(other, through(directory), _LIVE)
        stack.callback(connection.sweep, other, own=True)
        # A user's daemon runs no hooks.
        assert (directory / "hook").exists() == daemons.SYSTEM
        _check(there)
        return there.migrate3(conn, through(directory), _LIVE)


@pytest.mark.parametrize(
    "partial",
    [_domain(), _domain(_AARCH64, "<target hotplug='off'/>")],
    ids=["q35-default-ports", "virt-off-ports"],
)
def test_comes_back(daemon: Exchanged, partial: str) -> None:
    """A guest from an image, a snapshot or another host, or found by a new daemon, runs on and has the warning."""
    conn = daemon.become()
    with scratch("tainted") as (name, directory):
        whole = domxml.text(definitions.named(partial, name, str(uuid.uuid4())))
        domain = conn.defineXML(whole)
        domain.create()
        assert domain.messages(libvirt.VIR_DOMAIN_MESSAGE_DEPRECATION) == []
        image = directory / "image"
        _save(domain, image)
        conn.restore(str(image))
        _check(domain)
        for way in _WAYS.values():
            way(domain, directory / "again")
            _check(domain)
        for how in (signal.SIGTERM, signal.SIGKILL):
            if how == signal.SIGKILL:
                # as a daemon leaves it that did not know better
                status = next(daemon.host.runtime.glob(f"**/{name}.xml"))
                status.write_text(re.sub("<(taint|deprecation).*\n", "", status.read_text()))
            conn = daemon.become(how=how)
            domain = conn.lookupByName(name)
            _check(domain)

        back = _there_and_back(conn, domain, directory)
        _check(back)
        # A fresh start with that XML is refused.
        with refused(libvirt.VIR_ERR_XML_ERROR):
            conn.defineXML(back.XMLDesc(INACTIVE).replace(_RNG, _RNG_NO))
        connection.discard(back)


def _logged(daemon: Exchanged, text: str) -> list[str]:
    """Return the lines of the daemons' logs that have the text."""
    logs = (path.read_text(errors="replace") for path in daemon.host.logs.glob("*.log"))
    return [line for log in logs for line in log.splitlines() if text in line]


def _check_gone(daemon: Exchanged, domain: libvirt.virDomain, alias: str, texts: list[str]) -> None:
    """Check that a device is gone, that the domain says all ``texts``, and that the last was logged as an error."""
    assert alias not in domain.XMLDesc()
    assert _said(domain) == texts
    assert [" error : " in line for line in _logged(daemon, f"'{domain.name()}': {texts[-1]}")] == [True]


def test_what_is_gone(daemon: Exchanged) -> None:
    """A protected device that is removed is reported, even if no daemon ran at the time; stock keeps the guest."""
    conn = daemon.become()
    events = connection.Events(conn)
    with boot(events, _domain(), "gone", defined=True) as before:
        report = before.done()
        slots = {bus: report.slots[f"0000:{bus:02x}:00"] for bus in (1, 2, 3)}
        before.disconnect()
        image = before.directory / "saved"
        _save(before.domain, image)
        conn.restore(str(image))
        guest = before.now()
        _check(guest.domain)
        (can,) = _said(guest.domain)

        guest.connect()
        guest.attempt(slots[3])
        guest.wait(lambda _: "ua-nic3" in guest.removed())
        assert _said(guest.domain) == [can]
        guest.attempt(slots[1])
        guest.wait(lambda _: "ua-1" in guest.removed())
        texts = [can, _WAS.format("ua-1")]
        _check_gone(daemon, guest.domain, "ua-1", texts)

        daemons.end(conn, signal.SIGKILL)
        guest.send(slots[2])
        deadline = time.monotonic() + 60
        while f"slot={slots[2]} addr=0000:02:00 result=gone" not in guest.tail(5):
            assert time.monotonic() < deadline, guest.tail()
            time.sleep(0.2)
        guest.disconnect()
        domain = daemon.become().lookupByName(before.domain.name())
        texts.append(_WAS.format("ua-2"))
        _check_gone(daemon, domain, "ua-2", texts)

        for options in (["--stock"], []):
            before.domain = daemon.become(*options).lookupByName(domain.name())
            assert before.domain.isActive()
            assert _said(before.domain) == texts
