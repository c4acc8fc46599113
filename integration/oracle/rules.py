"""The rules that placement is judged by, written from what guests were measured to do (tests/test_facts.py).

They are not written from libvirt's flags, nor do they ask libvirt anything.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from integration.domains import domxml
from integration.domains.devices import kind_of
from integration.domains.layout import Device, Layout
from integration.domains.pci import Address

_BRIDGES = ("pcie-to-pci-bridge", "pci-bridge", "pci-expander-bus")
_SWITCHABLE = ("pcie-root-port", "pcie-switch-downstream-port", "pci-root")


def can_unplug(layout: Layout, address: Address) -> bool:
    """Say whether root can have QEMU remove what is at ``address``. There are just three places where it cannot.

    Stricter than measured: an off root port of q35 is open on old machine types, unless the domain says no somewhere,
    as libvirt then turns ACPI PCI hotplug on.
    """
    controller = layout.controllers[address.bus]
    if controller.model == "pcie-root":
        return False
    if controller.model == "pci-root":
        return controller.hotplug != "off"
    if controller.model == "pcie-root-port" and controller.address and controller.address.bus == 0:
        return not (controller.hotplug == "off" and layout.says_no and "q35" in layout.machine)
    return True


def is_fixed(layout: Layout, device: Device) -> bool:
    """Say whether a device is PIIX's own IDE function, which stays whatever i440fx's pci-root does.

    Its USB function, at 00:01.2, does not: one write to the eject register removes it (facts/pc-slot-1).
    """
    at = (device.address.bus, device.address.slot, device.address.function)
    return layout.controllers[0].model == "pci-root" and at == (0, 1, 1) and device.kind == "ide controller"


def stays(layout: Layout, device: Device) -> bool:
    """Say whether no root of the guest can have QEMU remove the device."""
    return is_fixed(layout, device) or not can_unplug(layout, device.address)


def can_plug(layout: Layout, address: Address) -> bool:
    """Say whether the slot at ``address`` is one that libvirt plugs devices into."""
    controller = layout.controllers[address.bus]
    return controller.model in _BRIDGES or (controller.model in _SWITCHABLE and controller.hotplug != "off")


def is_pci(device: Element) -> bool:
    """Say whether a device of a PC or virt machine is a PCI device. Raises ValueError for a kind that is not known."""
    return kind_of(device) is not None


def assert_placed(xml: str, stated: frozenset[Address] = frozenset()) -> Layout:
    """Assert that every device is where its setting wants it, each at an address of its own.

    A guest finds no function of a slot without function 0; only ``stated`` addresses may be so, what no
    setting is about, and an ehci1 without its companions, which libvirt has always put at function 7.
    """
    layout = Layout(xml)
    for element in domxml.parse(xml).iterfind("devices/*"):
        if element.tag == "controller" and element.get("type") == "pci":
            continue
        setting = element.get("hotplug") or layout.default
        if is_pci(element) and setting:
            assert Address.of(element), f"{domxml.text(element)} has no PCI address\n{xml}"
    for device in layout.devices:
        setting = device.setting or layout.default
        if setting == "no":
            assert stays(layout, device), f"{device} can be unplugged\n{xml}"
        if setting == "yes":
            assert can_plug(layout, device.address), f"{device} cannot be plugged\n{xml}"
    used = [device.address for device in layout.devices]
    used += [controller.address for controller in layout.controllers.values() if controller.address]
    assert len(used) == len(set(used)), f"double addresses\n{xml}"
    judged = {
        device.address
        for device in layout.devices
        if (device.setting or layout.default) and not device.label.startswith("ich9-ehci1")
    }
    # The chipset's own functions are there without being in the XML.
    chipset = {"pcie-root": 0x1F, "pci-root": 1}[layout.controllers[0].model] if layout.x86 else None
    for address in judged - stated:
        first = Address(address.domain, address.bus, address.slot, 0)
        assert first in used or (address.bus, address.slot) == (0, chipset), f"{address} without function 0\n{xml}"
    return layout
