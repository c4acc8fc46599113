"""Guests through their lives: saved, restored, snapshotted, reverted, redefined.

After each event the settings and the addresses are what they were, and the guest's root tries again: what it could not
eject before, it cannot eject afterwards.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.snippets import cut, unplaced
from integration.guest.boot import boot
from integration.guest.running import Guest
from integration.host import connection, daemons
from integration.oracle.verdict import attack
from integration.tests.lives import (
    CASES,
    FEATURE,
    INACTIVE,
    INTERNAL_REVERT,
    RNG,
    UNSET,
    alive,
    assert_changes_refused,
    assert_still_protected,
    essence,
    revert_to_internal,
)
from integration.tests.refused import refused

_SECURE = libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE
_SNAPSHOT = """
<domainsnapshot>
  <name>{name}</name>
  <memory snapshot='external' file='{directory}/{name}.memory'/>
  <disks><disk name='vda' snapshot='external'><source file='{directory}/{name}.disk'/></disk></disks>
</domainsnapshot>
"""


@pytest.fixture(scope="module")
def guests(events: connection.Events) -> Iterator[Callable[[str], Guest]]:
    """A function that gives the guest of the named case, started when first asked for."""
    with ExitStack() as stack:

        @functools.cache
        def get(name: str) -> Guest:
            guest = stack.enter_context(alive(events, CASES[name]))
            guest.done()
            return guest

        yield get


def save(guest: Guest) -> Path:
    """Save a running guest."""
    image = guest.directory / "saved"
    guest.domain.save(str(image))
    return image


def _save_and_restore(guest: Guest) -> None:
    guest.domain.connect().restore(str(save(guest)))


def _managed_save_and_start(guest: Guest) -> None:
    guest.domain.managedSave()
    assert guest.domain.hasManagedSaveImage()
    guest.domain.create()


def external_snapshot(guest: Guest, name: str) -> libvirt.virDomainSnapshot:
    """Make a snapshot of disk and memory; the guest runs on."""
    return guest.domain.snapshotCreateXML(_SNAPSHOT.format(name=name, directory=guest.directory))


def _snapshot_and_revert(guest: Guest) -> None:
    snapshot = external_snapshot(guest, "external")
    guest.domain.revertToSnapshot(snapshot)
    snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


def _undefine_and_define(guest: Guest) -> None:
    conn, xml = guest.domain.connect(), guest.domain.XMLDesc(INACTIVE)
    guest.domain.undefine()
    assert not guest.domain.isPersistent()
    conn.defineXML(xml)


def _define_again(guest: Guest) -> None:
    xml = guest.domain.XMLDesc(INACTIVE)
    guest.domain.connect().defineXML(xml)
    assert guest.domain.XMLDesc(INACTIVE) == xml


_EVENTS: dict[str, Callable[[Guest], None]] = {
    "save and restore": _save_and_restore,
    "managed save and start": _managed_save_and_start,
    "snapshot and revert": _snapshot_and_revert,
    "undefine and define": _undefine_and_define,
    "define again": _define_again,
}
_PC = ["save and restore", "managed save and start", "snapshot and revert"]
_LIVES = [
    pytest.param("all-but-the-nic", "save and restore", marks=pytest.mark.both),
    *(("all-but-the-nic", event) for event in _EVENTS if event != "save and restore"),
    *(("pc-all-but-the-nic", event) for event in _PC),
    ("virt-all-but-the-nic", "save and restore"),
]


@pytest.mark.parametrize(("name", "event"), _LIVES)
def test_survives(guests: Callable[[str], Guest], name: str, event: str) -> None:
    """The settings and addresses are as before, and so is what the guest can eject."""
    guest = guests(name)
    live, inactive = guest.domain.XMLDesc(), guest.domain.XMLDesc(INACTIVE)
    _EVENTS[event](guest)
    assert essence(guest.domain.XMLDesc()) == essence(live)
    assert essence(guest.domain.XMLDesc(INACTIVE)) == essence(inactive)
    assert_still_protected(guest.now(), CASES[name])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.both
def test_restore_refuses_changes(guests: Callable[[str], Guest]) -> None:
    """A saved guest is not restored with other settings, nor its image changed so; it is restored without."""
    guest = guests("all-but-the-nic")
    conn, before = guest.domain.connect(), guest.domain.XMLDesc()
    image = save(guest)
    content = _digest(image)
    xml = conn.saveImageGetXMLDesc(str(image), _SECURE)
    assert_changes_refused(xml, lambda changed: conn.restoreFlags(str(image), changed))
    assert_changes_refused(xml, lambda changed: conn.saveImageDefineXML(str(image), changed))
    assert _digest(image) == content
    assert not guest.domain.isActive()
    conn.restoreFlags(str(image), xml)
    assert essence(guest.domain.XMLDesc()) == essence(before)


def test_managed_save_refuses_changes(guests: Callable[[str], Guest]) -> None:
    """A managed save is not changed to other settings either, and the guest is started from it."""
    guest = guests("all-but-the-nic")
    before = guest.domain.XMLDesc()
    guest.domain.managedSave()
    xml = guest.domain.managedSaveGetXMLDesc(_SECURE)
    assert_changes_refused(xml, guest.domain.managedSaveDefineXML)
    assert guest.domain.managedSaveGetXMLDesc(_SECURE) == xml
    guest.domain.create()
    assert essence(guest.domain.XMLDesc()) == essence(before)


def _devices(arguments: list[str]) -> list[str]:
    """Return what QEMU's arguments say of where the devices are; one that was plugged again comes later there.

    domxml-to-native gives network cards no address, with or without the series.
    """
    devices = [json.loads(value) for option, value in itertools.pairwise(arguments) if option == "-device"]
    keys = {
        device["id"]: ("driver",) if "netdev" in device else ("driver", "bus", "addr", "hotplug") for device in devices
    }
    return sorted(json.dumps({key: device.get(key) for key in keys[device["id"]]}) for device in devices)


@pytest.mark.skipif(not daemons.SYSTEM, reason="domxml-to-native makes a tap device, for which one has to be root")
def test_native_arguments(guests: Callable[[str], Guest]) -> None:
    """domxml-to-native gives QEMU's devices as those of the running guest were given."""
    guest = guests("all-but-the-nic")
    native = guest.domain.connect().domainXMLToNative("qemu-argv", guest.domain.XMLDesc(INACTIVE))
    expected = _devices(shlex.split(native))
    assert expected
    assert [_devices(arguments) for arguments in guest.processes().values()] == [expected]


