"""A daemon on a host of its own, which is killed, restarted and exchanged for another build while its guests run on."""

from __future__ import annotations

import hashlib
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import libvirt

from integration.host import connection, daemons


class Exchanged:
    """One daemon after the other on the make-believe host ``name`` (see ./run --host).

    What the tests' other connections lead to goes on undisturbed.
    """

    def __init__(self, name: str) -> None:
        self.host = daemons.Host(name)
        self._stack = ExitStack()
        self._conn: libvirt.virConnect | None = None

    def become(self, *options: str, how: signal.Signals = signal.SIGTERM) -> libvirt.virConnect:
        """End the daemon and start that of ./run OPTIONS; return a connection. Guests run on."""
        if self._conn and self._conn.isAlive():
            daemons.end(self._conn, how)
        uri = self._stack.enter_context(daemons.held(f"--host={self.host.name}", *options))
        self._conn = connection.connect(uri)
        self._stack.callback(self._conn.close)
        return self._conn

    @property
    def definitions(self) -> Path:
        """The directory of the stored definitions; a daemon makes it with the first one."""
        directory = self.host.config / "libvirt/qemu"
        directory.mkdir(exist_ok=True, mode=0o700)
        return directory

    def capabilities(self, emulator: Path) -> Path:
        """Return the file in which the daemon remembers what an emulator can do."""
        name = hashlib.sha256(os.fsencode(emulator)).hexdigest()
        # A user's daemon has its logs beside it.
        return self.host.cache / "libvirt/qemu" / ("" if daemons.SYSTEM else "cache") / f"capabilities/{name}.xml"

    def __enter__(self) -> Exchanged:
        daemons.stop(self.host, companions=False)
        connection.sweep(self.become())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have the patched daemon again, remove what is left, and forget all connections."""
        with self._stack:
            connection.sweep(self.become(), own=True)
