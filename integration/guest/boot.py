"""Boots our guest in a domain of any machine and devices, and always removes it again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import libvirt

from integration.arch import ARCHES
from integration.domains import domxml
from integration.domains.domxml import Machine
from integration.guest import bootdisk
from integration.guest.accel import accel
from integration.guest.image import Image, image
from integration.guest.running import Guest
from integration.host import connection
from integration.host.scratch import GuestError, scratch

_PROBE_SECONDS = 6.0
"""Seconds in which the guest must boot with KVM, or else it is not used."""


def _needs_packed(domain: Element) -> bool:
    """Say whether a domain boots only a packed kernel: with UEFI firmware, and machine types up to 3.1."""
    system = domxml.within(domain, "os")
    kind = system.find("type")
    version = re.search(r"-(\d+)\.\d+$", kind.get("machine", "") if kind is not None else "")
    old = version is not None and int(version[1]) <= 3
    return old or system.find("loader") is not None or system.get("firmware") is not None


def _cmdline(arch: str) -> str:
    """Return the guest's kernel command line."""
    # Later kernels of Debian take a new DIMM into use, and then do not give it back.
    memory = "memhp_default_state=offline"
    # The kernel's tests of its ciphers and of its own pages are two fifths of the instructions of its boot.
    faster = "cryptomgr.notests rodata=off quiet loglevel=1"
    return f"console={ARCHES[arch].console} {faster} panic=-1 iomem=relaxed {memory} {ARCHES[arch].cmdline}"


def _make_bootable(domain: Element, image: Image, directory: Path, more: str) -> Path:
    """Let a whole domain boot the guest, and return the console's file.

    What the domain's own ``<cmdline>`` says is added to the kernel's command line, and ``more``.
    Disks without a source get an empty one in ``directory``, which must exist. If one of them has a ``<boot>``, the
    guest is on it, for UEFI firmware; otherwise QEMU loads the kernel itself.
    The file of an ``<nvram>`` without one is in ``directory``, too.
    """
    system = domxml.within(domain, "os")
    line = f"{_cmdline(image.arch)}{more}"
    given = system.find("cmdline")
    if given is not None:
        line = f"{line} {given.text}"
        system.remove(given)
    loaded = False
    for disk in domxml.within(domain, "devices").findall("disk[boot]"):
        if disk.find("source") is None and disk.get("type") == "file":
            path = directory / "boot.raw"
            bootdisk.write(path, image, line)
            SubElement(disk, "source", file=str(path))
            loaded = True
    domxml.give_disks(domain, directory)
    if not loaded:
        domxml.add_text(system, "kernel", str(image.packed if _needs_packed(domain) else image.kernel))
        domxml.add_text(system, "initrd", str(image.initramfs))
        domxml.add_text(system, "cmdline", line)
    nvram = system.find("nvram")
    if nvram is not None and not nvram.text:
        nvram.text = str(directory / "nvram.fd")
    return domxml.give_console(domain, directory)


def bootable_machine(events: connection.Events, arch: str = "x86_64", kind: str = "q35") -> Machine:
    """Return the machine of libvirt's type ``kind`` to boot a guest on: with KVM, if that boots our guest here."""

    def boots(machine: Machine) -> bool:
        try:
            with boot(events, "<domain/>", "kvm", machine) as guest:
                guest.wait(lambda report: "boot" in report.reached, _PROBE_SECONDS)
        except (libvirt.libvirtError, GuestError):
            return False
        return True

    return Machine(arch, kind, connection.emulator(arch), accel(arch, boots))


@contextmanager
def boot(
    events: connection.Events,
    partial: str,
    label: str,
    machine: Machine | None = None,
    defined: bool = False,
    drivers: bool = True,
) -> Iterator[Guest]:
    """Run a guest made of a partial domain XML, on the connection of ``events``.

    The machine is the one that the XML states, with its best accelerator, unless another one is given. ``DIRECTORY`` in
    the XML is the directory of its files. With ``defined`` the domain is defined, and may be saved, stopped, started
    again, and migrated. Without ``drivers`` the guest loads none.
    However the block ends, the guest's ``domain``, which may be another object by then, is destroyed and undefined, and
    its files are removed. Should this process be killed, the daemon destroys a guest that is not defined, and sweep()
    removes one that is.
    """
    machine = machine or bootable_machine(events, *domxml.arch_and_machine(partial))
    with scratch(label) as (name, directory):
        whole = domxml.complete(partial.replace("DIRECTORY", str(directory)), name, machine)
        console = _make_bootable(whole, image(machine.arch), directory, "" if drivers else " drivers=no")
        xml = domxml.text(whole)
        if defined:
            domain = events.conn.defineXMLFlags(xml)
        else:
            domain = events.conn.createXML(xml, libvirt.VIR_DOMAIN_START_AUTODESTROY)
        try:
            if defined:
                domain.create()
            guest = Guest(domain, events, console)
        except BaseException:
            connection.discard(domain)
            raise
        try:
            if not defined:
                guest.connect()
            yield guest
        finally:
            guest.disconnect()
            connection.discard(guest.domain)
