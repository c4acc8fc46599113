"""The machine for a guest: with KVM if that really runs our guest here, found out by booting it; TCG otherwise."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import libvirt

from integration.domains.domxml import Machine
from integration.guest.boot import running
from integration.host import connection
from integration.host.scratch import GuestError
from integration.paths import BUILD

_PROBE_SECONDS = 6.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MEMORY = BUILD / "integration" / "accel.json"


def _boots(conn: libvirt.virConnect, events: connection.Events, machine: Machine) -> bool:
    """Boot the guest once with KVM."""
    try:
        with running(conn, events, "<domain/>", machine, "probe.end=poweroff", "kvm") as guest:
            guest.wait(lambda report: "boot" in report.reached, _PROBE_SECONDS)
    except (libvirt.libvirtError, GuestError):
        return False
    return True


def accel(conn: libvirt.virConnect, events: connection.Events, arch: str) -> str:
    """Give libvirt's domain type for guests of ``arch``: kvm if such a guest boots, else qemu (TCG).

    INTEGRATION_ACCEL=kvm or qemu decides instead. The answer is kept until the machine reboots:
    a KVM that opens and then runs nothing (nested virtualization) costs seconds to find out.
    """
    chosen = os.environ.get("INTEGRATION_ACCEL")
    if chosen:
        return chosen
    if arch != platform.machine() or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "qemu"
    key = f"{_BOOT_ID.read_text().strip()} {connection.emulator(arch)}"
    try:
        known: dict[str, str] = json.loads(_MEMORY.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        machine = Machine(arch, {"x86_64": "q35"}.get(arch, "virt"), connection.emulator(arch), "kvm")
        known = {key: "kvm" if _boots(conn, events, machine) else "qemu"}
        _MEMORY.parent.mkdir(parents=True, exist_ok=True)
        _MEMORY.write_text(json.dumps(known))
    return known[key]


def machine(conn: libvirt.virConnect, events: connection.Events, arch: str = "x86_64", kind: str = "q35") -> Machine:
    """Give the machine to boot a guest of ``arch`` on, of libvirt's machine type ``kind``."""
    return Machine(arch, kind, connection.emulator(arch), accel(conn, events, arch))
