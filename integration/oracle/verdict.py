"""Judges, for every device, whether its guest could unplug it: by QEMU's word and by the guest's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from integration.domains.layout import Controller, Device, Layout
from integration.domains.pci import Address, has_shpc, hotplug_capable
from integration.guest.report import Report
from integration.guest.running import TIMEOUT, Guest

ATTEMPTS = ("slot-power", "slot-control", "acpi", "shpc")
"""Root's attempts, in this order: its kernel's offer, then writes to registers; see guest/attack.c."""

SETTLE = 5.0
"""Seconds for what the guest and QEMU may still be doing about it, and for events on their way."""


@dataclass(frozen=True)
class Verdict:
    """The fate of one device when the guest's root tried to have it removed."""

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
    """QEMU still has it (query-pci, or among its objects)"""
    in_guest: bool
    """the guest still sees it"""
    by: str
    """the first attempt after which QEMU did not have it any more; empty if it has, or if they were not told apart"""

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


def unattacked(verdicts: Iterable[Verdict], layout: Layout, report: Report) -> list[str]:
    """Name what root should have attacked and did not: a kind, or the port or SHPC bridge above a device that stays.

    A kernel that is locked down, as with Secure Boot, refuses all of it.
    """
    missed = [kind for kind in ATTEMPTS[1:] if not any(attack.kind == kind for attack in report.attacks)]
    fine = ("done", "refused") if report.secure_boot else ("done",)
    done = {(attack.kind, attack.target) for attack in report.attacks if attack.result in fine}
    for verdict in verdicts:
        if verdict.unplugged or not verdict.guest_address:
            continue
        for controller in verdict.path:
            if not controller.address or controller.bus_nr is not None:
                continue
            address = layout.in_guest(controller.address, report.configs)
            config = report.configs[address]
            kinds = {"slot-control": hotplug_capable(config) is not None, "shpc": has_shpc(config)}
            missed += [f"{kind} {address}" for kind, has in kinds.items() if has and (kind, str(address)) not in done]
    return missed


def _settle(guest: Guest, seconds: float) -> set[str]:
    """Wait SECONDS, or until QEMU, its events and libvirt agree that all are gone; return those that are there."""
    deadline = time.monotonic() + seconds
    while True:
        now = guest.ids()
        gone = guest.started_with & guest.deleted() & guest.removed() - now
        if gone == guest.started_with or time.monotonic() > deadline:
            return now
        time.sleep(0.1)


def _judge(guest: Guest, by: dict[str, str], settle: float) -> dict[str, Verdict]:
    """Return what became of every device of a guest that has tried all, by alias."""
    now = _settle(guest, settle)
    deleted, removed = guest.deleted(), guest.removed()
    report = guest.report
    verdicts = {}
    for device in guest.layout.devices:
        try:
            address = guest.layout.in_guest(device.address, report.configs)
        except KeyError:
            address = None
        verdicts[device.alias] = Verdict(
            device=device,
            path=guest.layout.path(device.address),
            guest_address=address if address in report.before else None,
            deleted=device.alias in deleted,
            removed=device.alias in removed,
            in_qemu=device.alias in now,
            in_guest=address in report.after,
            by=by.get(device.alias, ""),
        )
    return verdicts


def _nothing(*_: object) -> None:
    """Do nothing."""


def attack(
    guest: Guest,
    tell: Callable[[str, int], object] = _nothing,
    tried: Callable[[], object] = _nothing,
    attempts: Sequence[str] = ATTEMPTS,
    settle: float = SETTLE,
    timeout: float = TIMEOUT,
) -> dict[str, Verdict]:
    """Let the guest's root try all attempts, one after the other, and return what became of each device, by alias.

    QEMU removes devices while the guest writes to the register, so what is gone a moment later was removed by that
    attempt. ``tell`` gets each attempt and how many devices it removed; ``tried`` is called when only waiting is left.
    """
    by: dict[str, str] = {}
    try:
        if not guest.report.before:
            guest.attempt("before", timeout)
        for attempt in attempts:
            guest.attempt(attempt, timeout)
            time.sleep(0.2)
            removed = guest.started_with - guest.ids() - by.keys()
            by |= dict.fromkeys(removed, attempt)
            tell(attempt, len(removed))
        guest.attempt("after", timeout)
    finally:
        guest.disconnect()
    tried()
    return _judge(guest, by, settle)
