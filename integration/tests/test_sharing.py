"""Which devices share a slot, and when: network cards last, ports only with ports, and no address changes later.

The numbers are those of docs/placement.md. A network card that is function 0 of a shared slot has another name in a
Linux guest than one that is alone: the first device that joins it renames it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache

import libvirt
import pytest

from integration.domains import definitions
from integration.domains.definitions import Definition
from integration.domains.devices import MACHINES, all_devices
from integration.domains.layout import Device, Layout
from integration.domains.pci import Address
from integration.domains.slots import beside_a_device, ports, unseen, used
from integration.domains.snippets import YES, addresses, append, domain, hostdev, nic, rng
from integration.oracle.rules import assert_placed
from integration.tests.refused import refused

_Kept = Callable[[str], frozenset[int]]

_MOST = 200
"""Protected devices for which there is room in any case."""
_STARTS, _LAST = 4, 2
"""Free slots at which devices begin to share, and those which are used last."""


def _on(machine: str, partial: str) -> str:
    arch, kind = MACHINES[machine]
    return partial.replace("<features>", f"<os><type arch='{arch}' machine='{kind}'>hvm</type></os><features>")


def _slots(layout: Layout) -> dict[int, list[Device]]:
    """Return the devices of each slot of the root bus that has one of ours, by function."""
    slots: dict[int, list[Device]] = defaultdict(list)
    for device in sorted(layout.devices, key=lambda one: one.address):
        if device.address.bus == 0:
            slots[device.address.slot].append(device)
    return {slot: there for slot, there in slots.items() if there[0].alias.startswith("ua-")}


def _free(layout: Layout, kept: frozenset[int]) -> int:
    """Count the free slots of a root bus on which ``kept`` are the chipset's and the first video card's."""
    taken = {address.slot for address in used(layout) if address.bus == 0}
    return len(set(range(1, 32)) - taken - kept)


@pytest.fixture(scope="module")
def kept(conn: libvirt.virConnect) -> _Kept:
    """The slots that protected devices never use: those which are free when there is no room any more."""

    @cache
    def on(machine: str) -> frozenset[int]:
        with definitions.defined(conn, "kept") as place:
            xml, number = place.define(place.xml(_on(machine, domain("".join(map(rng, range(_MOST))))))), _MOST
            while True:
                try:
                    xml = place.define(append(xml, rng(number)))
                except libvirt.libvirtError:
                    break
                number += 1
        never = frozenset(set(range(1, 32)) - {address.slot for address in used(Layout(xml)) if address.bus == 0})
        assert len(never) <= 3, "there is room, and it is not used"
        return never

    return on


def _obeys(layout: Layout, kept: frozenset[int]) -> None:
    """Assert the rules of docs/placement.md, "Sharing slots", for devices all of which may share."""
    slots, free = list(_slots(layout).values()), _free(layout, kept)
    with_card = [slot for slot in slots if len(slot) > 1 and slot[0].tag == "interface"]
    not_full = [slot for slot in slots if len(slot) < 8]
    not_full_and_no_card = [slot for slot in not_full if slot[0].tag != "interface"]
    assert max(map(len, slots)) == 1 or free <= _STARTS, "shared while there is room"
    assert free >= _STARTS or len(not_full_and_no_card) <= 1, "a slot was taken while another could be shared"
    assert not with_card or not not_full_and_no_card, "a card shares while others could"
    assert not with_card or free <= _LAST, "a card shares while there are more slots than two"
    assert free >= _LAST or len(not_full) <= 1, "the last two slots were taken too early"
    assert unseen(layout) == set()
    assert beside_a_device(layout) == set()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cards", [0, 1, 5, 24, 30, _MOST], ids=lambda cards: f"{cards} cards")
@pytest.mark.parametrize("machine", ["q35", "virt"])
def test_network_cards_share_last(place: Definition, kept: _Kept, machine: str, cards: int) -> None:
    """A slot with a network card as function 0 is shared when all other slots are full, and but two are taken."""
    for count in [*range(20, 60, 3), *range(60, _MOST + 1, 20), 215]:
        there = "".join(map(nic, range(min(cards, count)))) + "".join(map(rng, range(count - min(cards, count))))
        layout = assert_placed(place.define(place.xml(_on(machine, domain(there)))))
        assert sum(map(len, _slots(layout).values())) == count
        _obeys(layout, kept(machine))


def test_first_to_share(place: Definition, kept: _Kept) -> None:
    """One device more than there are slots of their own shares with a device that is no network card."""
    for count in range(2, 60):
        layout = Layout(place.define(place.xml(domain(nic(0) + nic(1) + "".join(map(rng, range(count)))))))
        if shared := [slot for slot in _slots(layout).values() if len(slot) > 1]:
            break
    assert [[device.tag for device in slot] for slot in shared] == [["rng", "rng"]]
    assert _free(layout, kept("q35")) == _STARTS


@pytest.mark.parametrize("own", [1, 6, 20])
@pytest.mark.parametrize("machine", ["q35", "virt"])
def test_slots_are_kept_for_those_that_cannot_share(place: Definition, kept: _Kept, machine: str, own: int) -> None:
    """Devices that come first begin to share early enough for those to have slots which cannot share one."""
    scsi, optional = all_devices()["scsi-virtio-scsi"], all_devices()["disk-optional"]
    last = "".join(optional.xml(number, "", f"<alias name='ua-optional{number}'/>") for number in range(1, own + 1))
    shared = 0
    for count in range(5, 8 * (24 - own), 9):
        # libvirt places network cards and controllers before disks.
        there = nic(0) + "".join(scsi.xml(number, "", f"<alias name='ua-scsi{number}'/>") for number in range(1, count))
        layout = assert_placed(place.define(place.xml(_on(machine, domain(there + last)))))
        alone = [slot for slot in _slots(layout).values() if any("optional" in device.alias for device in slot)]
        assert [len(slot) for slot in alone] == [1] * own
        assert len(_slots(layout)[layout.device("ua-nic0").address.slot]) == 1
        if max(map(len, _slots(layout).values())) > 1:
            shared += 1
            assert _free(layout, kept(machine)) <= _STARTS
    assert shared > 0


_KINDS = ("nic-virtio", "disk-virtio", "rng", "scsi-virtio-scsi", "filesystem-9p", "input-keyboard", "disk-optional")
_ROOM = {"disk-optional": 25}
"""How many fit; of most kinds more than 200, and 29 on i440fx."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("machine", MACHINES)
def test_append_moves_nothing(place: Definition, machine: str, kind: str) -> None:
    """In fresh definitions of 1 to 200 devices of a type each one is where it is with fewer of them."""
    device = all_devices()[kind]
    most = 29 if machine == "pc" else _ROOM.get(kind, _MOST)
    before: dict[str, Address] = {}
    for count in [*range(1, 40), *range(40, 200, 23), 200]:
        if count > most:
            break
        several = "".join(device.xml(number, "", f"<alias name='ua-{number}'/>") for number in range(1, count + 1))
        xml = place.define(place.xml(_on(machine, domain(several))))
        now = addresses(xml)
        assert {alias: now[alias] for alias in before} == before
        before = now
    assert len(before) == most
    assert_placed(xml)


