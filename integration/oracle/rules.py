"""The rules that placement is judged by, written from what guests were measured to do (tests/test_facts.py).

It is not written from libvirt's flags, nor does it ask libvirt anything.
"""

from __future__ import annotations

import subprocess
from functools import cache

from integration.domains.layout import Layout
from integration.domains.pci import Address
from integration.domains.snippets import ALL_OFF

_TRANSPARENT = ("pcie-root", "pcie-switch-upstream-port", "pcie-expander-bus")
_SWITCHABLE = ("pcie-root-port", "pcie-switch-downstream-port", "pci-root")
_BRIDGES = ("pcie-to-pci-bridge", "pci-bridge", "pci-expander-bus")


@cache
def version(emulator: str) -> tuple[int, ...]:
    """Ask a QEMU for its version, such as (7, 2)."""
    said = subprocess.run([emulator, "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(part) for part in said.split()[3].split(".")[:2])


def switches_are_safe(layout: Layout) -> bool:
    """Say whether an off downstream port is any use: not on q35 with QEMU 7.2, see facts/q35.expected."""
    return "q35" not in layout.machine or version(layout.emulator) >= (10, 0)


def can_unplug(layout: Layout, address: Address) -> bool:
    """Say whether a guest can unplug what is at ``address``, alone or with a controller above it."""
    for controller in layout.path(address):
        if controller.model in _TRANSPARENT:
            continue
        if not (controller.model in _SWITCHABLE and controller.hotplug == "off"):
            return True
        if controller.model == "pcie-switch-downstream-port" and not switches_are_safe(layout):
            return True
    return False


def can_plug(layout: Layout, address: Address) -> bool:
    """Say whether the slot at ``address`` is one that libvirt plugs devices into."""
    controller = layout.controllers[address.bus]
    return controller.model in _BRIDGES or (controller.model in _SWITCHABLE and controller.hotplug != "off")


def assert_placed(xml: str, stated: frozenset[Address] = frozenset()) -> Layout:
    """Assert that every device is where its setting wants it, each at an address of its own.

    A guest finds no function of a slot without function 0; only ``stated`` addresses may be so, what no
    setting is about, and an ehci1 without its companions, which libvirt has always put at function 7.
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
    seen = {
        device.address
        for device in layout.devices
        if (device.setting or off) and not device.label.startswith("ich9-ehci1")
    }
    for address in seen - stated:
        first = Address(address.domain, address.bus, address.slot, 0)
        chipset = address.bus == 0 and address.slot in (0x1F, 1)
        assert first in used or chipset, f"{address} without function 0\n{xml}"
    return layout
