"""What root can remove on a QEMU with docs/qemu-slot-control.patch: ``make qemu-cure``, which builds it, runs this.

The guest is that of the fact about aarch64 virt. No order of the attempts reaches all: Slot Control switches off ports
that stay, and nothing below them answers then; what the kernel ejects first has it number buses anew. So two guests try
in different orders. A device is removed if one of them could, and a target was missed if both did.
"""

from __future__ import annotations

import sys

from integration.guest.accel import machine
from integration.guest.running import living
from integration.host import connection
from integration.oracle.cases import load
from integration.oracle.verdict import ATTEMPTS, attack, judge, unattacked
from integration.paths import DATA

ORDERS = (ATTEMPTS, ("slot-control", "polite", "acpi", "shpc"))


def main() -> int:
    """Attack both guests; 0 if they lost what ``virt.expected`` expects of a cured QEMU, and nothing else."""
    conn = connection.connect()
    events = connection.Events(conn)
    case = load(DATA / "facts/virt.xml")
    made = machine(conn, events, case.arch, case.machine)
    removed: dict[str, str] = {}
    missed: list[set[str]] = []
    for order in ORDERS:
        with living(conn, events, case.xml, made, "probe.eject=none", "cure") as guest:
            guest.done()
            by = attack(guest, attempts=order)
            verdicts = judge(guest, by).values()
            removed = {each.device.alias: each.by for each in verdicts if each.unplugged} | removed
            missed.append(set(unattacked(verdicts, guest.layout, guest.report)))
    wrong = 0
    for line in case.expected:
        right = (line.alias in removed) == line.unplugged("cured")
        wrong += not right
        became = f"removed ({removed[line.alias]})" if line.alias in removed else "stays"
        print(f"{line.alias:<30} {line.place:<32} {became:<22} {'' if right else 'WRONG'}".rstrip())
    if never := set.intersection(*missed):
        print(f"root did not attack: {', '.join(sorted(never))}")
    return 1 if wrong or never else 0


if __name__ == "__main__":
    sys.exit(main())
