"""Which devices the guest's ACPI tables let it eject: those with an ``_EJ0`` method."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

_LIMIT = 60
"""Seconds; it takes one."""


def ejectable(tables: dict[str, bytes]) -> set[str]:
    r"""Return the paths with ``_EJ0`` in a guest's tables (name and content), such as ``\_SB_.PCI0.S10_.S00_``.

    acpiexec loads them as an operating system does. Raises ValueError if it cannot.
    """
    if not tables:
        return set()
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in tables.items():
            Path(scratch, f"{name}.aml").write_bytes(content)
        # The DSDT comes first; no method is executed.
        files = sorted((f"{name}.aml" for name in tables), key=lambda file: (not file.startswith("DSDT"), file))
        said = subprocess.run(
            ["acpiexec", "-di", "-b", "find _EJ0", *files],
            cwd=scratch,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_LIMIT,
        ).stdout
    if f"ACPI: {len(tables)} ACPI AML tables successfully acquired and loaded" not in said:
        raise ValueError(f"acpiexec cannot load {', '.join(files)}:\n{said}")
    paths: list[str] = re.findall(r"^ *\\(\S+)\._EJ0 ", said, re.MULTILINE)
    # Linux and the tables themselves write names with all four letters.
    return {"\\" + ".".join(part.ljust(4, "_") for part in path.split(".")) for path in paths}
