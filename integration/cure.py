"""What root can remove on a QEMU with docs/qemu-slot-control.patch: ``make qemu-cure``, which builds it, runs this.

Its guests are those of the facts whose names it is given. No order of the attempts reaches all: Slot Control switches
off ports that stay, and nothing below them answers then; what the kernel ejects first has it number buses anew. So two
guests of each fact try in different orders. A device is removed if one could, and a target was missed if both did.
"""

from __future__ import annotations

import sys

from integration.guest.boot import boot
from integration.host import connection
from integration.oracle.cases import load
from integration.oracle.verdict import ATTEMPTS, attack, unattacked
from integration.paths import DATA

ORDERS = (ATTEMPTS, ("slot-control", "slot-power", "acpi", "shpc"))


def cured(events: connection.Events, name: str) -> bool:
    """Attack a fact's guests; say whether they lost what its ``.verdicts`` has of a cured QEMU, and nothing else."""
    case = load(DATA / f"facts/{name}.xml")
    removed: dict[str, str] = {}
    missed: list[set[str]] = []
    for order in ORDERS:
        with boot(events, case.xml, "cure") as guest:
            guest.done()
            verdicts = attack(guest, attempts=order).values()
            removed = {each.device.alias: each.by for each in verdicts if each.unplugged} | removed
            missed.append(set(unattacked(verdicts, guest.layout, guest.report)))
    print(f"{name} on {connection.emulator(case.arch)}")
    wrong = 0
    for line in case.expected:
        right = (line.alias in removed) == line.unplugged("cured")
        wrong += not right
        became = f"removed ({removed[line.alias]})" if line.alias in removed else "stays"
        print(f"  {line.alias:<34} {line.bus:<32} {became:<22} {'' if right else 'WRONG'}".rstrip(), flush=True)
    if never := set.intersection(*missed):
        print(f"  root did not attack: {', '.join(sorted(never))}")
    return not (wrong or never)


def main() -> int:
    """Attack the guests of all names that are given; return 0 if all is as expected."""
    events = connection.Events(connection.connect())
    return 0 if all([cured(events, name) for name in sys.argv[1:]]) else 1


if __name__ == "__main__":
    sys.exit(main())
