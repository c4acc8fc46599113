"""Judges, for every device, whether its guest could unplug it: by QEMU's word and by the guest's."""

from __future__ import annotations

import time
from dataclasses import dataclass

from integration.domains.layout import Controller, Device
from integration.domains.pci import Address
from integration.guest.running import Guest

_SETTLE = 1.5
"""Seconds for events that are still on their way."""


@dataclass(frozen=True)
class Verdict:
    """What became of one device when the guest's root ejected every slot."""

    device: Device
    path: list[Controller]
    """the controllers above it, the outermost first"""
    guest_address: Address | None
    """where the guest saw it in the beginning; None if it never did"""
    deleted: bool
    """QEMU sent DEVICE_DELETED"""
    removed: bool
    """libvirt sent VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED"""
    in_qemu: bool
    """QEMU's QEMU still has it (query-pci, or among its objects)"""
    in_guest: bool
    """the guest still sees it"""

    @property
    def unplugged(self) -> bool:
        """Whether the guest unplugged it: QEMU has it no more.

        What only the guest lost from view was not unplugged. The event is no condition: QEMU 7.2
        drops an xHCI controller without one (libvirt then goes on listing it).
        """
        return not self.in_qemu

    def __str__(self) -> str:
        event = "DEVICE_DELETED" if self.deleted else "no DEVICE_DELETED"
        if self.guest_address is None:
            seen = "never seen by the guest"
        else:
            seen = "still in the guest" if self.in_guest else "gone in the guest"
        if self.in_qemu:
            return f"{event}, still in QEMU, {seen}"
        return f"{event}, {seen}" if self.deleted else f"gone in QEMU, which sent no DEVICE_DELETED, {seen}"


def _settle(guest: Guest) -> set[str]:
    """Wait until QEMU's list, QEMU's events and libvirt's agree, or for a few seconds; give the list."""
    deadline = time.monotonic() + _SETTLE
    while True:
        now = guest.ids()
        gone = guest.started_with - now
        if gone <= guest.deleted() & guest.removed() or time.monotonic() > deadline:
            return now
        time.sleep(0.1)


def judge(guest: Guest) -> dict[str, Verdict]:
    """Judge every device of a guest that is done ejecting, by alias."""
    now = _settle(guest)
    deleted, removed = guest.deleted(), guest.removed()
    report = guest.report
    verdicts = {}
    for device in guest.layout.devices:
        try:
            address = guest.layout.in_guest(device.address, report.configs)
        except KeyError:
            address = None
        named = device.alias in guest.started_with
        verdicts[device.alias] = Verdict(
            device=device,
            path=guest.layout.path(device.address),
            guest_address=address if address in report.before else None,
            deleted=device.alias in deleted,
            removed=device.alias in removed,
            # The chipset's own (SATA, ...) have no id in QEMU and cannot leave it.
            in_qemu=device.alias in now or not named,
            in_guest=address in report.after,
        )
    return verdicts
