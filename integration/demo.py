"""The main job in one command: ``./run python3 -m integration.demo [DOMAIN.xml]`` (``make demo [XML=DOMAIN.xml]``).

Starts the same q35 guest twice at a time on the patched daemon, once as libvirt places its devices today
and once with ``<hotplug enable='no'/>``. In both, the guest's root first ejects every slot that its kernel offers, then
attacks: it writes the registers itself. Shows where each device sits and by what it was removed; exits with 0 only if
the first guest lost all and the second none.

With a domain as ``virsh dumpxml`` prints it, starts our guest in one with the same machine, devices and addresses, and
exits with 1 if a device that must not be unplugged was removed, or one that must be unpluggable was not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import ParseError, SubElement

import libvirt

from integration.domains import domxml, drawing
from integration.domains.domxml import Machine
from integration.domains.layout import Device, Layout
from integration.domains.standin import stand_in
from integration.guest.boot import boot, bootable_machine
from integration.guest.debian import FetchError
from integration.guest.image import image
from integration.guest.report import Report
from integration.host import connection
from integration.host.scratch import GuestError
from integration.oracle.verdict import Verdict, attack

DOMAIN = Path(__file__).with_name("data") / "demo.xml"
_ARCH = "x86_64"
_TRIED = {
    "slot-power": "echo 0 > /sys/bus/pci/slots/*/power",
    "slot-control": "root writes to Slot Control of the PCIe ports",
    "acpi": "root writes to the ACPI eject registers",
    "shpc": "root writes to the hotplug controllers (SHPC) of the bridges",
}
_BY = {"slot-power": "slot power", "slot-control": "Slot Control", "acpi": "ACPI eject", "shpc": "SHPC"}


def _count(verdicts: list[Verdict]) -> str:
    return f"{sum(verdict.unplugged for verdict in verdicts)} of {len(verdicts)}"


class Progress:
    """Prints progress on standard error, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        """Say one thing."""
        print(f"[{time.monotonic() - self._start:4.0f} s] {text}", file=sys.stderr, flush=True)


def _told(report: Report, attempt: str, removed: int) -> str:
    """Say what root tried just now, and what became of it."""
    results = {attack.result for attack in report.attacks if attack.kind == attempt} - {"gone"}
    if results == {"absent"} or (attempt == "slot-power" and not report.slots):
        came = "there is none"
    elif "refused" in results:
        came = "its kernel refuses"
    else:
        came = f"{removed or 'no'} device{'' if removed == 1 else 's'} removed"
    return f"{_TRIED[attempt]}: {came}"


def _note(verdict: Verdict) -> str:
    if not verdict.unplugged:
        return f"stays                      ({verdict})"
    return f"UNPLUGGED by {_BY.get(verdict.by, 'root'):<12}  ({verdict})"


def _try(
    events: connection.Events, partial: str, machine: Machine, name: str, say: Progress
) -> tuple[list[Verdict], list[str]]:
    """Run one guest, judge its devices, and draw them; progress is printed after the guest's name.

    The chipset's own devices are left out: no domain can be without them.
    """

    def tell(text: str) -> None:
        say(f"{name + ':':<13}{text}" if name else text)

    tell("starting the guest")
    with boot(events, partial, "demo", machine) as guest:
        guest.wait(lambda report: "boot" in report.reached)
        tell(f"Linux {guest.report.kernel} is up, loading drivers")
        guest.done()
        verdicts = attack(
            guest,
            lambda attempt, removed: tell(_told(guest.report, attempt, removed)),
            lambda: tell("waiting whether more goes"),
        )
        started = guest.started_with - guest.chipset
    counted = {alias: verdict for alias, verdict in verdicts.items() if alias in started}

    def note(device: Device) -> str:
        return _note(counted[device.alias])

    return list(counted.values()), drawing.draw(guest.layout, set(counted), note)


