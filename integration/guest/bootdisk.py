"""Makes a disk that UEFI firmware boots our guest from, with Secure Boot, too.

On it are Debian's shim, signed by Microsoft, GRUB and kernel, signed by Debian, and our initramfs.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from integration.arch import ARCHES
from integration.guest import debian
from integration.guest.image import Image
from integration.paths import GUEST

_SIZE = 48 << 20
_SIGNED = {"shim-signed": "usr/lib/shim/shimx64.efi.signed", "grub-efi-amd64-signed": "**/grubx64.efi.signed"}
_NAMES = {"shim-signed": "BOOTX64.EFI", "grub-efi-amd64-signed": "grubx64.efi"}


def _loaders(arch: str) -> Path:
    """Fetch what firmware starts first, and return the directory of it. Raises debian.FetchError."""
    home = GUEST / arch / "efi"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all((home / name).exists() for name in _NAMES.values()):
            return home
        apt = debian.Apt(ARCHES[arch].debian)
        for package, pattern in _SIGNED.items():
            tree = home / package
            debian.unpack(apt.download(package, home / "debs"), tree)
            shutil.copyfile(next(tree.glob(pattern)), home / _NAMES[package])
            shutil.rmtree(tree)
    return home


def write(disk: Path, image: Image, cmdline: str) -> None:
    """Write the disk: one FAT file system, as on removable media. Needs ``mtools``.

    Raises subprocess.CalledProcessError if mtools fail.
    """
    loaders = _loaders(image.arch)
    with disk.open("wb") as empty:
        empty.truncate(_SIZE)
    config = disk.with_suffix(".grub")
    config.write_text(f"linux /vmlinuz {cmdline}\ninitrd /initramfs\nboot\n")

    def run(tool: str, *args: str | Path) -> None:
        subprocess.run([tool, "-i", disk, *args], check=True, capture_output=True, stdin=subprocess.DEVNULL)

    run("mformat", "::")
    run("mmd", "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    run("mcopy", *(loaders / name for name in _NAMES.values()), "::/EFI/BOOT")
    run("mcopy", config, "::/EFI/debian/grub.cfg")
    run("mcopy", image.packed, "::/vmlinuz")
    run("mcopy", image.signed, "::/initramfs")