def test_reaped(guests: Callable[[str], Guest]) -> None:
    """What reaps a guest's process in the end is ./run's, as process 1 of a container may not do it."""
    (process,) = guests("all-but-the-nic").processes()
    parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
    assert any(word.endswith("run") for word in Path(f"/proc/{parent}/cmdline").read_text().split("\0"))


def _unplugged(guest: Guest) -> set[str]:
    return {alias for alias, verdict in attack(guest).items() if verdict.unplugged}


def test_snapshot_from_before(conn: libvirt.virConnect, events: connection.Events) -> None:
    """A snapshot from before the setting brings back what was then: a guest and a definition without it."""
    partial = UNSET.format(feature="", format="raw", source="")
    with boot(events, partial, "before", defined=True) as before:
        before.done()
        snapshot = external_snapshot(before, "before")
        unset = before.domain.XMLDesc(INACTIVE)
        before.domain.destroy()
        conn.defineXML(unplaced(unset).replace("<features>", "<features><hotplug enable='no'/>"))
        before.domain.create()
        guest = before.now()
        guest.done()
        assert _unplugged(guest) == set()

        assert "<hotplug" not in snapshot.getXMLDesc()
        guest.domain.revertToSnapshot(snapshot)
        assert _unplugged(guest.now()) == {"ua-disk", "ua-rng"}
        for flags in (0, INACTIVE):
            assert "<hotplug" not in guest.domain.XMLDesc(flags)


@pytest.mark.xfail(
    strict=True,
    raises=libvirt.libvirtError,
    reason=f"libvirt 11.3.0, patched or not, does not revert to internal snapshots ({INTERNAL_REVERT}); 11.4 does",
)
def test_internal_snapshot(conn: libvirt.virConnect) -> None:
    """An internal snapshot brings the settings and addresses back."""
    revert_to_internal(conn, FEATURE)


def test_edit_of_a_running_domain(conn: libvirt.virConnect) -> None:
    """virsh edit changes the next start; until then nothing else is said or done than before."""
    with definitions.defined(conn, "edit") as place:
        place.define(place.xml(RNG.format(feature=FEATURE, setting="")))
        domain = conn.lookupByUUIDString(place.uuid)
        domain.create()
        live, inactive = domain.XMLDesc(), place.dump()
        editor = "sed -i \"/<hotplug enable='no'\\/>/d\""
        env = os.environ | {"EDITOR": editor}
        edited = subprocess.run(["virsh", "edit", place.uuid], env=env, capture_output=True, text=True, check=False)
        assert edited.returncode == 0, edited.stderr
        assert domain.XMLDesc() == live
        assert essence(place.dump()) == (None, *essence(inactive)[1:])
        with refused(libvirt.VIR_ERR_OPERATION_UNSUPPORTED):
            domain.detachDeviceFlags(cut(domain.XMLDesc(INACTIVE), "ua-rng"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        domain.destroy()
        domain.create()
        assert essence(domain.XMLDesc()) == (None, *essence(live)[1:])
