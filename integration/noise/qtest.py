"""QEMU's qtest protocol: reads and writes of a machine's memory and I/O ports, sent before answers are read."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_BATCH = 1000
"""Commands that are sent at once. QEMU answers each before it reads on, so both directions must fit into the socket."""

_LETTER = {1: "b", 2: "w", 4: "l"}
_PATIENCE = 120.0


class Ended(RuntimeError):
    """QEMU ended, or does not answer any more."""


@dataclass(frozen=True)
class Access:
    """A read, or with a value a write, of ``size`` bytes (1, 2 or 4): of an I/O port or of memory."""

    port: bool
    address: int
    size: int
    value: int | None = None

    def command(self) -> str:
        """Return it in qtest's words."""
        letter = _LETTER[self.size]
        if self.port:
            verb, address = ("in" if self.value is None else "out") + letter, self.address & 0xFFFF
        else:
            verb, address = ("read" if self.value is None else "write") + letter, self.address
        return f"{verb} {address:#x}\n" if self.value is None else f"{verb} {address:#x} {self.value:#x}\n"


class Qtest:
    """A connection to the socket of ``-qtest``."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(str(path))
        self._answers = self._socket.makefile("rb")

    def run(self, accesses: Iterable[Access]) -> list[int]:
        """Do all, in this order, and return what the reads found. Raises Ended."""
        commands = [access.command() for access in accesses]
        found: list[int] = []
        try:
            for start in range(0, len(commands), _BATCH):
                batch = commands[start : start + _BATCH]
                self._socket.sendall("".join(batch).encode())
                self._collect(len(batch), found)
        except OSError as error:
            raise Ended(f"QEMU does not answer: {error}") from error
        return found

    def _collect(self, count: int, found: list[int]) -> None:
        while count:
            line = self._answers.readline()
            if not line:
                raise Ended("QEMU has closed the connection")
            if line.startswith(b"IRQ"):
                continue
            words = line.split()
            if words[0] != b"OK":
                raise Ended(f"QEMU answers {line!r}")
            if len(words) > 1:
                found.append(int(words[1], 16))
            count -= 1

    def read(self, accesses: Sequence[Access]) -> list[int]:
        """Do reads, and return a value for each. Raises Ended."""
        found = self.run(accesses)
        # a read of memory is answered with 64 bits
        return [value & ((1 << 8 * access.size) - 1) for value, access in zip(found, accesses, strict=True)]

    def close(self) -> None:
        """Close the connection."""
        self._answers.close()
        self._socket.close()

    def __enter__(self) -> Qtest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