def _one_by_one(place: Definition, xml: str, devices: list[str]) -> str:
    before = addresses(xml)
    for device in devices:
        xml = place.define(append(xml, device))
        now = addresses(xml)
        assert {alias: now[alias] for alias in before} == before, device
        before = now
    return xml


def test_stored_and_appended(place: Definition, kept: _Kept) -> None:
    """Devices that are added to a stored domain, of all sorts, move none that is there, and share as they would."""
    xml = place.define(place.xml(domain(nic(0) + rng(0))))
    sorts: list[Callable[[int], str]] = [rng, nic, rng, rng, rng, nic, rng]
    xml = _one_by_one(place, xml, [sorts[number % 7](number) for number in range(1, 130)])
    _obeys(assert_placed(xml), kept("q35"))
    assert place.define(xml) == xml
    slot = Layout(xml).device("ua-nic0").address.slot
    assert len(_slots(Layout(xml))[slot]) == 1, "the first card got company while others could share"


_IN_CHIPSET_SLOTS = (
    "".join(f"<controller type='usb' index='0' model='ich9-{kind}'/>" for kind in ("ehci1", "uhci1", "uhci2", "uhci3"))
    + "<sound model='ich9'/><video><model type='vga'/></video>"
)


@pytest.mark.parametrize("device", [rng, nic], ids=["no cards", "all cards"])
@pytest.mark.parametrize("removable", [nic, hostdev], ids=["removable", "assigned"])
def test_capacity(place: Definition, device: Callable[[int], str], removable: Callable[[int], str]) -> None:
    """After 200 protected devices, a video card, a USB2 set and ICH9 sound there is room for exactly 16 root ports."""
    xml = place.define(place.xml(domain(_IN_CHIPSET_SLOTS + "".join(map(device, range(_MOST))))))
    before = addresses(xml)
    for number in range(300, 316):
        one = nic(number, YES) if removable is nic else hostdev(number - 300)
        xml = place.define(append(xml, one))
        layout = assert_placed(xml)
    assert len(ports(layout)) == 16
    assert beside_a_device(layout) == set()
    assert {alias: addresses(xml)[alias] for alias in before} == before
    one = nic(316, YES) if removable is nic else hostdev(16)
    with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "slot"):
        place.define(append(xml, one))
    assert place.dump() == xml
    at_once = domain(
        _IN_CHIPSET_SLOTS + "".join(map(device, range(_MOST))) + "".join(nic(n, YES) for n in range(300, 316))
    )
    assert len(ports(assert_placed(place.define(place.xml(at_once))))) == 16


def test_ports_come_after_the_last_one(place: Definition) -> None:
    """Ports that a stored domain gets one by one are each after the last one, and buses keep their numbers."""
    xml = place.define(place.xml(domain("".join(map(rng, range(60))))))
    last: Address | None = None
    for number in range(300, 312):
        before = {index: port.address for index, port in Layout(xml).controllers.items()}
        xml = _one_by_one(place, xml, [nic(number, YES), rng(number)])
        layout = Layout(xml)
        port = layout.controllers[layout.device(f"ua-nic{number}").address.bus].address
        assert port and (last is None or last < port)
        assert {index: layout.controllers[index].address for index in before} == before
        last = port
    assert beside_a_device(layout) == set()
