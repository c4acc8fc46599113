"""Makes the guest: a Debian kernel and an initramfs of busybox, modules, our /init and attack.

``python3 -m integration.guest.image [x86_64|aarch64 ...]`` makes them beforehand; otherwise they are
made when first asked for. They are kept below build/guest and made again when a part changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zstandard

from integration.arch import ARCHES, BOOTED
from integration.guest import cpio, debian, modules
from integration.paths import GUEST

INIT = Path(__file__).with_name("init")
ATTACK = Path(__file__).with_name("attack.c")
_TOOLS = "[ base64 cat dmesg echo grep gzip modprobe mount readlink sh sleep sort tr uname usleep xxd"


@dataclass(frozen=True)
class Image:
    """What a domain boots directly: the kernel and its initramfs."""

    arch: str
    kernel: Path
    """what boots fastest: on x86_64 the ELF file that is packed in Debian's vmlinuz"""
    initramfs: Path
    """as it boots fastest: not packed, and its modules have no signature to verify"""
    packed: Path
    """Debian's vmlinuz, which boot loaders and machine types up to 3.1 need"""
    signed: Path
    """the packed initramfs for boot loaders; Secure Boot needs its modules' signatures"""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _stamp() -> str:
    """Name what the image is made from, so that a change makes it again."""
    digest = hashlib.sha256()
    for part in (INIT, ATTACK, *(Path(m.__file__ or "") for m in (cpio, modules)), Path(__file__)):
        digest.update(part.read_bytes())
    return digest.hexdigest()


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one process at a time work below ``home``."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(debian_arch: str, home: Path) -> tuple[Path, Path]:
    """Fetch the kernel and busybox packages, newest first, and return their files."""
    kept = sorted(home.glob("debs/linux-image-*.deb")), sorted(home.glob("debs/busybox-static_*.deb"))
    if all(kept):
        return kept[0][-1], kept[1][-1]
    apt, into = debian.Apt(debian_arch), home / "debs"
    meta = f"linux-image-{debian_arch}"
    failure = debian.FetchError(f"apt knows no package {meta}")
    for names in apt.depends(meta):
        try:
            kernel = next(name for name in names if name.startswith("linux-image-"))
            return apt.download(kernel, into), apt.download("busybox-static", into)
        except debian.FetchError as error:
            failure = error
    raise failure


def _unpacked(vmlinuz: bytes) -> bytes:
    """Return the ELF file that an x86 bzImage holds compressed: Debian 12's with xz, Debian 13's with zstd.

    It has a PVH entry, where QEMU starts it: unpacking it in the guest takes longer than all the rest of its boot.
    Offsets are those of Linux's Documentation/arch/x86/boot.rst. Raises lzma.LZMAError for another compression.
    """
    sectors, start = vmlinuz[0x1F1] or 4, int.from_bytes(vmlinuz[0x248:0x24C], "little")
    # The size of the result follows the compressed stream.
    payload = vmlinuz[(sectors + 1) * 512 + start :]
    if payload.startswith(zstandard.FRAME_HEADER):
        return zstandard.ZstdDecompressor().decompressobj().decompress(payload)
    return lzma.LZMADecompressor().decompress(payload)


def _compile_attack(arch: str, home: Path) -> bytes:
    """Compile the guest's attack program. Raises subprocess.CalledProcessError if that fails."""
    program = home / "attack"
    flags = ["-static", "-O1", "-s", "-Wall", "-Werror"]
    subprocess.run([ARCHES[arch].compiler, *flags, "-o", program, ATTACK], check=True)
    return program.read_bytes()


def _initramfs(tree: Path, attack: bytes, kernel_modules: dict[str, bytes]) -> bytes:
    """Make the initramfs of the packages unpacked below ``tree``, of the attack program and what modprobe needs."""
    archive = cpio.Archive()
    version = next(tree.glob("boot/vmlinuz-*")).name.removeprefix("vmlinuz-")
    home = f"lib/modules/{version}"
    for name in ("bin", "dev", "proc", "sys", "lib", "lib/modules", home):
        archive.directory(name)
    archive.console()
    archive.file("bin/busybox", next(tree.glob("**/bin/busybox")).read_bytes(), 0o755)
    for tool in _TOOLS.split():
        archive.link(f"bin/{tool}", "busybox")
    archive.file("bin/attack", attack, 0o755)
    archive.file("init", INIT.read_bytes(), 0o755)
    for name, content in kernel_modules.items():
        archive.file(f"{home}/{name}", content)
    return archive.whole()


def image(arch: str) -> Image:
    """Return the guest for ``arch`` (QEMU's name), made now if there is none or it is out of date.

    Raises KeyError for an architecture that we have no guest for, and debian.FetchError when a
    package cannot be fetched.
    """
    if arch not in BOOTED:
        raise KeyError(arch)
    home = GUEST / arch
    packed = home / "vmlinuz"
    kernel = packed if ARCHES[arch].packed else home / "vmlinux"
    made = Image(arch, kernel, home / "initramfs", packed, home / "initramfs.zst")
    with _locked(home):
        stamp = home / "stamp"
        if stamp.exists() and stamp.read_text() == _stamp():
            return made
        stamp.unlink(missing_ok=True)
        debian_arch = ARCHES[arch].debian
        _say(f"guest: fetching a Debian kernel and busybox for {debian_arch}")
        debs = _fetch(debian_arch, home)
        tree = home / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        _say(f"guest: unpacking {debs[0].name}")
        for deb in debs:
            debian.unpack(deb, tree)
        attack = _compile_attack(arch, home)
        signed = modules.collect(tree)
        unsigned = {name: modules.unsigned(content) for name, content in signed.items()}
        made.initramfs.write_bytes(_initramfs(tree, attack, unsigned))
        # unpacking it with gzip would take Linux four times as long
        made.signed.write_bytes(zstandard.compress(_initramfs(tree, attack, signed), 9))
        shutil.copyfile(next(tree.glob("boot/vmlinuz-*")), packed)
        if made.kernel != packed:
            made.kernel.write_bytes(_unpacked(packed.read_bytes()))
        shutil.rmtree(tree)
        stamp.write_text(_stamp())
        _say(f"guest: made {made.initramfs} ({made.initramfs.stat().st_size >> 10} KiB)")
    return made


def main() -> None:
    """Make the guests named on the command line, or the one for this machine."""
    for arch in sys.argv[1:] or [platform.machine()]:
        image(arch)


if __name__ == "__main__":
    main()
