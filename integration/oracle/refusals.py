"""Why libvirt may refuse a domain: its settings contradict something, or there is no room."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import libvirt

from integration.domains import domxml
from integration.domains.devices import kind_of
from integration.domains.domxml import attribute
from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.oracle.rules import can_plug, can_unplug

OUR_CODES = (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED)
"""The codes of a definition that the settings have refused."""


def _devices(xml: str) -> list[Element]:
    """Return the elements of the devices that may have a PCI address."""
    everything = domxml.parse(xml).iterfind("devices/*")
    return [item for item in everything if not (item.tag == "controller" and item.get("type") == "pci")]


def _buses(given: str) -> set[int]:
    """Return the indexes of the PCI controllers that a domain states; one without gets the lowest that is free."""
    stated = [item.get("index") for item in domxml.parse(given).iterfind("devices/controller[@type='pci']")]
    buses = {int(index) for index in stated if index is not None}
    for _ in range(stated.count(None)):
        buses.add(next(index for index in range(len(stated) + 1) if index not in buses))
    return buses | {0}


def _can_go(device: Element, pc: bool) -> bool:
    """Say whether a device is one that a guest may remove from a root bus with hotplug: not PIIX's IDE function."""
    kind = kind_of(device)
    return kind is not None and not (pc and "piix" in kind.special)


def _device_clashes(device: Element, wanted: Layout, layout: Layout, off: bool) -> bool:
    """Say whether a device's setting contradicts what it is, or others in its slot; ``off`` is an i440fx's root bus."""
    pc = layout.controllers[0].model == "pci-root"
    setting = device.get("hotplug") or wanted.default
    kind = kind_of(device)
    built_in = device.get("type") == "sata" and device.get("index") == "0" and not pc
    # libvirt puts a USB2 set, and PIIX's USB, on the root bus alone
    rooted = off and (device.get("model") or "").startswith(("ich9-", "piix3-"))
    fixed = built_in or rooted or (kind is not None and "fixed" in kind.special)
    if setting == "yes" and fixed:
        return True
    if setting == "no" and attribute(device, "teaming", "type") == "transient":
        return True
    at = Address.of(device)
    on_root = not pc and at is not None and at.bus == 0
    if setting == "no" and attribute(device, "model", "type") == "igb" and (on_root or not layout.x86):
        return True
    if not at or at.function or not attribute(device, "source", "startupPolicy"):
        return False
    beside = [other for other in wanted.devices if other.address != at and other.address.beside(at)]
    return any((other.setting or wanted.default) == "no" for other in beside)


def clash(given: str, plain: str) -> bool:
    """Say whether a setting contradicts an address or another setting, given the domain as it is without settings."""
    layout, wanted, buses = Layout(plain), Layout(given), _buses(given)
    layout.says_no = wanted.says_no
    root = layout.controllers[0]
    pc = root.model == "pci-root"
    # What is on an i440fx's root bus stays; the target wins over the feature.
    off = pc and (root.hotplug == "off" or (wanted.default == "no" and root.hotplug != "on"))
    staying = any((item.get("hotplug") or wanted.default) == "no" and _can_go(item, pc) for item in _devices(given))
    if pc and staying and not off:
        return True
    if any(_device_clashes(device, wanted, layout, off) for device in _devices(given)):
        return True
    for stated in wanted.devices:
        setting, bus = stated.setting or wanted.default, stated.address.bus
        if bus not in layout.controllers:
            continue  # there is none in the domain without settings, either
        # libvirt makes a port for it, on machines that have ports, if a port has such a slot: on q35 an off one
        made = not pc and layout.x86 and bus not in buses and stated.address.slot == 0
        root_off = off and bus == 0
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
    controllers = domxml.parse(given).findall("devices/controller[@type='pci']")
    controllers = [item for item in controllers if item.get("index") != "0"]
    stated |= {at.slot for at in map(Address.of, controllers) if at and at.bus == 0}
    unplaced = [item for item in _devices(given) if Address.of(item) is None]
    settings = [item.get("hotplug") or layout.default for item in unplaced]
    if layout.machine == "pc":
        # without the host bridge, PIIX and the place of a first video card; one slot for each bridge
        return sum(setting != "yes" for setting in settings) + len(controllers) + 2 <= 29 - len(stated)
    # without the host bridge, the chipset, the USB companions, the place of a first video card, and those that
    # PCI controllers may take
    slots = 27 - len(stated) - len(controllers)
    ports = sum(map(_wants_a_port, unplaced, settings))
    single = sum(bool(attribute(item, "source", "startupPolicy")) for item in unplaced)
    if not layout.x86:
        # there a host's device has a slot of its own
        single += sum("hostdev" in (item.tag, item.get("type")) for item in unplaced)
    staying = len(unplaced) - ports
    if staying <= slots - 4:
        return ports <= 8 * 3
    # devices that share leave four slots (two if network cards are among them, which share last): eight ports or one
    # other controller to a slot, of which one may be for a bridge that libvirt adds
    left = 2 if any(item.tag == "interface" for item in unplaced) else 4
    return ports + 8 * len(controllers) <= 8 * (left - 1) and staying <= 8 * (slots - 4 - single)
