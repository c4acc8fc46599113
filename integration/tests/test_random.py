"""Random domains: accepted ones obey the rules (oracle/rules.py), refused ones are refused for a reason.

``RANDOM_DOMAINS=10000 ./run python3 -m pytest integration/tests/test_random.py`` makes up other ones each
time, and as many. Machine types whose QEMU is not here (riscv64, loongarch64, ppc64, s390x) are left
to libvirt's own qemuxmlconftest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

import libvirt
import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from integration.domains import domxml
from integration.domains.definitions import Definition
from integration.domains.domxml import attribute
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.domains.snippets import ALL_OFF, NO, YES, stripped
from integration.oracle.rules import assert_placed, can_plug, can_unplug, never_unplugs

OUR_CODES = (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED)
_COUNT = os.environ.get("RANDOM_DOMAINS", "")

# {h} is the attribute, {a} the address, {n} a number that no other device of the domain has.
ANY: dict[str, str] = {
    "rng": "<rng model='virtio'{h}><backend model='random'>/dev/urandom</backend>{a}</rng>",
    "nic": "<interface type='user'{h}><model type='virtio'/>{a}</interface>",
    "e1000": "<interface type='user'{h}><model type='e1000'/>{a}</interface>",
    "e1000e": "<interface type='user'{h}><model type='e1000e'/>{a}</interface>",
    "igb": "<interface type='user'{h}><model type='igb'/>{a}</interface>",
    "iommu-on": "<interface type='user'{h}><model type='virtio'/><driver iommu='on'/>{a}</interface>",
    "transitional": "<interface type='user'{h}><model type='virtio-transitional'/>{a}</interface>",
    "non-transitional": "<interface type='user'{h}><model type='virtio-non-transitional'/>{a}</interface>",
    "scsi": "<controller type='scsi' index='{n}' model='virtio-scsi'{h}>{a}</controller>",
    "serial": "<controller type='virtio-serial' index='{n}'{h}>{a}</controller>",
    "xhci": "<controller type='usb' index='{n}' model='qemu-xhci'{h}>{a}</controller>",
    "keyboard": "<input type='keyboard' bus='virtio'{h}>{a}</input>",
    "shmem": "<shmem name='s{n}'{h}><model type='ivshmem-plain'/><size unit='M'>1</size>{a}</shmem>",
    "hostdev": "<hostdev mode='subsystem' type='pci' managed='yes'{h}><source>"
    "<address domain='0' bus='0xfd' slot='{n}' function='0'/></source>{a}</hostdev>",
    "disk": "<disk type='file' device='disk'{h}><source file='/nowhere/{n}'/>"
    "<target dev='vd{letters}' bus='virtio'/>{a}</disk>",
    "optional": "<disk type='file' device='disk'{h}><source file='/nowhere/{n}' startupPolicy='optional'/>"
    "<target dev='vd{letters}' bus='virtio'/>{a}</disk>",
    "pci-serial": "<serial type='null'{h}><target type='pci-serial' port='{n}'/>{a}</serial>",
}
X86: dict[str, str] = {
    "sound": "<sound model='ich9'{h}>{a}</sound>",
    "ac97": "<sound model='ac97'{h}>{a}</sound>",
    "ehci": "<controller type='usb' index='{n}' model='ich9-ehci1'{h}>{a}</controller>",
    "sata-1": "<controller type='sata' index='{n}'{h}>{a}</controller>",
}
ONCE: dict[str, str] = {
    "balloon": "<memballoon model='virtio'{h}>{a}</memballoon>",
    "video": "<video{h}><model type='virtio'/>{a}</video>",
    "watchdog": "<watchdog model='i6300esb' action='none'{h}>{a}</watchdog>",
    "vsock": "<vsock model='virtio'{h}><cid auto='yes'/>{a}</vsock>",
    # a pair: the second one is unplugged for migration
    "teaming": "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/>"
    "<teaming type='persistent'/><alias name='ua-team'/></interface>"
    "<interface type='hostdev' managed='yes'{h}><mac address='52:54:00:00:00:01'/><source>"
    "<address type='pci' domain='0' bus='0xfc' slot='1' function='0'/></source>"
    "<teaming type='transient' persistent='ua-team'/>{a}</interface>",
}
ONCE_Q35: dict[str, str] = {
    "sata": "<controller type='sata' index='0'{h}>{a}</controller>",
    "intel-iommu": "<iommu model='intel'/>",
    "virtio-iommu": "<iommu model='virtio'{h}/>",
}
FEW = ("ehci", "sata-1", "disk", "optional", "pci-serial", "hostdev", "shmem")
"""Devices of which one domain cannot have many, or which are numbered."""

# Each PCIe controller, and those that it plugs into.
PARENTS: dict[str, tuple[str, ...]] = {
    "pcie-root-port": ("pcie-root", "pcie-expander-bus"),
    "pcie-expander-bus": ("pcie-root",),
    "pcie-switch-upstream-port": ("pcie-root-port", "pcie-switch-downstream-port"),
    "pcie-switch-downstream-port": ("pcie-switch-upstream-port",),
    "pcie-to-pci-bridge": ("pcie-root-port", "pcie-switch-downstream-port", "pcie-root"),
    "dmi-to-pci-bridge": ("pcie-root", "pcie-expander-bus"),
    "pci-bridge": ("dmi-to-pci-bridge", "pcie-to-pci-bridge"),
}
_HOTPLUG = st.sampled_from(["", "", "<target hotplug='off'/>", "<target hotplug='off'/>", "<target hotplug='on'/>"])
_SETTING = st.sampled_from(["", "", NO, YES])
_FIRMWARE = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"


def _pci(bus: int, slot: int, function: int = 0, more: str = "") -> str:
    return f"<address type='pci' bus='{bus:#x}' slot='{slot:#x}' function='{function:#x}'{more}/>"


@dataclass
class Topology:
    """Controllers that a domain states: their XML and models, and the slots that are taken."""

    parts: list[str]
    models: list[str]
    taken: set[tuple[int, int]] = field(default_factory=set)

    def slot(self, draw: st.DrawFn, bus: int) -> int:
        """Choose a slot of a bus; for one without a stated controller any is as good."""
        model = self.models[bus] if bus < len(self.models) else ""
        if model.endswith(("root-port", "downstream-port")):
            return 0
        slots = {"pcie-root": range(2, 31), "pci-root": range(3, 32), "": (0, 0, 1)}.get(model, range(1, 6))
        return draw(st.sampled_from(slots))


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Make up PCIe controllers, each below an earlier one that it fits, if its place is said at all."""
    made = Topology(["<controller type='pci' index='0' model='pcie-root'/>"], ["pcie-root"])
    for index in range(1, draw(st.integers(0, 8)) + 1):
        fitting = sorted(model for model, above in PARENTS.items() if set(above) & set(made.models))
        model = draw(st.sampled_from([*fitting, "pcie-root-port", "pcie-root-port"]))
        target = draw(_HOTPLUG) if model.endswith(("root-port", "downstream-port")) else ""
        if model == "pcie-expander-bus":
            target = f"<target busNr='{60 + 20 * index}'/>"
        address = ""
        if draw(st.booleans()):
            bus = draw(st.sampled_from([i for i, above in enumerate(made.models) if above in PARENTS[model]]))
            slot = made.slot(draw, bus)
            if (bus, slot) not in made.taken:
                made.taken.add((bus, slot))
                address = _pci(bus, slot)
        number = "" if draw(st.integers(0, 9)) == 0 else f" index='{index}'"
        made.parts.append(f"<controller type='pci'{number} model='{model}'>{target}{address}</controller>")
        made.models.append(model)
    return made


