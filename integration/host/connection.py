"""The connection to the private daemon, the event loop, and the emulators under test."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import libvirt
import libvirt_qemu

from integration import arch as arches
from integration.paths import RUNS

PREFIX = "hotplug-test-"
"""All domains of the tests and the demo are named so, then the process that they belong to."""

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
)


def emulator(arch: str) -> str:
    """Return the path of the QEMU under test for ``arch``: the environment's, or the machine's own."""
    name = arches.find(arch).emulator
    return os.environ.get(name.upper().replace("-", "_")) or f"/usr/bin/{name}"


@cache
def version(emulator: str) -> tuple[int, ...]:
    """Ask a QEMU for its version, such as (7, 2, 22)."""
    said = subprocess.run([emulator, "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(part) for part in said.split()[3].split("."))


@cache
def has_device(emulator: str, name: str) -> bool:
    """Say whether a QEMU has a device."""
    said = subprocess.run([emulator, "-device", "help"], check=True, capture_output=True, text=True).stdout
    return f'name "{name}"' in said


class Events:
    """Collects the devices that a connection's guests lost, in QEMU's words and in libvirt's."""

    def __init__(self, conn: libvirt.virConnect) -> None:
        self.conn = conn
        self._lock = threading.Lock()
        self._qemu: dict[str, list[str]] = {}
        self._libvirt: dict[str, list[str]] = {}
        conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._removed, None)
        libvirt_qemu.qemuMonitorEventRegister(conn, None, "DEVICE_DELETED", self._deleted, None, 0)

    def _removed(self, _conn: object, domain: libvirt.virDomain, alias: str, _opaque: object) -> None:
        with self._lock:
            self._libvirt.setdefault(domain.UUIDString(), []).append(alias)

    def _deleted(
        self,
        _conn: object,
        domain: libvirt.virDomain,
        _event: str,
        _seconds: int,
        _micros: int,
        details: str,
        _opaque: object,
    ) -> None:
        with self._lock:
            self._qemu.setdefault(domain.UUIDString(), []).append(details)

    def deleted(self, uuid: str) -> list[str]:
        """Return the details (JSON) of every DEVICE_DELETED event of QEMU for that domain."""
        with self._lock:
            return list(self._qemu.get(uuid, ()))

    def removed(self, uuid: str) -> list[str]:
        """Return the aliases of every VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED of that domain."""
        with self._lock:
            return list(self._libvirt.get(uuid, ()))


_loop: threading.Thread | None = None


def _run_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _ignore(_context: object, _error: object) -> None:
    """Say nothing: every error reaches its caller as an exception."""


def connect(uri: str | None = None) -> libvirt.virConnect:
    """Open the daemon that LIBVIRT_DEFAULT_URI names (./run sets it), or that of ``uri``.

    Its events are delivered by a thread.
    """
    global _loop
    if _loop is None:
        libvirt.registerErrorHandler(_ignore, None)
        libvirt.virEventRegisterDefaultImpl()
        _loop = threading.Thread(target=_run_loop, name="libvirt events", daemon=True)
        _loop.start()
    if not uri and not os.environ.get("LIBVIRT_DEFAULT_URI"):
        raise RuntimeError("LIBVIRT_DEFAULT_URI is not set: run this as ./run COMMAND")
    conn = libvirt.open(uri)
    conn.setKeepAlive(10, 6)
    return conn


def stale(name: str, own: bool = False) -> bool:
    """Say whether ``name`` belongs to a process that is gone, or with ``own``, to us."""
    pid = name.removeprefix(PREFIX).partition("-")[0]
    if not name.startswith(PREFIX) or not pid.isdigit():
        return False
    return int(pid) == os.getpid() if own else not os.path.exists(f"/proc/{pid}")


def sweep(conn: libvirt.virConnect, own: bool = False) -> None:
    """Remove what is left of processes that were killed before they could clean up; or our ``own``."""
    for domain in conn.listAllDomains():
        if stale(domain.name(), own):
            discard(domain)
    for directory in RUNS.glob(f"{PREFIX}*"):
        if stale(directory.name, own):
            shutil.rmtree(directory, ignore_errors=True)
    # QEMU does not remove what guests share memory by; one that has it open does not need the name any more.
    for memory in Path("/dev/shm").glob(f"{PREFIX}*") if own else ():
        with suppress(FileNotFoundError):  # another worker does the same
            if memory.stat().st_uid == os.geteuid():
                memory.unlink()


def discard(domain: libvirt.virDomain) -> None:
    """Stop and undefine a domain, whichever of the two it still needs; one that is gone is fine."""
    for undo in (domain.destroy, lambda: domain.undefineFlags(_UNDEFINE)):
        try:
            undo()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (
                libvirt.VIR_ERR_NO_DOMAIN,
                libvirt.VIR_ERR_OPERATION_INVALID,
            ):
                raise
