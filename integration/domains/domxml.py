"""Completes the domain XML of a test or the demo, which states only what it is about.

What is added makes the smallest domain that boots our guest: no device that the XML does not name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from integration.guest import bootdisk
from integration.guest.image import Image

DISK_SIZE = 8 << 20
"""Size in bytes of the empty disks that are made for disks without a source."""

ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

_CONSOLE = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
_MEMORY_MIB = 320


@dataclass(frozen=True)
class Machine:
    """The machine to complete a domain for. ``accel`` is libvirt's domain type: qemu (TCG) or kvm."""

    arch: str
    type: str
    emulator: str
    accel: str = "qemu"
    acpi: bool = True


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _within(domain: Element, tag: str) -> Element:
    found = domain.find(tag)
    return SubElement(domain, tag) if found is None else found


def parse(partial: str) -> Element:
    """Read a domain; the error of malformed XML shows where."""
    return ElementTree.fromstring(partial)


def attribute(element: Element, child: str, name: str) -> str:
    """Give an attribute of the first child of that name; empty if there is none."""
    found = element.find(child)
    return found.get(name, "") if found is not None else ""


def kind(partial: str) -> tuple[str, str]:
    """Give the architecture and machine type that a domain states, else x86_64 and q35."""
    stated = parse(partial).find("os/type")
    if stated is None:
        return "x86_64", "q35"
    return stated.get("arch", "x86_64"), stated.get("machine", "q35")


def complete(partial: str, name: str, machine: Machine) -> Element:
    """Make a whole domain called ``name`` of a partial one, without anything to boot.

    Its own words win: nothing that it states is changed.
    """
    domain = parse(partial)
    domain.set("type", domain.get("type") or machine.accel)
    if domain.find("name") is None:
        _text(domain, "name", name)
    if domain.find("memory") is None:
        _text(domain, "memory", str(_MEMORY_MIB), unit="MiB")
    if domain.find("os") is None:
        system = SubElement(domain, "os")
        _text(system, "type", "hvm", arch=machine.arch, machine=machine.type)
    features = _within(domain, "features")
    # aarch64 has ACPI only with UEFI firmware; our guest boots without.
    if machine.acpi and machine.arch == "x86_64" and features.find("acpi") is None:
        SubElement(features, "acpi")
    if machine.arch == "aarch64" and domain.find("cpu") is None:
        _text(SubElement(domain, "cpu", mode="custom", match="exact"), "model", "cortex-a57")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        if domain.find(event) is None:
            _text(domain, event, "destroy")
    devices = _within(domain, "devices")
    if devices.find("emulator") is None:
        _text(devices, "emulator", machine.emulator)
    if devices.find("controller[@type='usb']") is None:
        SubElement(devices, "controller", type="usb", model="none")
    if devices.find("memballoon") is None:
        SubElement(devices, "memballoon", model="none")
    return domain


def give_disks(domain: Element, home: Path) -> None:
    """Give the disks of a whole domain that have no source an empty one below ``home``, which must exist."""
    for number, disk in enumerate(_within(domain, "devices").findall("disk")):
        if disk.find("source") is None and disk.get("type") == "file":
            path = home / f"disk{number}.raw"
            with path.open("wb") as empty:
                empty.truncate(DISK_SIZE)
            SubElement(disk, "source", file=str(path))


def _needs_packed(domain: Element) -> bool:
    """Say whether a domain boots only a packed kernel: with UEFI firmware, and machine types up to 3.1."""
    system = _within(domain, "os")
    kind = system.find("type")
    version = re.search(r"-(\d+)\.\d+$", kind.get("machine", "") if kind is not None else "")
    old = version is not None and int(version[1]) <= 3
    return old or system.find("loader") is not None or system.get("firmware") is not None


def bootable(domain: Element, image: Image, words: str, home: Path, console: str = "file") -> Path:
    """Let a whole domain boot the guest, told what to do by ``words``; give the console's file.

    What the domain's own ``<cmdline>`` says is added to the kernel's command line.
    Disks without a source get an empty one below ``home``, which must exist. Does one of them have a
    ``<boot>``, then the guest is on it, for UEFI firmware; otherwise QEMU loads the kernel itself.
    The file of an ``<nvram>`` without one is below ``home``, too. With ``console="pty"`` the guest can be
    written to, too.
    """
    system = _within(domain, "os")
    # On a busy machine a timer of TCG may seem not to work.
    timer = "no_timer_check " if image.arch == "x86_64" else ""
    # Later kernels of Debian take a new DIMM into use, and then do not give it back.
    memory = "memhp_default_state=offline"
    line = f"console={_CONSOLE[image.arch]} quiet loglevel=1 panic=-1 iomem=relaxed {memory} {timer}{words}"
    given = system.find("cmdline")
    if given is not None:
        line = f"{line} {given.text}"
        system.remove(given)
    devices = _within(domain, "devices")
    loaded = False
    for disk in devices.findall("disk[boot]"):
        if disk.find("source") is None and disk.get("type") == "file":
            path = home / "boot.raw"
            bootdisk.write(path, image, line)
            SubElement(disk, "source", file=str(path))
            loaded = True
    give_disks(domain, home)
    if not loaded:
        _text(system, "kernel", str(image.packed if _needs_packed(domain) else image.kernel))
        _text(system, "initrd", str(image.initramfs))
        _text(system, "cmdline", line)
    nvram = system.find("nvram")
    if nvram is not None and not nvram.text:
        nvram.text = str(home / "nvram.fd")
    log = home / "console.log"
    serial = SubElement(devices, "serial", type=console)
    if console == "pty":
        SubElement(serial, "log", file=str(log), append="on")
    else:
        SubElement(serial, "source", path=str(log))
    SubElement(serial, "target", port="0")
    return log


def text(domain: Element) -> str:
    """Write a domain as text."""
    return ElementTree.tostring(domain, encoding="unicode")
