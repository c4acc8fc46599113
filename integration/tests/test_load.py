"""Many domains and many clients at once, and many rounds: nothing is lost or mixed up, and no memory leaks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.definitions import Definition
from integration.domains.domxml import DISK_SIZE
from integration.domains.layout import Layout
from integration.domains.snippets import NO, YES, domain, nic, stripped
from integration.host import connection, daemons
from integration.host.scratch import scratch
from integration.oracle.rules import assert_placed
from integration.paths import NIGHTLY
from integration.tests.refused import refused

_DOMAINS, _CLIENTS = (50, 8) if NIGHTLY else (20, 8)
_ROUNDS = 5000 if NIGHTLY else 1000
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_PORT = "<controller type='pci' model='pcie-root-port'/>"
_GUEST = domain(
    f"<controller type='pci' model='pcie-root'/>{_PORT * 2}<controller type='scsi' model='virtio-scsi'/>{nic(0)}"
).replace("<features>", "<memory unit='MiB'>16</memory><features>")
_DISK = (
    "<disk type='file' device='disk'><driver type='raw'/><source file='{}'/><target dev='{}' bus='scsi'/>"
    "<alias name='ua-{}'/></disk>"
)
_LEAK_KIB = 512
"""KiB by which the daemon may grow in all rounds, beyond the growth of stock libvirt's."""


@pytest.fixture
def places(conn: libvirt.virConnect) -> Iterator[list[Definition]]:
    """Places for all the domains."""
    with ExitStack() as stack:
        yield [stack.enter_context(definitions.defined(conn, f"load{number}")) for number in range(_DOMAINS)]


class _Clients:
    """Connections that do things to the domains, all at once and in any order."""

    def __init__(self, places: list[Definition], directory: Path) -> None:
        self._places, self._directory = places, directory
        self._clients = [connection.connect() for _ in range(_CLIENTS)]

    def on(self, client: libvirt.virConnect, number: int) -> libvirt.virDomain:
        """Return a domain as a client knows it."""
        return client.lookupByUUIDString(self._places[number].uuid)

    def start(self, client: libvirt.virConnect, number: int) -> None:
        """Define and start a domain."""
        xml = self._places[number].xml(_GUEST)
        client.defineXMLFlags(xml).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)

    def plug(self, client: libvirt.virConnect, number: int) -> None:
        """Attach a removable network card."""
        self.on(client, number).attachDeviceFlags(nic(1000 + number, YES), _LIVE)

    def plug_protected(self, client: libvirt.virConnect, number: int) -> None:
        """Attach a protected network card, which is refused."""
        with refused(libvirt.VIR_ERR_OPERATION_UNSUPPORTED):
            self.on(client, number).attachDeviceFlags(nic(2000 + number, NO), _LIVE)

    def _disk(self, number: int, name: str) -> str:
        path = self._directory / f"{number}-{name}.raw"
        path.write_bytes(bytes(DISK_SIZE))
        return _DISK.format(path, name, name)

    def keep(self, client: libvirt.virConnect, number: int) -> None:
        """Attach a SCSI disk."""
        self.on(client, number).attachDeviceFlags(self._disk(number, "sda"), _LIVE)

    def come_and_go(self, client: libvirt.virConnect, number: int) -> None:
        """Attach a SCSI disk, and detach it again."""
        xml = self._disk(number, "sdb")
        self.on(client, number).attachDeviceFlags(xml, _LIVE)
        self.on(client, number).detachDeviceFlags(xml, _LIVE)

    def everywhere(self, *actions: Callable[[libvirt.virConnect, int], None]) -> None:
        """Do all this to each domain."""
        work = [(action, number) for number in range(_DOMAINS) for action in actions]
        random.Random(6).shuffle(work)
        with ThreadPoolExecutor(_CLIENTS) as pool:
            jobs = [pool.submit(act, self._clients[i % _CLIENTS], number) for i, (act, number) in enumerate(work)]
        for job in jobs:
            job.result()

    def close(self, conn: libvirt.virConnect) -> None:
        """Remove the domains, and close the connections."""
        with ThreadPoolExecutor(_CLIENTS) as pool:
            found = [one for one in conn.listAllDomains() if one.name() in {place.name for place in self._places}]
            list(pool.map(connection.discard, found))
        for client in self._clients:
            client.close()


def test_many_clients(conn: libvirt.virConnect, places: list[Definition]) -> None:
    """Clients define, start, attach, are refused and detach, all at once and in any order."""
    with scratch("load-disks") as (_, directory):
        clients = _Clients(places, directory)
        try:
            clients.everywhere(clients.start)
            clients.everywhere(clients.plug, clients.plug_protected, clients.keep, clients.come_and_go)
            assert all(clients.on(conn, number).isActive() for number in range(_DOMAINS))
            for number, place in enumerate(places):
                xml = clients.on(conn, number).XMLDesc()
                layout = assert_placed(xml)
                nics = {device.alias for device in layout.devices if device.tag == "interface"}
                assert nics == {"ua-nic0", f"ua-nic{1000 + number}"}
                assert (f"/{number}-sda.raw'" in xml, xml.count(".raw'"), "ua-sdb" in xml) == (True, 1, False)
                kept = {device.alias for device in Layout(place.dump()).devices if device.tag == "interface"}
                assert kept == {"ua-nic0"} and ".raw" not in place.dump()
        finally:
            clients.close(conn)


def _growth(options: tuple[str, ...], devices: str, contradiction: str | None) -> int:
    """Return by how many KiB a daemon grows in rounds of define, be refused and undefine, after the first ones."""
    with daemons.held(*options) as uri:
        conn, before = connection.connect(uri), 0
        connection.sweep(conn)
        with definitions.defined(conn, "memory") as place:
            xml, contradicting = place.xml(devices), contradiction and place.xml(contradiction)
            for turn in range(_ROUNDS + _ROUNDS // 4):
                if turn == _ROUNDS // 4:
                    before = daemons.resident(daemons.pid(conn))
                defined = conn.defineXMLFlags(xml)
                if contradicting:
                    with refused(None):
                        conn.defineXMLFlags(contradicting)
                defined.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            grown = daemons.resident(daemons.pid(conn)) - before
        conn.close()
    return grown


@pytest.mark.timeout(900)
def test_memory() -> None:
    """Many rounds of define, be refused and undefine grow the daemon no more than stock libvirt's.

    Each of the three daemons has a host of its own, so that nobody else is its client.
    """
    used = domain("".join(nic(number, YES if number % 7 == 6 else "") for number in range(12)))
    contradiction = domain(nic(0, YES, address="<address type='pci' bus='0' slot='5'/>"))
    runs: list[tuple[tuple[str, ...], str, str | None]] = [
        (("--stock", "--host=st"), stripped(used), None),
        (("--host=un",), stripped(used), None),
        (("--host=us",), used, contradiction),
    ]
    with ThreadPoolExecutor() as pool:
        allowed, unused, grown = pool.map(lambda run: _growth(*run), runs)
    assert max(unused, grown) <= max(allowed, 0) + _LEAK_KIB, (
        f"by {unused} KiB without the settings and by {grown} KiB with them; stock by {allowed} KiB"
    )
