"""Where libvirt puts devices: by the rules (oracle/rules.py), and never moving what is there."""

from __future__ import annotations

from itertools import cycle

import libvirt
import pytest

from integration.domains.definitions import Definition
from integration.domains.pci import Address
from integration.domains.snippets import YES, addresses, append, domain, hostdev, nic, without
from integration.oracle.rules import assert_placed
from integration.tests.refused import refused

_PORT_ON = "<controller type='pci' index='1' model='pcie-root-port'/>"
_PORT_OFF = "<controller type='pci' index='2' model='pcie-root-port'><target hotplug='off'/></controller>"


def test_more_devices_never_move_earlier_ones(place: Definition) -> None:
    """In fresh definitions of 1 to 200 devices each device is where it was with fewer."""
    before: dict[str, Address] = {}
    for count in [*range(1, 60), *range(60, 201, 7), 200]:
        xml = place.define(place.xml(domain("".join(map(nic, range(count))))))
        assert_placed(xml)
        now = addresses(xml)
        assert {alias: now[alias] for alias in before} == before
        before = now
    assert len(before) == 200


def test_there_is_room_after_200(place: Definition) -> None:
    """After 200 devices that cannot be unplugged there still is a port for each of 16 that can."""
    xml = place.define(place.xml(domain("".join(map(nic, range(200))))))
    before = addresses(xml)
    for number in range(200, 216):
        xml = place.define(append(xml, nic(number, YES)))
    assert_placed(xml)
    assert {alias: addresses(xml)[alias] for alias in before} == before


def test_no_room_for_ports(place: Definition) -> None:
    """A root bus so full that no port fits is said to be that."""
    given = place.xml(domain("".join(map(nic, range(216)))))
    before = place.define(append(given, "".join(nic(number, YES) for number in range(216, 224))))
    assert_placed(before)
    with refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "no slot left on the root bus"):
        place.define(append(before, "".join(nic(number, YES) for number in range(224, 248))))
    assert place.dump() == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [([(8, 0)], (8, 1)), ([(0x1E, 0), (0x1E, 7)], (1, 0))],
    ids=["after the last", "none is left"],
)
def test_where_a_port_is_added(place: Definition, given: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    """A port comes after the last one, as before others it would renumber their buses; or else where there is room."""
    port = "<controller type='pci' model='pcie-root-port'><address type='pci' slot='%d' function='%d'/></controller>"
    ports = "".join(port % at for at in given)
    three = "".join(nic(number, YES) for number in range(3))
    xml = domain("<controller type='pci' model='pcie-root'/>" + ports + three)
    layout = assert_placed(place.define(place.xml(xml)))
    found = [port.address for port in layout.controllers.values() if port.model == "pcie-root-port" and port.address]
    assert [(address.slot, address.function) for address in found][: len(given) + 1] == [*given, expected]


def test_one_define_at_a_time(place: Definition) -> None:
    """A hundred devices of mixed kinds, added one by one, and no address ever moves."""
    models = cycle(("virtio", "e1000e", "virtio", "e1000", "virtio", "igb"))
    xml = place.define(place.xml(domain("")))
    before: dict[str, Address] = {}
    for number in range(100):
        device = nic(number, YES if number % 13 == 6 else "", next(models))
        xml = place.define(append(xml, hostdev(number) if number % 19 == 5 else device))
        assert_placed(xml)
        now = addresses(xml)
        assert {alias: now[alias] for alias in before} == before
        before = now
    assert place.define(xml) == xml
    assert_placed(place.define(append(xml, nic(100, YES))))


def test_removing_from_a_shared_slot(place: Definition) -> None:
    """Whichever device of a shared slot is removed, the others stay and function 0 is there."""
    full = place.define(place.xml(domain("".join(map(nic, range(60))))))
    before = addresses(full)
    shared = [alias for alias, address in before.items() if address.slot == before["ua-nic59"].slot]
    assert len(shared) > 1
    for alias in shared:
        xml = place.define(without(full, alias))
        assert_placed(xml)
        assert addresses(xml) == {other: address for other, address in before.items() if other != alias}
        assert place.define(xml) == xml
        # and the hole is filled by the next one
        assert_placed(place.define(append(xml, nic(100))))


def test_slots_that_are_not_shared(place: Definition) -> None:
    """However many devices there are, none is in a slot of the chipset, of a USB2 set, or of the first video card."""
    usb2 = "".join(f"<controller type='usb' index='0' model='ich9-{kind}'/>" for kind in ("ehci1", "uhci1", "uhci2"))
    others = usb2 + "<sound model='ich9'/><video><model type='vga'/></video><controller type='sata' index='0'/>"
    # The second time their addresses are given.
    few = place.define(place.xml(domain(others + "".join(map(nic, range(100))))))
    layout = assert_placed(place.define(append(few, "".join(map(nic, range(100, 214))))))
    theirs = {device.address.slot for device in layout.devices if not device.alias.startswith("ua-nic")}
    assert {0x01, 0x1B, 0x1D, 0x1F} <= theirs
    assert not theirs & {layout.device(f"ua-nic{number}").address.slot for number in range(214)}


def test_only_who_needs_a_port_gets_one(place: Definition) -> None:
    """Free ports with hotplug off are for devices that need one; all others are placed on the root bus."""
    given = domain(_PORT_OFF.replace("2", "1") + nic(0) + nic(1, model="igb"))
    layout = assert_placed(place.define(place.xml(given)))
    models = [layout.controllers[layout.device(f"ua-nic{number}").address.bus].model for number in range(2)]
    assert models == ["pcie-root", "pcie-root-port"]
    assert layout.device("ua-nic1").address.bus == 1


def test_a_bridge_and_a_device_for_the_off_port(place: Definition) -> None:
    """A bridge without an address takes the first port, and an assigned device the next one, which is off."""
    bridge = "<controller type='pci' index='3' model='pcie-to-pci-bridge'/>"
    xml = place.define(place.xml(domain(_PORT_ON + _PORT_OFF + bridge + hostdev(0))))
    layout = assert_placed(xml)
    assert layout.device("ua-host0").address.bus == 2
    assert sorted(layout.controllers) == [0, 1, 2, 3]


def test_a_downstream_port_without_a_switch(place: Definition) -> None:
    """It is refused with libvirt's own error, as without the series."""
    port = "<controller type='pci' index='1' model='pcie-switch-downstream-port'/>"
    with refused(None, "is needed to connect ", " model='pcie-switch-downstream-port'"):
        place.define(place.xml(domain(port)))


def test_assigned_devices_get_off_ports(place: Definition) -> None:
    """Devices of the host get ports with hotplug off at once. They are only defined: there is no device to assign."""
    nic_hostdev = (
        "<interface type='hostdev' managed='yes'><source><address type='pci' domain='0' bus='0xfd' slot='1' "
        "function='0'/></source><alias name='ua-nic'/></interface>"
    )
    layout = assert_placed(place.define(place.xml(domain(hostdev(0) + hostdev(1) + nic_hostdev))))
    for alias in ("ua-host0", "ua-host1", "ua-nic"):
        port = layout.controllers[layout.device(alias).address.bus]
        assert (port.model, port.hotplug) == ("pcie-root-port", "off"), alias
