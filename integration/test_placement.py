"""Where libvirt puts devices: by the book, and never moving what is there.

The book is :func:`can_unplug`, written from what guests were measured to do (test_facts.py), not
from libvirt's flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle

import libvirt
import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from integration import definitions
from integration.definitions import Definition
from integration.layout import Device, Layout
from integration.pci import Address

OUR_CODES = (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED)
NO, YES = " hotplug='no'", " hotplug='yes'"
ALL_OFF = "<hotplug enable='no'/>"


def can_unplug(layout: Layout, address: Address) -> bool:
    """Say whether a guest can unplug what is at ``address``, alone or with a controller above it."""
    for controller in layout.path(address):
        if controller.model in ("pcie-root", "pcie-switch-upstream-port", "pcie-expander-bus"):
            continue
        ports = ("pcie-root-port", "pcie-switch-downstream-port", "pci-root")
        if not (controller.model in ports and controller.hotplug == "off"):
            return True
    return False


def can_plug(layout: Layout, address: Address) -> bool:
    """Say whether the slot at ``address`` is one that libvirt plugs devices into."""
    controller = layout.controllers[address.bus]
    bridges = ("pcie-to-pci-bridge", "pci-bridge", "pci-expander-bus")
    ports = ("pcie-root-port", "pcie-switch-downstream-port", "pci-root")
    return controller.model in bridges or (controller.model in ports and controller.hotplug != "off")


def domain(devices: str, feature: str = ALL_OFF) -> str:
    """Write a partial domain."""
    return f"<domain><features>{feature}</features><devices>{devices}</devices></domain>"


def nic(number: int, setting: str = "", model: str = "virtio", address: str = "") -> str:
    """Write a NIC whose alias tells its number."""
    return (
        f"<interface type='user'{setting}><mac address='52:54:00:00:{number >> 8:02x}:{number & 255:02x}'/>"
        f"<model type='{model}'/><alias name='ua-nic{number}'/>{address}</interface>"
    )


def hostdev(number: int) -> str:
    """Write an assigned device; it need not exist to be defined."""
    return (
        "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
        f"<address domain='0' bus='0xfe' slot='{number % 32}' function='{number // 32}'/></source>"
        f"<alias name='ua-host{number}'/></hostdev>"
    )


def addresses(xml: str) -> dict[str, Address]:
    """Give the addresses of all devices, by alias."""
    return {device.alias: device.address for device in Layout(xml).devices if device.alias}


def check(xml: str, stated: frozenset[Address] = frozenset()) -> Layout:
    """Assert that every device is where its setting wants it, each at an address of its own.

    A guest finds no function of a slot without function 0; only ``stated`` addresses may be so.
    """
    layout = Layout(xml)
    off = ALL_OFF in xml
    for device in layout.devices:
        setting = device.setting or ("no" if off else "")
        piix = "pci-root" in xml and device.address.bus == 0 and device.address.slot == 1
        if setting == "no" and not piix:
            assert not can_unplug(layout, device.address), f"{device} can be unplugged\n{xml}"
        if setting == "yes":
            assert can_plug(layout, device.address), f"{device} cannot be plugged\n{xml}"
    used = [device.address for device in layout.devices]
    used += [controller.address for controller in layout.controllers.values() if controller.address]
    assert len(used) == len(set(used)), f"double addresses\n{xml}"
    for address in set(used) - stated:
        first = Address(address.domain, address.bus, address.slot, 0)
        chipset = address.bus == 0 and address.slot in (0x1F, 1)
        assert first in used or chipset, f"{address} without function 0\n{xml}"
    return layout


def append(xml: str, devices: str) -> str:
    """Add devices to a whole domain."""
    return xml.replace("</devices>", devices + "</devices>")


def without(xml: str, alias: str) -> str:
    """Remove the NIC called ``alias`` from a whole domain."""
    kept = re.sub(rf"    <interface (?:(?!</interface>).)*'{alias}'.*?</interface>\n", "", xml, flags=re.DOTALL)
    assert kept != xml
    return kept


@pytest.fixture
def place(conn: libvirt.virConnect, request: pytest.FixtureRequest) -> Iterator[Definition]:
    """A place to define a domain at."""
    label = re.sub(r"\W+", "-", request.node.name)[:20]
    with definitions.place(conn, f"placement-{label}") as definition:
        yield definition


def test_more_devices_never_move_earlier_ones(place: Definition) -> None:
    """In fresh definitions of 1 to 200 devices each device is where it was with fewer."""
    before: dict[str, Address] = {}
    for count in [*range(1, 60), *range(60, 201, 7), 200]:
        xml = place.define(place.xml(domain("".join(map(nic, range(count))))))
        check(xml)
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
    check(xml)
    assert {alias: addresses(xml)[alias] for alias in before} == before


def test_one_define_at_a_time(place: Definition) -> None:
    """A hundred devices of mixed kinds, added one by one, and no address ever moves."""
    models = cycle(("virtio", "e1000e", "virtio", "e1000", "virtio", "igb"))
    xml = place.define(place.xml(domain("")))
    before: dict[str, Address] = {}
    for number in range(100):
        device = nic(number, YES if number % 7 == 6 else "", next(models))
        xml = place.define(append(xml, hostdev(number) if number % 11 == 5 else device))
        check(xml)
        now = addresses(xml)
        assert {alias: now[alias] for alias in before} == before
        before = now
    assert place.define(xml) == xml
    check(place.define(append(xml, nic(100, YES))))


def test_removing_from_a_shared_slot(place: Definition) -> None:
    """Whichever device of a shared slot is removed, the others stay and function 0 is there."""
    full = place.define(place.xml(domain("".join(map(nic, range(60))))))
    before = addresses(full)
    shared = [alias for alias, address in before.items() if address.slot == before["ua-nic59"].slot]
    assert len(shared) > 1
    for alias in shared:
        xml = place.define(without(full, alias))
        check(xml)
        assert addresses(xml) == {other: address for other, address in before.items() if other != alias}
        assert place.define(xml) == xml
        # and the hole is filled by the next one
        check(place.define(append(xml, nic(100))))


def test_own_off_ports_come_first(place: Definition) -> None:
    """Free ports with hotplug off that the user made are used before anything else."""
    port = "<controller type='pci' model='pcie-root-port'><target hotplug='off'/></controller>"
    given = domain("<controller type='pci' model='pcie-root'/>" + port * 3 + nic(0) + nic(1))
    layout = check(place.define(place.xml(given)))
    buses = [device.address.bus for device in layout.devices if device.tag == "interface"]
    assert [layout.controllers[bus].model for bus in buses] == ["pcie-root-port"] * 2


# Random domains. Devices are (XML with %s for attributes and address, can it carry the setting).
_RNG = "<rng model='virtio'%s><backend model='random'>/dev/urandom</backend>%s</rng>"
_DEVICES: dict[str, str] = {
    "rng": _RNG,
    "nic": "<interface type='user'%s><model type='virtio'/>%s</interface>",
    "e1000": "<interface type='user'%s><model type='e1000'/>%s</interface>",
    "e1000e": "<interface type='user'%s><model type='e1000e'/>%s</interface>",
    "igb": "<interface type='user'%s><model type='igb'/>%s</interface>",
    "iommu-on": "<interface type='user'%s><model type='virtio'/><driver iommu='on'/>%s</interface>",
    "transitional": "<interface type='user'%s><model type='virtio-transitional'/>%s</interface>",
    "scsi": "<controller type='scsi' model='virtio-scsi'%s>%s</controller>",
    "serial": "<controller type='virtio-serial'%s>%s</controller>",
    "xhci": "<controller type='usb' model='qemu-xhci'%s>%s</controller>",
    "sound": "<sound model='ich9'%s>%s</sound>",
    "ac97": "<sound model='ac97'%s>%s</sound>",
    "keyboard": "<input type='keyboard' bus='virtio'%s>%s</input>",
    "shmem": "<shmem name='%d'%s><model type='ivshmem-plain'/><size unit='M'>1</size>%s</shmem>",
    "hostdev": "<hostdev mode='subsystem' type='pci' managed='yes'%s><source>"
    "<address domain='0' bus='0xfd' slot='%d' function='0'/></source>%s</hostdev>",
    "optional": "<disk type='file' device='disk'%s><source file='/nowhere/%d' startupPolicy='optional'/>"
    "<target dev='%s' bus='virtio'/>%s</disk>",
}
_ONCE: dict[str, str] = {
    "balloon": "<memballoon model='virtio'%s>%s</memballoon>",
    "video": "<video%s><model type='virtio'/>%s</video>",
    "watchdog": "<watchdog model='i6300esb' action='none'%s>%s</watchdog>",
    "vsock": "<vsock model='virtio'%s><cid auto='yes'/>%s</vsock>",
    "sata": "<controller type='sata' index='0'%s>%s</controller>",
}
_CONTROLLERS = (
    "<controller type='pci' index='%d' model='pcie-root-port'/>",
    "<controller type='pci' index='%d' model='pcie-root-port'><target hotplug='off'/></controller>",
    "<controller type='pci' index='%d' model='pcie-root-port'><target hotplug='on'/></controller>",
    "<controller type='pci' index='%d' model='pcie-switch-upstream-port'/>",
    "<controller type='pci' index='%d' model='pcie-switch-downstream-port'><target hotplug='off'/></controller>",
    "<controller type='pci' index='%d' model='pcie-to-pci-bridge'/>",
    "<controller type='pci' index='%d' model='dmi-to-pci-bridge'/>",
    "<controller type='pci' index='%d' model='pci-bridge'/>",
)
_SETTING = st.sampled_from(["", "", NO, YES])
_ADDRESS = st.one_of(
    st.just(""),
    st.just(""),
    st.builds(
        "<address type='pci' bus='{:#x}' slot='{:#x}' function='{:#x}'/>".format,
        st.integers(0, 6),
        st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 0x10, 0x1F]),
        st.sampled_from([0, 0, 0, 1, 2, 7]),
    ),
)


@st.composite
def domains(draw: st.DrawFn) -> str:
    """Make up a domain."""
    pc = draw(st.integers(0, 4)) == 0
    parts: list[str] = []
    if not pc and draw(st.booleans()):
        parts.append("<controller type='pci' index='0' model='pcie-root'/>")
        models = draw(st.lists(st.sampled_from(_CONTROLLERS), max_size=6))
        parts += [model % number for number, model in enumerate(models, 1)]
    for number, kind in enumerate(draw(st.lists(st.sampled_from(sorted(_DEVICES)), max_size=12))):
        setting, address = draw(_SETTING), draw(_ADDRESS)
        copies = draw(st.sampled_from([1, 1, 1, 1, 30])) if kind in ("rng", "nic", "e1000") and not address else 1
        values: dict[str, tuple[object, ...]] = {
            "shmem": (number, setting, address),
            "hostdev": (setting, number, address),
            "optional": (setting, number, f"vd{chr(97 + number)}", address),
        }
        parts.append(_DEVICES[kind] % values.get(kind, (setting, address)) * copies)
    for kind in draw(st.lists(st.sampled_from(sorted(_ONCE)), unique=True)):
        parts.append(_ONCE[kind] % (draw(_SETTING), ""))
    feature = draw(st.sampled_from(["", ALL_OFF, ALL_OFF, "<hotplug enable='yes'/>"]))
    system = "<os><type arch='x86_64' machine='pc'>hvm</type></os>" if pc else ""
    return domain("".join(parts), feature).replace("<features>", system + "<features>")


def stripped(xml: str) -> str:
    """Remove the settings."""
    return re.sub(r"<hotplug [^>]*>| hotplug=.(?:yes|no).", "", xml)


def contradicts(given: str, plain: str) -> bool:
    """Say whether settings contradict what libvirt would do without them, or the domain is full."""
    layout, wanted = Layout(plain), Layout(given)
    off, pc = ALL_OFF in given, "machine='pc'" in given
    stated = {device.address: device for device in wanted.devices}
    builtin = re.search(r"<controller type='sata' index='0' hotplug='yes'", given)
    alone = pc and not off and NO in given

    def wrong(device: Device) -> bool:
        setting = device.setting or ("no" if off else "")
        # libvirt makes a port with hotplug off for it, on machines that have ports, if a port has such a slot
        made = not pc and device.address.bus not in (0, *wanted.controllers) and device.address.slot == 0
        unsafe = can_unplug(layout, device.address)
        return (setting == "no" and unsafe and not made) or (
            setting == "yes" and (made or not can_plug(layout, device.address))
        )

    clash = any(wrong(device) for address, device in stated.items() if address.bus in layout.controllers)
    slots = {item.address.slot for item in layout.children(0) if item.address}
    return (
        bool(builtin)
        or alone
        or clash
        or (pc and len(layout.devices) > 25)
        or len(slots) > 25
        or len(layout.devices) > 120
    )


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(partial=domains())
@example(partial=domain("<controller type='pci' index='0' model='pcie-root'/>" + _CONTROLLERS[3] % 1 + _RNG % ("", "")))
def test_random_domains(place: Definition, partial: str) -> None:
    """An accepted domain obeys its settings and is stable; a refused one is refused for a reason."""
    xml = place.xml(partial)
    note(xml)
    try:
        kept = place.define(xml)
    except libvirt.libvirtError as error:
        note(str(error))
        try:
            plain = place.define(place.xml(stripped(partial)))
        except libvirt.libvirtError:
            return  # wrong without the settings, too
        assert error.get_error_code() in OUR_CODES, error
        assert "hotplug" in str(error), error
        assert contradicts(xml.replace('"', "'").replace(" />", "/>"), plain), f"{error}\n{xml}"
        return
    check(kept, frozenset(device.address for device in Layout(xml).devices))
    assert place.define(kept) == kept
