"""Pieces of domain XML that many tests are made of, and changes of whole domains."""

from __future__ import annotations

import re

from integration.domains import domxml
from integration.domains.layout import Layout
from integration.domains.pci import Address

ALL_OFF = "<hotplug enable='no'/>"
"""The domain's setting that no PCI device can be unplugged."""

PC = "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
"""An i440fx machine."""

MEMORY = (
    "<maxMemory slots='4' unit='MiB'>2048</maxMemory><memory unit='MiB'>512</memory>"
    "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    "<cpu><numa><cell id='0' cpus='0' memory='512' unit='MiB'/></numa></cpu>"
)
"""XML that a domain with memory devices, or devices that share memory, needs; on a PC."""

NO, YES = " hotplug='no'", " hotplug='yes'"
"""A device's setting."""


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
    """Return the addresses of all devices, by alias."""
    return {device.alias: device.address for device in Layout(xml).devices if device.alias}


def append(xml: str, devices: str) -> str:
    """Add devices to a whole domain."""
    return xml.replace("</devices>", devices + "</devices>")


def without(xml: str, alias: str) -> str:
    """Remove the device called ``alias`` from a whole domain."""
    whole = domxml.parse(xml)
    devices = whole.find("devices")
    assert devices is not None
    (device,) = (device for device in devices if device.find(f"alias[@name='{alias}']") is not None)
    devices.remove(device)
    return domxml.text(whole)


def rng(number: int, setting: str = "") -> str:
    """Write a device that costs its guest little, so that there can be many."""
    backend = "<backend model='builtin'/>"
    return f"<rng model='virtio'{setting}>{backend}<alias name='ua-rng{number}'/></rng>"


def cut(xml: str, alias: str) -> str:
    """Cut the device called ``alias`` out of a domain, as it is written there. Raises KeyError if there is none."""
    for found in re.finditer(r"^    <(\w+)[^>]*(?<!/)>$.*?^    </\1>", xml, re.DOTALL | re.MULTILINE):
        if f"<alias name='{alias}'/>" in found.group():
            return found.group().strip()
    raise KeyError(alias)


def unplaced(xml: str) -> str:
    """Return a definition without PCI addresses and controllers: its devices go where the settings want them."""
    whole = domxml.parse(xml)
    devices = whole.find("devices")
    assert devices is not None
    for device in list(devices):
        address = device.find("address")
        if device.get("type") == "pci":
            devices.remove(device)
        elif address is not None and address.get("type") == "pci":
            device.remove(address)
    return domxml.text(whole)


def stripped(xml: str) -> str:
    """Remove the settings."""
    return re.sub(r"<hotplug [^>]*>|(?<!<target) hotplug=.(?:yes|no).", "", xml)
