"""Live migration between two daemons on this machine: a guest arrives as it was, or not at all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import libvirt
import pytest

from integration.guest.running import Guest
from integration.host import connection, daemons
from integration.host.scratch import through
from integration.tests.lives import CASES, INACTIVE, alive, assert_changes_refused, assert_still_protected, essence

_MIGRATABLE = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
_LIVE = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    # Both hosts write to the same file, but not at the same time.
    | libvirt.VIR_MIGRATE_UNSAFE
)


@dataclass(frozen=True)
class Host:
    """The other host, to migrate to."""

    uri: str
    conn: libvirt.virConnect
    events: connection.Events


@pytest.fixture(scope="module")
def other() -> Iterator[Host]:
    """A second set of private daemons, which think that they are on another host."""
    with daemons.held("--host=b") as uri:
        conn = connection.connect(uri)
        connection.sweep(conn)
        yield Host(uri, conn, connection.Events(conn))
        connection.sweep(conn, own=True)
        conn.close()


def _back(guest: Guest, conn: libvirt.virConnect, events: connection.Events) -> Guest:
    return guest.now(guest.domain.migrate3(conn, through(guest.directory), _LIVE), events)


@pytest.mark.parametrize("name", [pytest.param("all-but-the-nic", marks=pytest.mark.both), "pc-all-but-the-nic"])
def test_there_and_back(conn: libvirt.virConnect, events: connection.Events, other: Host, name: str) -> None:
    """A guest migrates to the other host (peer to peer) and back (by its client)."""
    case = CASES[name]
    with alive(events, case) as here:
        here.done()
        live, inactive = here.domain.XMLDesc(), here.domain.XMLDesc(INACTIVE)
        here.domain.migrateToURI3(other.uri, through(here.directory), _LIVE | libvirt.VIR_MIGRATE_PEER2PEER)
        there = here.now(other.conn.lookupByUUIDString(here.uuid), other.events)
        assert essence(there.xml) == essence(live)
        assert essence(there.domain.XMLDesc(INACTIVE)) == essence(inactive)
        assert_still_protected(there, case)
        assert here.uuid not in {domain.UUIDString() for domain in conn.listAllDomains()}

        back = _back(there, conn, events)
        assert essence(back.xml) == essence(live)
        assert essence(back.domain.XMLDesc(INACTIVE)) == essence(inactive)
        assert_still_protected(back, case)


def test_changes_are_refused(conn: libvirt.virConnect, events: connection.Events, other: Host) -> None:
    """With settings in its XML that do something else a guest does not leave; it runs on, and leaves with the same.

    Here they are spelled out for one device. The other way round, as Nova writes it, is in test_effect.py.
    """
    with alive(events, CASES["all-but-the-nic"]) as guest:
        guest.done()
        live, inactive = guest.domain.XMLDesc(), guest.domain.XMLDesc(INACTIVE)

        def migrate(parameter: str, xml: str) -> None:
            guest.domain.migrate3(other.conn, through(guest.directory) | {parameter: xml}, _LIVE)

        def migrate_peer_to_peer(xml: str) -> None:
            parameters = through(guest.directory) | {libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml}
            guest.domain.migrateToURI3(other.uri, parameters, _LIVE | libvirt.VIR_MIGRATE_PEER2PEER)

        to_destination: Callable[[str], None] = functools.partial(migrate, libvirt.VIR_MIGRATE_PARAM_DEST_XML)
        assert_changes_refused(guest.domain.XMLDesc(_MIGRATABLE), to_destination)
        assert_changes_refused(guest.domain.XMLDesc(_MIGRATABLE), migrate_peer_to_peer)
        assert guest.domain.XMLDesc() == live
        assert guest.domain.XMLDesc(INACTIVE) == inactive
        assert not [domain for domain in other.conn.listAllDomains() if domain.UUIDString() == guest.uuid]

        xml = guest.domain.XMLDesc(_MIGRATABLE)
        spelled = xml.replace("<rng model='virtio'>", "<rng model='virtio' hotplug='no'>")
        assert spelled != xml
        to_destination(spelled)
        there = other.conn.lookupByUUIDString(guest.uuid)
        assert essence(there.XMLDesc().replace(" hotplug='no'", "")) == essence(live)
