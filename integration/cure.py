"""What root can remove on a QEMU with docs/qemu-slot-control.patch: ``make qemu-cure``, which builds it, runs this.

The guest is that of the fact about aarch64 virt. Slot Control is what the patch is about, so root tries that first,
while all can be reached: with the patch what is behind a port with hotplug off stays there, but without power.
"""

from __future__ import annotations

import sys

from integration.guest.accel import machine
from integration.guest.running import living
from integration.host import connection
from integration.oracle.cases import load
from integration.oracle.verdict import ATTEMPTS, attack, judge, unattacked
from integration.paths import DATA


def main() -> int:
    """Attack one guest; 0 if it lost what ``virt.expected`` expects of a cured QEMU, and nothing else."""
    conn = connection.connect()
    events = connection.Events(conn)
    case = load(DATA / "facts/virt.xml")
    made = machine(conn, events, case.arch, case.machine)
    with living(conn, events, case.xml, made, "probe.eject=none", "cure") as guest:
        guest.done()
        by = attack(guest, attempts=sorted(ATTEMPTS, key="slot-control".__ne__))
        verdicts = judge(guest, by)
        missed = [what for what in unattacked(verdicts.values(), guest.layout, guest.report) if "slot-control" in what]
    wrong = 0
    for line in case.expected:
        verdict = verdicts[line.alias]
        right = verdict.unplugged == line.unplugged("cured")
        wrong += not right
        became = f"{'removed' if verdict.unplugged else 'stays':<8} {'' if right else 'WRONG'}"
        print(f"{line.alias:<30} {line.place:<32} {became}")
    if missed:
        print(f"root did not attack: {', '.join(missed)}")
    return 1 if wrong or missed else 0


if __name__ == "__main__":
    sys.exit(main())
