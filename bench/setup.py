"""What every case needs: the two daemons, the machine, and how thorough to be."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from bench.domains import PATCHED
from integration.domains.domxml import Machine
from integration.guest.boot import bootable_machine
from integration.guest.image import image
from integration.host import connection, daemons
from integration.paths import ROOT

Json = dict[str, Any]
"""What a case found, as it is kept in bench/results.json."""

ARCH = "x86_64"
_STOCK = ["--stock", "--optimized", "--host=st"]


@dataclass(frozen=True)
class Side:
    """One of the two libvirts: its daemon, and where it was built."""

    name: str
    uri: str
    build: Path
    conn: libvirt.virConnect
    events: connection.Events

    def daemon(self) -> int:
        """Return the process id of its daemon."""
        return daemons.pid(self.conn)


@dataclass(frozen=True)
class Bench:
    """All that a case measures with. ``quick`` asks for few and small measurements."""

    stock: Side
    patched: Side
    machine: Machine
    quick: bool

    def side(self, placement: str) -> Side:
        """Return the libvirt that a placement is measured on: stock, wherever it can do it."""
        return self.patched if placement in PATCHED else self.stock


def _side(name: str, uri: str, build: Path) -> Side:
    conn = connection.connect(uri)
    connection.sweep(conn)
    return Side(name, uri, build, conn, connection.Events(conn))


def _connect() -> tuple[Side, Side]:
    try:
        stock_uri, patched_uri = os.environ["LIBVIRT_STOCK_URI"], os.environ["LIBVIRT_DEFAULT_URI"]
    except KeyError as missing:
        raise RuntimeError(f"{missing} is not set: run this as 'make bench'") from None
    return (
        _side("stock", stock_uri, daemons.BUILDS["stock-optimized"]),
        _side("patched", patched_uri, daemons.BUILDS["optimized"]),
    )


def prepare(quick: bool) -> Bench:
    """Connect to both daemons, have the guest's image made, and find out what runs it: KVM or TCG."""
    image(ARCH)
    stock, patched = _connect()
    return Bench(stock, patched, bootable_machine(patched.events, ARCH), quick)


def restarted(bench: Bench) -> Bench:
    """End both daemons and start them again, so that their memory is that of new ones."""
    for side in (bench.stock, bench.patched):
        side.conn.close()
    subprocess.run([ROOT / "run", "--stop"], check=True)
    subprocess.run([ROOT / "run", *_STOCK, ROOT / "run", "--optimized", "true"], check=True)
    stock, patched = _connect()
    return Bench(stock, patched, bench.machine, bench.quick)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; other load disturbs it less than the clock's time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def description(bench: Bench) -> Json:
    """Say what machine it was, and what ran on it."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    shown = subprocess.run([bench.machine.emulator, "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{cpus[0].partition(':')[2].strip() if cpus else platform.processor()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "qemu": shown.splitlines()[0].removeprefix("QEMU emulator version "),
        "accelerator": "KVM" if bench.machine.accel == "kvm" else "TCG (no KVM)",
        "load": f"{os.getloadavg()[0]:.1f}",
        "quick": bench.quick,
    }
