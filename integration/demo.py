"""The main job in one command: ``./run python3 -m integration.demo`` (``make demo``).

Starts the same q35 guest twice on the patched daemon, once as libvirt places its devices today and
once with ``<hotplug enable='no'/>``. In both, the guest's root tries to eject every slot. Shows
where each device sits and whether the guest could unplug it; exits with 0 only if the first guest
could unplug all and the second none.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import SubElement

import libvirt

from integration.domains import domxml, drawing
from integration.domains.domxml import Machine
from integration.domains.layout import Device
from integration.guest.accel import accel
from integration.guest.debian import FetchError
from integration.guest.image import image
from integration.guest.running import Guest, GuestError, running
from integration.host import connection
from integration.oracle.verdict import Verdict, judge

DOMAIN = Path(__file__).with_name("data") / "demo.xml"
_ARCH = "x86_64"
_WORDS = "probe.eject=all probe.end=idle"


@dataclass(frozen=True)
class Outcome:
    """One of the two guests: how many of its devices it could unplug."""

    unplugged: int
    devices: int

    @property
    def count(self) -> str:
        """The count as it is shown, such as "6 of 6"."""
        return f"{self.unplugged} of {self.devices}"


class Progress:
    """Says on standard error what goes on, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        """Say one thing."""
        print(f"[{time.monotonic() - self._start:4.0f} s] {text}", file=sys.stderr, flush=True)


def _follow(guest: Guest, say: Progress) -> Callable[[], None]:
    """Give a function that says what the guest has newly reached."""
    said: set[str] = set()

    def once(key: str, text: str) -> None:
        if key not in said:
            said.add(key)
            say(text)

    def tick() -> None:
        report = guest.report
        if "boot" in report.reached:
            once("boot", f"  Linux {report.kernel} is up, loading drivers")
        if "before" in report.reached:
            once("slots", f"  its root sees {len(report.slots)} slots that it can try to eject")
        for eject in report.ejects:
            once(eject.slot, f"  echo 0 > /sys/bus/pci/slots/{report.slots.get(eject.slot)}/power: {eject.result}")

    return tick


def _note(verdict: Verdict) -> str:
    mark = "UNPLUGGED " if verdict.unplugged else "stays     "
    return f"{mark} ({verdict})"


def _try(
    conn: libvirt.virConnect, events: connection.Events, partial: str, machine: Machine, title: str, say: Progress
) -> Outcome:
    """Run one guest, judge its devices and show them.

    The devices are those that QEMU knows by a name, which the chipset's own are not.
    """
    say(f"starting a guest: {title}")
    with running(conn, events, partial, machine, _WORDS, "demo") as guest:
        tick = _follow(guest, say)
        guest.done(tick=tick)
        tick()
        verdicts = judge(guest)
    counted = {alias: verdict for alias, verdict in verdicts.items() if alias in guest.started_with}

    def note(device: Device) -> str:
        return _note(counted[device.alias])

    print(f"\n{title}:\n")
    for line in drawing.draw(guest.layout, set(counted), note):
        print(f"  {line}")
    print(flush=True)
    return Outcome(sum(verdict.unplugged for verdict in counted.values()), len(counted))


def _with_hotplug_off(partial: str) -> str:
    """Add ``<hotplug enable='no'/>`` to a domain."""
    domain = domxml.parse(partial)
    SubElement(SubElement(domain, "features"), "hotplug", enable="no")
    return domxml.text(domain)


def demo() -> bool:
    """Run both guests and print what they could do; True if it is what it should be."""
    say = Progress()
    image(_ARCH)
    conn = connection.connect()
    connection.sweep(conn)
    events = connection.Events(conn)
    say("looking whether KVM runs guests here")
    machine = Machine(_ARCH, "q35", connection.emulator(_ARCH), accel(conn, events, _ARCH))
    version = conn.getLibVersion()
    say(
        f"libvirt {version // 1000000}.{version // 1000 % 1000}.{version % 1000}, {machine.emulator},"
        f" {'KVM' if machine.accel == 'kvm' else 'no KVM: emulated (TCG)'}"
    )
    partial = DOMAIN.read_text()
    first = _try(conn, events, partial, machine, "As libvirt places devices today", say)
    second = _try(
        conn, events, _with_hotplug_off(partial), machine, "With <features><hotplug enable='no'/></features>", say
    )
    print("Devices that the guest's root could unplug:")
    print(f"  today:                   {first.count}")
    print(f"  <hotplug enable='no'/>:  {second.count}", flush=True)
    return first.unplugged == first.devices == second.devices > 0 and second.unplugged == 0


def main() -> int:
    """Run the demo and give the exit status: 0 as promised, 1 not so, 2 it could not be run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return 0 if demo() else 1
    except (libvirt.libvirtError, GuestError, FetchError, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted; its guests are removed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
