"""No removal of one device moves another one, or leaves functions of a slot that no guest sees.

A device is removed with virsh detach-device --config, by redefining the domain without it, or, if it is a disk with a
startupPolicy whose file is missing, at start. All addresses here are chosen by libvirt; those of data/version-2 were
chosen by version 2 of the series, which put root ports beside devices. A file in data/removal is a domain from which
every single device is removed.

``RANDOM_REMOVALS=10000 ./run python3 -m pytest integration/tests/test_removal.py`` removes one device of as many
domains, other ones each time.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from hypothesis import event, given, note
from hypothesis import strategies as st

from integration.domains.arbitrary import domains, examples
from integration.domains.definitions import Definition
from integration.domains.devices import MACHINES, all_devices
from integration.domains.layout import Device, Layout
from integration.domains.pci import Address
from integration.domains.rewriting import without_addresses
from integration.domains.slots import behind_a_device, beside_a_device, ports, unseen
from integration.domains.snippets import ALL_OFF, MEMORY, NO, YES, addresses, cut, domain, nic, rng, stripped, without
from integration.oracle.rules import assert_placed
from integration.paths import DATA, NIGHTLY
from integration.tests.lives import edit_image

CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG
_NOT_DETACHED = ("sound", "video", "memballoon", "crypto", "pstore", "panic", "iommu", "watchdog")
"""Devices that libvirt cannot detach from a stored definition."""
_CONSOLE = re.compile("<console.*?</console>", re.DOTALL)
_STORED = sorted((DATA / "version-2").glob("*.xml"))


def _layout(xml: str) -> Layout:
    """Read a domain; a serial device is shown as a console, too."""
    return Layout(_CONSOLE.sub("", xml))


def _ours(xml: str) -> dict[str, Address]:
    """Return the addresses of our own devices; a running guest's XML has aliases of libvirt's as well."""
    return {alias: at for alias, at in addresses(xml).items() if alias.startswith("ua-")}


def _detach(place: Definition, full: str, device: Device) -> None:
    """Remove a device with virsh detach-device --config."""
    place.conn.lookupByUUIDString(place.uuid).detachDeviceFlags(cut(_CONSOLE.sub("", full), device.alias), CONFIG)


def _redefine(place: Definition, full: str, device: Device) -> None:
    """Remove a device as virsh edit does."""
    place.define(without(_CONSOLE.sub("", full), device.alias))


_WAYS = {"detach": _detach, "redefine": _redefine}


def _check(before: str, after: str, gone: Device) -> None:
    """Assert that nothing moved but what was removed, and that all which could be seen still can."""
    was, now = _layout(before), _layout(after)
    kept = {device.alias: device.address for device in was.devices if device.alias not in ("", gone.alias)}
    # A memory balloon or USB controller that is removed libvirt adds again, at another place.
    assert {device.alias: device.address for device in now.devices if device.alias} == kept, gone
    places = {index: controller.address for index, controller in now.controllers.items()}
    assert {index: places.get(index) for index in was.controllers} == {
        index: controller.address for index, controller in was.controllers.items()
    }, gone
    lost = unseen(now) - unseen(was)
    if gone.label.startswith("ich9-"):
        lost = {at for at in lost if not at.beside(gone.address)}  # the others of its set, as without the setting
    assert not lost, f"{gone} took these with it\n{after}"


def _removable(xml: str, way: str) -> list[Device]:
    """Return the devices that can be removed so. Of a USB2 set libvirt detaches the first one, whichever is meant."""
    devices = [device for device in _layout(xml).devices if device.alias]
    if way == "redefine":
        return devices
    return [one for one in devices if one.tag not in _NOT_DETACHED and not one.label.startswith("ich9-")]


def _remove_each(place: Definition, full: str, way: str) -> None:
    for device in _removable(full, way):
        assert place.define(full) == full
        _WAYS[way](place, full, device)
        after = place.dump()
        _check(full, after, device)
        assert place.define(after) == after


ways = pytest.mark.parametrize("way", _WAYS)


@ways
@pytest.mark.parametrize("path", sorted((DATA / "removal").glob("*.xml")), ids=lambda path: path.stem)
def test_each_device(place: Definition, path: Path, way: str) -> None:
    """Each device of a domain in turn."""
    full = place.define(place.xml(path.read_text()))
    assert_placed(_CONSOLE.sub("", full))
    assert beside_a_device(_layout(full)) == set()
    _remove_each(place, full, way)


def _kinds(machine: str, part: str) -> str:
    """Return a domain with one device of each kind that a machine has: of a third of them, or of all and some more."""
    names = [name for name, device in all_devices().items() if machine in device.machines]
    names = [name for name in names if "alone" not in all_devices()[name].special]
    names = [name for name in names if (not name.startswith("video-")) or name == "video-virtio"]
    names = [name for name in names if name != "nic-igb" or machine == "q35"]
    chosen = names if part == "all" else names[int(part) :: 3]
    numbers, written = iter(range(1, 250)), ""
    for name in chosen:
        elements = all_devices()[name].xml(number := next(numbers), "", "<alias name='ua-it'/>")
        written += re.sub("ua-it", lambda _, number=number: f"ua-{number}-{next(numbers)}", elements)  # type: ignore[misc]
    arch, kind = MACHINES[machine]
    system = f"<os><type arch='{arch}' machine='{kind}'>hvm</type></os>"
    memory = "" if machine == "virt" else MEMORY
    more = "".join(map(rng, range(40))) if part == "all" else ""
    return domain(written + more).replace("<features>", memory + system + "<features>")


@ways
@pytest.mark.parametrize("part", ["0", "1", "2", "all"])
@pytest.mark.parametrize("machine", ["q35", "virt"])
def test_each_kind(place: Definition, machine: str, part: str, way: str) -> None:
    """Each kind of device in turn, in slots of their own and in shared ones."""
    full = place.define(place.xml(_kinds(machine, part)))
    assert beside_a_device(_layout(full)) == set()
    shared = Counter((device.address.bus, device.address.slot) for device in _layout(full).devices)
    assert part != "all" or list(shared.values()).count(8) > 5
    _remove_each(place, full, way)


def test_ports_are_apart(place: Definition) -> None:
    """However many devices there are, no root port that libvirt adds is in a slot with a device."""
    for count in (*range(1, 40, 3), 60, 120, 190):
        devices = [*map(nic, range(count)), *(nic(300 + number, YES) for number in range(9))]
        layout = assert_placed(place.define(place.xml(domain("".join(devices)))))
        assert len(ports(layout)) == 9
        assert beside_a_device(layout) == set()


def test_stand_in_port_is_shared(place: Definition) -> None:
    """With the port that replaces a lost function 0 devices go on sharing a slot: those that are there, and more."""
    full = place.define(place.xml(domain("".join(map(nic, range(200))))))
    first = _layout(full).device("ua-nic199").address
    gone = next(
        device for device in _layout(full).devices if device.address.beside(first) and not device.address.function
    )
    place.define(without(full, gone.alias))
    (port,) = ports(_layout(place.dump()))
    assert port == gone.address
    xml = place.define(place.dump().replace("</devices>", "".join(map(nic, range(300, 314))) + "</devices>"))
    layout = assert_placed(xml)
    assert [device.alias for device in layout.devices if device.address.beside(port)]
    assert {alias: at for alias, at in addresses(xml).items() if alias in addresses(full)} == {
        alias: at for alias, at in addresses(full).items() if alias != gone.alias
    }


def test_setting_removed(place: Definition) -> None:
    """Without the setting shared slots stay as they are, and a lost function 0 is lost, as in libvirt without it."""
    full = place.define(place.xml(domain("".join(map(rng, range(60))))))
    plain = place.define(stripped(full))
    assert "hotplug=" not in plain and "<hotplug" not in plain
    assert addresses(plain) == addresses(full)
    slots = Counter(device.address.slot for device in _layout(plain).devices)
    gone = next(device for device in _layout(plain).devices if slots[device.address.slot] == 8)
    assert gone.address.function == 0
    _redefine(place, plain, gone)
    now = _layout(place.dump())
    assert unseen(now) == {device.address for device in now.devices if device.address.beside(gone.address)} != set()
    # and with the setting again they are seen again
    assert unseen(_layout(place.define(place.dump().replace("<features>", f"<features>{ALL_OFF}")))) == set()


def test_running_guest_is_left_alone(place: Definition, tmp_path: Path) -> None:
    """A guest that runs, or is restored, gets no port for a function 0 that is missing: its QEMU does not have one.

    The stored definition gets one at once, and the guest at its next start.
    """
    at = "<address type='pci' bus='0' slot='9' function='{}'{}/>"
    given = "".join(
        nic(number, address=at.format(number, "" if number else " multifunction='on'")) for number in range(3)
    )
    full = place.define(place.xml(domain(given)))
    stored, image = place.conn.lookupByUUIDString(place.uuid), str(tmp_path / "image")
    stored.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    live = _layout(stored.XMLDesc())
    _detach(place, full, live.device("ua-nic0"))
    assert _layout(stored.XMLDesc()).controllers == live.controllers
    (port,) = ports(_layout(place.dump()))
    assert port == live.device("ua-nic0").address
    stored.save(image)
    place.conn.restoreFlags(image, None, libvirt.VIR_DOMAIN_SAVE_PAUSED)
    assert _layout(stored.XMLDesc()).controllers == live.controllers
    assert _ours(stored.XMLDesc()) == _ours(full)
    stored.destroy()
    stored.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY)
    assert ports(_layout(stored.XMLDesc())) == {port}
    assert unseen(_layout(stored.XMLDesc())) == set()


def test_restored_without_function_0(place: Definition, tmp_path: Path) -> None:
    """A saved guest whose device has no function 0 before it is restored as it was, and gets no port."""
    alone = nic(0, address="<address type='pci' bus='0' slot='9' function='1'/>")
    place.define(place.xml(domain(alone, "")))
    stored, image = place.conn.lookupByUUIDString(place.uuid), tmp_path / "image"
    stored.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    before = _layout(stored.XMLDesc())
    stored.save(str(image))
    edit_image(image, "<interface type='user'>", f"<interface type='user'{NO}>")
    place.conn.restoreFlags(str(image), None, libvirt.VIR_DOMAIN_SAVE_PAUSED)
    assert NO in stored.XMLDesc()
    assert _layout(stored.XMLDesc()).controllers == before.controllers
    assert _ours(stored.XMLDesc()) == {"ua-nic0": before.device("ua-nic0").address}
    stored.destroy()


_OPTIONAL = (
    "<disk type='file' device='disk'{}><driver name='qemu' type='raw'/>"
    "<source file='/var/empty/missing' startupPolicy='optional'/><target dev='vd{}' bus='virtio'/>"
    "<alias name='ua-optional{}'/></disk>"
)


@pytest.mark.parametrize("setting", ["", NO, YES], ids=["as the domain", "no", "yes"])
@pytest.mark.parametrize("machine", ["q35", "virt"])
def test_missing_disk(place: Definition, machine: str, setting: str) -> None:
    """Disks that are missing at start leave nothing unseen, and nothing moves, in the guest as in the definition."""
    arch, kind = MACHINES[machine]
    optional = "".join(_OPTIONAL.format(setting, letter, letter) for letter in "abc")
    given = domain(optional + "".join(map(rng, range(60))) + nic(0) + nic(1, YES) + nic(2, YES))
    system = f"<os><type arch='{arch}' machine='{kind}'>hvm</type></os>"
    full = place.define(place.xml(given.replace("<features>", system + "<features>")))
    layout = assert_placed(full)
    running = place.conn.lookupByUUIDString(place.uuid)
    running.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY)
    live = _layout(running.XMLDesc())
    there = {alias: at for alias, at in _ours(full).items() if "optional" not in alias}
    assert _ours(running.XMLDesc()) == there
    assert unseen(live) == set()
    assert {index: port.address for index, port in live.controllers.items()} == {
        index: port.address for index, port in layout.controllers.items()
    }
    assert place.dump() == full


@pytest.mark.parametrize("path", _STORED, ids=lambda path: path.stem)
def test_version_2_loads(place: Definition, path: Path) -> None:
    """A definition whose addresses version 2 chose, with ports beside devices, stays exactly as it is."""
    given = place.xml(path.read_text())
    was = _layout(given)
    assert behind_a_device(was), f"{path} has no port that is lost with a device"
    stored = place.define(given)
    assert {device.alias: device.address for device in _layout(stored).devices} == {
        device.alias: device.address for device in was.devices
    }
    assert _layout(stored).controllers == was.controllers
    assert place.define(stored) == stored
    assert_placed(stored)


@ways
@pytest.mark.parametrize("path", _STORED, ids=lambda path: path.stem)
def test_version_2_is_repaired(place: Definition, path: Path, way: str) -> None:
    """When function 0 before such a port is removed, a port that is off takes its place."""
    full = place.define(place.xml(path.read_text()))
    first = {(at.bus, at.slot) for at in behind_a_device(_layout(full))}
    _remove_each(place, full, way)
    for device in _removable(full, way):
        if (device.address.bus, device.address.slot) in first and device.address.function == 0:
            place.define(full)
            _WAYS[way](place, full, device)
            (port,) = (port for port in _layout(place.dump()).controllers.values() if port.address == device.address)
            assert (port.model, port.hotplug) == ("pcie-root-port", "off")
            first.remove((device.address.bus, device.address.slot))
    assert not first


@pytest.mark.parametrize("path", _STORED, ids=lambda path: path.stem)
def test_version_2_was_without(place: Definition, path: Path) -> None:
    """A definition that lost function 0 while version 2 was there is repaired when it is defined again."""
    xml = path.read_text()
    at = min(behind_a_device(_layout(xml)))
    gone = next(device for device in _layout(xml).devices if device.address.beside(at) and device.address.function == 0)
    broken = place.xml(without(xml, gone.alias))
    assert at in unseen(_layout(broken))
    now = _layout(place.define(broken))
    assert unseen(now) == set()
    assert (
        now.controllers[next(index for index, port in now.controllers.items() if port.address == gone.address)].hotplug
        == "off"
    )


@pytest.fixture
def outcomes() -> Iterator[Counter[str]]:
    """The outcomes are counted, and each way must have had its share."""
    counted: Counter[str] = Counter()
    yield counted
    if counted.total() > 200:
        assert all(counted[way] > 0.2 * counted.total() for way in _WAYS), counted
        assert counted["function 0 of a shared slot"] > 0, counted


@pytest.mark.timeout(7200 if NIGHTLY else 900)
@examples("RANDOM_REMOVALS", usual=400, nightly=10000)
@given(partial=domains().map(without_addresses), way=st.sampled_from(sorted(_WAYS)), number=st.integers(0, 9999))
def test_random_removals(place: Definition, outcomes: Counter[str], partial: str, way: str, number: int) -> None:
    """One random device of a random domain whose addresses are libvirt's."""
    note(partial)
    try:
        full = place.define(place.xml(partial))
    except libvirt.libvirtError:
        return
    assert place.conn.isAlive()
    layout = _layout(full)
    if layout.default or layout.says_no:
        assert behind_a_device(layout) == set(), full
    chosen = _removable(full, way)
    if not chosen:
        return
    shared: dict[tuple[int, int], list[Device]] = defaultdict(list)
    for device in chosen:
        shared[device.address.bus, device.address.slot].append(device)
    # As often as not one that others depend on.
    first = [slot[0] for slot in shared.values() if len(slot) > 1 and slot[0].address.function == 0]
    device = (first if first and number % 2 else chosen)[number // 2 % len(first if first and number % 2 else chosen)]
    note(f"{way} {device}")
    try:
        _WAYS[way](place, full, device)
    except libvirt.libvirtError as error:
        # what else needs it: a USB device without its controller, a removed partner of a team
        note(str(error))
        assert place.conn.isAlive()
        assert place.dump() == full
        event("refused")
        return
    after = place.dump()
    _check(full, after, device)
    assert place.define(after) == after
    event(way)
    outcomes[way] += 1
    outcomes["function 0 of a shared slot"] += device in first