def _show(title: str, drawn: list[str]) -> None:
    print(f"\n{title}:\n")
    for line in drawn:
        print(f"  {line}")
    print(flush=True)


def _with_hotplug_off(partial: str) -> str:
    """Add ``<hotplug enable='no'/>`` to a domain."""
    domain = domxml.parse(partial)
    SubElement(SubElement(domain, "features"), "hotplug", enable="no")
    return domxml.text(domain)


def _say_what(conn: libvirt.virConnect, machine: Machine, say: Progress) -> None:
    version = conn.getLibVersion()
    qemu = subprocess.run([machine.emulator, "--version"], check=True, capture_output=True, text=True).stdout
    say(
        f"libvirt {version // 1000000}.{version // 1000 % 1000}.{version % 1000}, {qemu.splitlines()[0]},"
        f" {'KVM' if machine.accel == 'kvm' else 'no KVM: emulated (TCG)'}"
    )


def demo(conn: libvirt.virConnect, say: Progress) -> bool:
    """Run both guests and print what they could do; True if it is what it should be."""
    events = connection.Events(conn)
    image(_ARCH)
    machine = bootable_machine(events, _ARCH)
    _say_what(conn, machine, say)
    partial = DOMAIN.read_text()
    with ThreadPoolExecutor(2) as pool:
        today = pool.submit(_try, events, partial, machine, "today", say)
        off = pool.submit(_try, events, _with_hotplug_off(partial), machine, "enable='no'", say)
    (first, drawn), (second, drawn_off) = today.result(), off.result()
    _show("As libvirt places devices today", drawn)
    _show("With <features><hotplug enable='no'/></features>", drawn_off)
    print("Devices that the guest's root could have removed:")
    print(f"  today:                   {_count(first)}")
    print(f"  <hotplug enable='no'/>:  {_count(second)}", flush=True)
    return (
        all(verdict.unplugged for verdict in first) and not any(verdict.unplugged for verdict in second) and bool(first)
    )


def broken(setting: str, verdict: Verdict) -> bool:
    """Say whether what became of a device breaks what its setting promises: no, yes, or nothing if empty."""
    return {"no": verdict.unplugged, "yes": not verdict.unplugged}.get(setting, False)


def examine(conn: libvirt.virConnect, say: Progress, given: str) -> bool:
    """Run a guest in a domain like the given one and print what it could do; True if no promise is broken."""
    events = connection.Events(conn)
    domain, left_out = stand_in(given)
    arch, kind = domxml.arch_and_machine(domxml.text(domain))
    image(arch)
    own = Layout(given).emulator
    emulator = own if os.access(own, os.X_OK) and not os.environ.get("QEMU") else connection.emulator(arch)
    machine = replace(bootable_machine(events, arch, kind), emulator=emulator)
    _say_what(conn, machine, say)
    if left_out:
        print(f"Left out, and not tried: {', '.join(left_out)}")
    verdicts, drawn = _try(events, domxml.text(domain), machine, "", say)
    _show(f"{arch} {kind}, with its devices and addresses", drawn)
    default = Layout(given).default
    wrong = [verdict for verdict in verdicts if broken(verdict.device.setting or default, verdict)]
    for verdict in wrong:
        promise = "must not be unplugged" if verdict.unplugged else "must be unpluggable"
        print(f"BROKEN: {verdict.device.label} at {verdict.device.address} {promise}")
    print(f"Devices that the guest's root could have removed: {_count(verdicts)}")
    print(f"Devices whose setting is broken: {len(wrong)}", flush=True)
    return not wrong


def main() -> int:
    """Run the demo and return the exit status: 0 as promised, 1 not so, 2 it could not be run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        say = Progress()
        conn = connection.connect()
        connection.sweep(conn)
        kept = examine(conn, say, Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else demo(conn, say)
        return 0 if kept else 1
    except (libvirt.libvirtError, GuestError, FetchError, RuntimeError, OSError, ParseError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted; its guests are removed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
