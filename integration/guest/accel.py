"""KVM for guests if it really runs our guest here, which is found out by booting it; otherwise TCG."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

from integration.arch import ARCHES
from integration.domains.domxml import Machine
from integration.host import connection
from integration.paths import BUILD

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MEMORY = BUILD / "integration" / "accel.json"


def accel(arch: str, boots: Callable[[Machine], bool]) -> str:
    """Return libvirt's domain type for guests of ``arch``: kvm if such a guest ``boots``, otherwise qemu (TCG).

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
        machine = Machine(arch, ARCHES[arch].machine, connection.emulator(arch), "kvm")
        known = {key: "kvm" if boots(machine) else "qemu"}
        _MEMORY.parent.mkdir(parents=True, exist_ok=True)
        _MEMORY.write_text(json.dumps(known))
    return known[key]
