"""The disks of installed systems, and copy-on-write copies of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from integration.guest.image import image
from integration.paths import BUILD, ROOT

SUITES = ("bookworm", "trixie")
"""Debian 12 and 13, by the names of their suites."""


def installed(suite: str, arch: str) -> dict[str, Path]:
    """Return the disks of a system by the serial numbers that cases give them, and ``netboot``, the boot program.

    They are made now if they are missing or old.
    Raises subprocess.CalledProcessError, after the script has said why.
    """
    # The programs of x86_64's system make the others.
    for each in {"x86_64", arch}:
        image(each)
    command: list[str | Path] = [ROOT / "tools/system.sh", suite, arch]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    home = BUILD / "systems" / f"{suite}-{arch}"
    return {"disk": home / "disk.raw", "data": home / "data.raw", "netboot": home / "netboot.0"}


def overlay(disk: Path, path: Path) -> Path:
    """Make ``path`` a copy of ``disk`` that holds only what is written to it, and return it."""
    command: list[str | Path] = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path