@st.composite
def domains(draw: st.DrawFn) -> str:
    """Make up a domain. Each of its devices has an alias."""
    machine = draw(st.sampled_from(["q35", "q35", "q35", "pc", "virt"]))
    kinds = ANY | ({} if machine == "virt" else X86)
    once = ONCE | (ONCE_Q35 if machine == "q35" else {})
    numbers = iter(range(1, 1000))
    if machine != "pc":
        topology = draw(st.one_of(st.just(Topology([], ["pcie-root"])), topologies()))
    else:
        root = f"<controller type='pci' index='0' model='pci-root'>{draw(_HOTPLUG)}</controller>"
        bridge = "<controller type='pci' index='1' model='pci-bridge'/>"
        parts = draw(st.sampled_from([[], [], [root], [root, bridge], [bridge]]))
        topology = Topology(parts, ["pci-root", "pci-bridge"])
    parts = list(topology.parts)

    def device(pattern: str, setting: str, address: str) -> str:
        number = next(numbers)
        letters = chr(97 + number // 26 % 26) + chr(97 + number % 26)
        return pattern.format(h=setting, a=f"{address}<alias name='ua-{number}'/>", n=number, letters=letters)

    def anywhere() -> str:
        if draw(st.integers(0, 2)):
            return ""
        bus = draw(st.integers(0, len(topology.models)))
        slot = topology.slot(draw, bus)
        if (bus, slot) in topology.taken:
            return ""
        topology.taken.add((bus, slot))
        more = draw(st.sampled_from(["", "", " multifunction='on'", " multifunction='off'"]))
        return _pci(bus, slot, draw(st.sampled_from([0, 0, 0, 0, 0, 1, 7])), more)

    for kind in draw(st.lists(st.sampled_from(sorted(kinds)), max_size=12)):
        setting, address = draw(_SETTING), anywhere()
        copies = draw(st.sampled_from([1, 1, 1, 1, 1, 1, 30, 90])) if kind not in FEW and not address else 1
        parts += [device(kinds[kind], setting, address) for _ in range(copies)]
    # slots of several functions, whose devices may differ in their settings
    for _ in range(draw(st.integers(0, 2))):
        bus = draw(st.integers(0, len(topology.models) - 1))
        slot = topology.slot(draw, bus)
        if (bus, slot) in topology.taken:
            continue
        topology.taken.add((bus, slot))
        for function in draw(st.lists(st.integers(0, 7), unique=True, min_size=1, max_size=4)):
            more = " multifunction='on'" if function == 0 else ""
            kind = draw(st.sampled_from(["rng", "nic", "e1000e", "scsi", "optional"]))
            parts.append(device(kinds[kind], draw(_SETTING), _pci(bus, slot, function, more)))
    chosen = draw(st.lists(st.sampled_from(sorted(once)), unique=True, max_size=4))
    parts += [device(once[kind], draw(_SETTING), "") for kind in chosen]
    feature = draw(st.sampled_from(["", ALL_OFF, ALL_OFF, "<hotplug enable='yes'/>"]))
    firmware = _FIRMWARE if machine != "pc" and draw(st.integers(0, 4)) == 0 else ""
    arch = "aarch64" if machine == "virt" else "x86_64"
    system = f"<os><type arch='{arch}' machine='{machine}'>hvm</type>{firmware}</os>"
    apic = "<ioapic driver='qemu'/>" if "intel-iommu" in chosen else ""
    return f"<domain>{system}<features>{feature}{apic}</features><devices>{''.join(parts)}</devices></domain>"


def _devices(xml: str) -> list[Element]:
    """Give the elements of the devices that may have a PCI address."""
    everything = domxml.parse(xml).iterfind("devices/*")
    return [item for item in everything if not (item.tag == "controller" and item.get("type") == "pci")]


def _buses(given: str) -> set[int]:
    """Give the indexes of the PCI controllers that a domain states; one without gets the lowest that is free."""
    stated = [item.get("index") for item in domxml.parse(given).iterfind("devices/controller[@type='pci']")]
    buses = {int(index) for index in stated if index is not None}
    for _ in range(stated.count(None)):
        buses.add(next(index for index in range(len(stated) + 1) if index not in buses))
    return buses | {0}


def clash(given: str, plain: str) -> bool:
    """Say whether a setting contradicts an address or another setting, given the domain as it is without settings."""
    layout, wanted, buses = Layout(plain), Layout(given), _buses(given)
    layout.says_no = wanted.says_no
    root = layout.controllers[0]
    pc = root.model == "pci-root"
    if pc and wanted.says_no and (root.hotplug == "on" if wanted.default else root.hotplug != "off"):
        return True
    for device in _devices(given):
        setting = device.get("hotplug") or wanted.default
        chipset = device.get("type") == "sata" and device.get("index") == "0" and not pc
        if setting == "yes" and (never_unplugs(device) or chipset):
            return True
        if setting == "no" and attribute(device, "teaming", "type") == "transient":
            return True
        if setting == "no" and attribute(device, "model", "type") == "igb" and not layout.x86:
            return True
        at = Address.of(device)
        if not at or at.function or not attribute(device, "source", "startupPolicy"):
            continue
        beside = [other for other in wanted.devices if other.address != at and other.address.beside(at)]
        if any((other.setting or wanted.default) == "no" for other in beside):
            return True
    for stated in wanted.devices:
        setting, bus = stated.setting or wanted.default, stated.address.bus
        if bus not in layout.controllers:
            continue  # there is none in the domain without settings, either
        # libvirt makes a port for it, on machines that have ports, if a port has such a slot: on q35 an off one
        made = not pc and layout.x86 and bus not in buses and stated.address.slot == 0
        root_off = pc and bus == 0 and wanted.default == "no"
        unsafe = can_unplug(layout, stated.address) and not root_off
        if setting == "no" and unsafe and not made:
            return True
        if setting == "yes" and (root_off or not can_plug(layout, stated.address)):
            return True
    return False


def _wants_a_port(device: Element, setting: str) -> bool:
    """Say whether a device may need a port of its own, not just one function of a slot."""
    return (
        setting != "no"
        or "hostdev" in (device.tag, device.get("type"))
        or attribute(device, "model", "type") == "igb"
        or attribute(device, "driver", "ats") == "on"
    )


def must_fit(given: str) -> bool:
    """Say whether there is room for all devices, however they are placed; False if it cannot be told so simply."""
    layout = Layout(given)
    stated = {device.address.slot for device in layout.devices if device.address.bus == 0}
    controllers = [item for item in domxml.parse(given).iterfind("devices/controller[@type='pci']")]
    stated |= {at.slot for at in map(Address.of, controllers) if at and at.bus == 0}
    unplaced = [item for item in _devices(given) if Address.of(item) is None]
    settings = [item.get("hotplug") or layout.default for item in unplaced]
    if layout.machine == "pc":
        # without the host bridge, PIIX and the place of a first video card; one slot for each bridge
        return sum(setting != "yes" for setting in settings) + len(controllers) + 2 <= 29 - len(stated)
    # without the host bridge, the chipset, the USB companions, the place of a first video card, and those that
    # PCI controllers may take
    slots = 27 - len(stated) - len(controllers)
    # four slots are left for ports, eight to a slot, of which one may be for a bridge and its slots
    ports = sum(map(_wants_a_port, unplaced, settings))
    single = sum(bool(attribute(item, "source", "startupPolicy")) for item in unplaced)
    if not layout.x86:
        # there a host's device has a slot of its own
        single += sum("hostdev" in (item.tag, item.get("type")) for item in unplaced)
    return ports <= 8 * 3 and len(unplaced) - ports <= 8 * (slots - 4 - single)


def _refusal_is_just(place: Definition, partial: str, error: libvirt.libvirtError) -> None:
    try:
        plain = place.define(place.xml(stripped(partial)))
    except libvirt.libvirtError:
        event("wrong without the settings, too")
        return
    if "is needed to connect a PCI controller" in str(error):
        event("refused: full, for a device without a setting")  # libvirt's own words
        assert not must_fit(partial), error
        return
    assert error.get_error_code() in OUR_CODES, error
    assert "hotplug" in str(error), error
    if clash(partial, plain):
        event("refused: contradiction")
    else:
        event("refused: full")
        assert not must_fit(partial), error


def _many(number: int, kind: str, setting: str = "") -> str:
    return ANY[kind].format(h=setting, a="") * number


_BRIDGE = "".join(
    f"<controller type='pci' index='{index}' model='{model}'/>"
    for index, model in enumerate(("pcie-root", "pcie-root-port", "pcie-to-pci-bridge"))
)
FOUND = {
    "switch without a port": "<controller type='pci' index='0' model='pcie-root'/>"
    "<controller type='pci' index='1' model='pcie-switch-upstream-port'/>" + _many(1, "rng"),
    "room for all but the spare port": _many(30, "e1000", NO) + _many(32, "e1000e"),
    "the bridge that a full bridge needs": _BRIDGE + _many(32, "e1000") + _many(1, "rng", NO),
    "IOMMU whose slot ports had taken": _many(60, "keyboard", NO) + "<iommu model='virtio'/>",
    "IOMMU that must stay, likewise": _many(60, "keyboard", NO) + "<iommu model='virtio' hotplug='no'/>",
    "sound cards that did not share": X86["sound"].format(h=NO, a="") * 60,
}
"""Domains that were refused once, although there is room for their devices."""


@pytest.mark.parametrize("devices", FOUND.values(), ids=FOUND)
def test_found(place: Definition, devices: str) -> None:
    """They are accepted, and obey the rules."""
    kept = place.define(place.xml(f"<domain><devices>{devices}</devices></domain>"))
    assert_placed(kept)
    assert place.define(kept) == kept


@settings(
    max_examples=int(_COUNT or 2000),
    deadline=None,
    derandomize=not _COUNT,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(partial=domains())
def test_random_domains(place: Definition, partial: str) -> None:
    """An accepted domain obeys its settings and is stable; a refused one is refused for a reason."""
    note(partial)
    try:
        kept = place.define(place.xml(partial))
    except libvirt.libvirtError as error:
        note(str(error))
        _refusal_is_just(place, partial, error)
        return
    event("accepted")
    given = {device.alias: device.address for device in Layout(partial).devices}
    now = {device.alias: device.address for device in Layout(kept).devices if device.alias in given}
    for alias, address in given.items():
        # where there is no such bus libvirt may choose another one
        where = now[alias]
        assert (where.slot, where.function) == (address.slot, address.function)
    assert_placed(kept, frozenset(now.values()))
    assert place.define(kept) == kept
