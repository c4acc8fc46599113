"""Domains as platforms write them anew: without what libvirt had chosen for them."""

from __future__ import annotations

from integration.domains import domxml


def without_addresses(partial: str) -> str:
    """Return a domain without the PCI addresses of its devices; its PCI controllers stay where they are."""
    whole = domxml.parse(partial)
    for device in whole.iterfind("devices/*"):
        address = device.find("address[@type='pci']")
        if address is not None and not (device.tag == "controller" and device.get("type") == "pci"):
            device.remove(address)
    return domxml.text(whole)


def anew(partial: str) -> str:
    """Return a domain without PCI addresses and PCI controllers."""
    whole = domxml.parse(without_addresses(partial))
    devices = whole.find("devices")
    assert devices is not None
    for controller in devices.findall("controller[@type='pci']"):
        devices.remove(controller)
    return domxml.text(whole)
