# The part of libvirt-python's QEMU functions that is used here; it ships no type stubs of its own.
from collections.abc import Callable
from typing import Any

from libvirt import virConnect, virDomain

def qemuMonitorCommand(domain: virDomain, cmd: str, flags: int = 0) -> str: ...
def qemuMonitorEventRegister(
    conn: virConnect,
    dom: virDomain | None,
    event: str | None,
    cb: Callable[..., None],
    opaque: Any,
    flags: int = 0,
) -> int: ...
