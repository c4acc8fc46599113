"""Writes an initramfs: a cpio archive in the "newc" form that Linux unpacks at boot."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

_CONSOLE = (5, 1)


@dataclass
class Archive:
    """An initramfs in the making. Files need no owner but root, so no root is needed to write it."""

    _chunks: list[bytes] = field(default_factory=list)
    _count: int = 0

    def _entry(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._count += 1
        encoded = name.encode() + b"\0"
        fields = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
        self._chunks += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def directory(self, name: str) -> None:
        """Add directory ``name`` (no leading slash); its parents must be there already."""
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add file ``name`` with ``data`` and the permissions ``mode``."""
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add symbolic link ``name`` to ``target``."""
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def console(self) -> None:
        """Add dev/console, which Linux opens for the first program."""
        self._entry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE)

    def whole(self) -> bytes:
        """Return the whole archive; the same content gives the same bytes."""
        self._entry("TRAILER!!!", 0)
        return b"".join(self._chunks)
