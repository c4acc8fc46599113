"""Random domains: accepted ones obey the rules (oracle/rules.py), refused ones are refused for a reason.

``RANDOM_DOMAINS=10000 ./run python3 -m pytest integration/tests/test_random.py`` makes up other ones each
time, and as many. Machine types whose QEMU is not here (riscv64, loongarch64, ppc64, s390x) are left
to libvirt's own qemuxmlconftest.
"""

from __future__ import annotations

import os
from xml.etree.ElementTree import Element

import libvirt
import pytest
from hypothesis import HealthCheck, event, given, note, settings

from integration.domains import domxml
from integration.domains.arbitrary import ANY, X86, domains
from integration.domains.definitions import Definition
from integration.domains.domxml import attribute
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.domains.snippets import NO, stripped
from integration.oracle.rules import assert_placed, can_plug, can_unplug, never_unplugs

OUR_CODES = (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED)
_COUNT = os.environ.get("RANDOM_DOMAINS", "")


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
