"""Which devices the guest's ACPI tables let it eject: those with an ``_EJ0`` method."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

_OPENS = re.compile(r"\b(Scope|Device) \(([\\^A-Z0-9_.]+)\)")
_METHOD = re.compile(r"\b(?:Method|Name) \(_EJ0\b")


def _resolve(scope: str, name: str) -> str:
    """Give the full path of ``name`` as written inside ``scope``, every part padded to four letters."""
    parts = [] if name.startswith("\\") else [part for part in scope.split(".") if part]
    name = name.lstrip("\\")
    while name.startswith("^"):
        parts, name = parts[:-1], name[1:]
    return ".".join([*parts, *(part.ljust(4, "_") for part in name.split(".") if part)])


def ejectable_in(source: str) -> set[str]:
    r"""Give the paths with ``_EJ0`` in disassembled ACPI code, such as ``\_SB_.PCI0.S10_.S00_``."""
    found: set[str] = set()
    scopes: list[str] = [""]
    pending = ""
    for raw in source.splitlines():
        line = re.sub(r'"[^"]*"|//.*', "", raw)
        opened = _OPENS.search(line)
        if opened:
            pending = _resolve(scopes[-1], opened.group(2))
        if _METHOD.search(line):
            found.add("\\" + scopes[-1])
        for letter in line:
            if letter == "{":
                scopes.append(pending or scopes[-1])
                pending = ""
            elif letter == "}":
                scopes.pop()
    return found


def ejectable(tables: dict[str, bytes]) -> set[str]:
    """Give the paths with ``_EJ0`` in a guest's tables (name and content). Needs ``iasl``.

    Raises subprocess.CalledProcessError if a table cannot be disassembled.
    """
    found: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in tables.items():
            table = Path(scratch, f"{name}.aml")
            table.write_bytes(content)
            subprocess.run(
                ["iasl", "-d", table.name], cwd=scratch, check=True, capture_output=True, stdin=subprocess.DEVNULL
            )
            found |= ejectable_in(table.with_suffix(".dsl").read_text())
    return found
