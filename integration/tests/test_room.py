"""Errors that say there is no room: only where that is true, naming the device, and what they advise helps."""

from __future__ import annotations

import libvirt
import pytest

from integration.domains.definitions import Definition
from integration.domains.layout import Layout
from integration.domains.snippets import ALL_OFF, PC, YES, addresses, append, domain, hostdev, nic, rng
from integration.oracle.rules import assert_placed
from integration.tests.refused import refused

_UNSUPPORTED = libvirt.VIR_ERR_CONFIG_UNSUPPORTED
_PORT = "<controller type='pci' model='pcie-root-port'/>"
_ROOT = "<controller type='pci' index='0' model='pcie-root'/>"


def _pc(devices: str) -> str:
    return domain(devices).replace("<features>", PC + "<features>")


_ENOUGH_ROOM = {
    "a bridge without a port": domain(
        "<controller type='pci' index='1' model='pcie-to-pci-bridge'/>"
        "<interface type='user'><model type='rtl8139'/></interface>"
    ),
    "a root port on i440fx": _pc("<controller type='pci' index='1' model='pcie-root-port'/>"),
    "a downstream port without its switch": domain(
        _ROOT + "<controller type='pci' index='1' model='pcie-switch-downstream-port'/>"
    ),
    "an upstream port without a root port": domain(
        _ROOT
        + "<controller type='pci' index='1' model='pcie-root-port'><target hotplug='off'/></controller>"
        + "<controller type='pci' index='2' model='pcie-switch-upstream-port'>"
        "<address type='pci' bus='1'/></controller><controller type='pci' index='3' model='pci-bridge'/>"
    ),
    "an expander bus of the other kind": domain(
        _ROOT + "<controller type='pci' index='1' model='pci-expander-bus'><target busNr='64'/></controller>"
    ),
}
"""Domains that lack something else than room."""


@pytest.mark.parametrize("given", _ENOUGH_ROOM.values(), ids=_ENOUGH_ROOM)
def test_libvirts_own_words(place: Definition, given: str) -> None:
    """A domain that libvirt refuses without the setting is refused with the same error with it, or accepted."""
    with refused(None) as without:
        place.define(place.xml(given.replace(ALL_OFF, "")))
    try:
        assert_placed(place.define(place.xml(given)))
    except libvirt.libvirtError as error:
        assert (error.get_error_code(), str(error)) == (without.code, without.text)


@pytest.mark.parametrize(("ports", "devices"), [(134, 130), (216, 40), (8 * 27, 20)])
def test_free_ports_fill_the_root_bus(place: Definition, ports: int, devices: int) -> None:
    """Where free root ports take the room the error says so, and removing them is what helps."""
    there = "".join(map(rng, range(devices)))
    with refused(_UNSUPPORTED, "pcie-root-port", "remove") as refusal:
        place.define(place.xml(domain(_ROOT + _PORT * ports + there)))
    assert "index='" in refusal.text or "'ua-rng" in refusal.text, f"which device found no slot? {refusal}"
    layout = assert_placed(place.define(place.xml(domain(_ROOT + _PORT * 8 + there))))
    assert len(addresses(place.dump())) == devices
    assert len(layout.controllers) == 9


def test_ports_of_which_all_fit(place: Definition) -> None:
    """Root ports are not refused while there is room for them: 32, beside any number of devices up to 180."""
    for count in (1, 30, 100, 180):
        layout = assert_placed(place.define(place.xml(domain(_ROOT + _PORT * 32 + "".join(map(rng, range(count)))))))
        assert len(layout.controllers) == 33


def test_full_root_bus_names_who_needs_a_port(place: Definition) -> None:
    """An assigned device for whose port there is no room is named."""
    full = place.define(place.xml(domain("".join(map(rng, range(200))))))
    number = 0
    for number in range(64):
        try:
            full = place.define(append(full, hostdev(number)))
            assert_placed(full)
        except libvirt.libvirtError as error:
            assert error.get_error_code() == _UNSUPPORTED
            assert f"ua-host{number}'" in str(error) and "slot" in str(error), error
            break
    else:
        pytest.fail("there is no end to the room")
    assert number >= 16
    assert place.dump() == full


_VIDEO = "<video><model type='vga'/><alias name='ua-video'/></video>"


@pytest.mark.parametrize(("more", "room"), [("", 30), (_VIDEO, 29)], ids=["no video", "video"])
def test_i440fx_room(place: Definition, more: str, room: int) -> None:
    """An i440fx domain has room for 30 protected devices, or for 29 and a video card; one more is named."""
    full = place.define(place.xml(_pc(more + "".join(map(rng, range(room))))))
    assert_placed(full)
    assert len(addresses(full)) == room + bool(more)
    with refused(_UNSUPPORTED, f"'ua-rng{room}'"):
        place.define(append(full, rng(room)))
    assert place.dump() == full


@pytest.mark.parametrize(("more", "room"), [("", 30), (_VIDEO, 29)], ids=["no video", "video"])
def test_i440fx_room_for_a_bridge(place: Definition, more: str, room: int) -> None:
    """A removable device for whose bridge no slot is left is named, and the bridge is."""
    full = place.define(place.xml(_pc(more + "".join(map(rng, range(room))))))
    for xml in (append(full, nic(1, YES)), place.xml(_pc(more + "".join(map(rng, range(room))) + nic(1, YES)))):
        with refused(_UNSUPPORTED) as refusal:
            place.define(xml)
        assert "52:54:00:00:00:01" in refusal.text or "ua-nic1" in refusal.text, refusal
        assert "bridge" in refusal.text or "PCI controller" in refusal.text, refusal
    assert place.dump() == full
    # With a slot for the bridge both fit.
    fits = place.define(place.xml(_pc(more + "".join(map(rng, range(room - 1))) + nic(1, YES))))
    assert Layout(fits).device("ua-nic1").address.bus == 1


def test_room_is_the_same_when_defined_again(place: Definition) -> None:
    """As many devices fit one after the other as fit at once."""
    one_by_one = place.define(place.xml(domain("".join(map(rng, range(190))))))
    count = 190
    for count in range(190, 260):
        try:
            one_by_one = place.define(append(one_by_one, rng(count)))
        except libvirt.libvirtError:
            break
    at_once = place.define(place.xml(domain("".join(map(rng, range(count))))))
    assert addresses(at_once) == addresses(one_by_one)
    with refused(None, f"'ua-rng{count}'"):
        place.define(place.xml(domain("".join(map(rng, range(count + 1))))))
