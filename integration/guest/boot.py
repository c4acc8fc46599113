"""Boots our guest in a domain of any machine and devices, and always removes it again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import libvirt

from integration.domains import domxml
from integration.domains.domxml import Machine
from integration.guest import bootdisk
from integration.guest.image import Image, image
from integration.guest.running import Guest
from integration.host import connection
from integration.host.scratch import scratch

_CONSOLE = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}


def _needs_packed(domain: Element) -> bool:
    """Say whether a domain boots only a packed kernel: with UEFI firmware, and machine types up to 3.1."""
    system = domxml.within(domain, "os")
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
    system = domxml.within(domain, "os")
    # On a busy machine a timer of TCG may seem not to work.
    timer = "no_timer_check " if image.arch == "x86_64" else ""
    # Later kernels of Debian take a new DIMM into use, and then do not give it back.
    memory = "memhp_default_state=offline"
    line = f"console={_CONSOLE[image.arch]} quiet loglevel=1 panic=-1 iomem=relaxed {memory} {timer}{words}"
    given = system.find("cmdline")
    if given is not None:
        line = f"{line} {given.text}"
        system.remove(given)
    devices = domxml.within(domain, "devices")
    loaded = False
    for disk in devices.findall("disk[boot]"):
        if disk.find("source") is None and disk.get("type") == "file":
            path = home / "boot.raw"
            bootdisk.write(path, image, line)
            SubElement(disk, "source", file=str(path))
            loaded = True
    domxml.give_disks(domain, home)
    if not loaded:
        domxml.add_text(system, "kernel", str(image.packed if _needs_packed(domain) else image.kernel))
        domxml.add_text(system, "initrd", str(image.initramfs))
        domxml.add_text(system, "cmdline", line)
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


@contextmanager
def running(
    conn: libvirt.virConnect,
    events: connection.Events,
    partial: str,
    machine: Machine,
    words: str,
    label: str,
    persistent: bool = False,
) -> Iterator[Guest]:
    """Run a guest made of a partial domain XML, told what to do by ``words`` (see guest/init).

    ``DIRECTORY`` in the XML is the directory of its files; with ``persistent`` it is defined, too. With
    ``probe.end=ask`` among the words it is connected.
    However the block ends, the guest is destroyed and its files are removed; should this process
    be killed, the daemon destroys it.
    """
    boots = image(machine.arch)
    with scratch(label) as (name, directory):
        domain_xml = domxml.complete(partial.replace("DIRECTORY", str(directory)), name, machine)
        ask = "probe.end=ask" in words
        console = bootable(domain_xml, boots, words, directory, "pty" if ask else "file")
        xml = domxml.text(domain_xml)
        flags = libvirt.VIR_DOMAIN_START_AUTODESTROY
        domain = conn.defineXMLFlags(xml) if persistent else conn.createXML(xml, flags)
        try:
            if persistent:
                domain.createWithFlags(flags)
            guest = Guest(domain, events, console)
            if ask:
                guest.connect()
            try:
                yield guest
            finally:
                guest.disconnect()
        finally:
            connection.discard(domain)


@contextmanager
def living(
    conn: libvirt.virConnect, events: connection.Events, partial: str, machine: Machine, words: str, label: str
) -> Iterator[Guest]:
    """Run a guest like running(), but one that is defined, may leave and come back, and does as eject() says.

    In the end its ``domain``, which may be another object by then, is destroyed and undefined; should this process be
    killed, sweep() does that later.
    """
    boots = image(machine.arch)
    with scratch(label) as (name, directory):
        domain_xml = domxml.complete(partial, name, machine)
        console = bootable(domain_xml, boots, f"{words} probe.end=ask", directory, "pty")
        domain = conn.defineXML(domxml.text(domain_xml))
        try:
            domain.create()
            guest = Guest(domain, events, console)
        except BaseException:
            connection.discard(domain)
            raise
        try:
            yield guest
        finally:
            guest.disconnect()
            connection.discard(guest.domain)
