"""Measure how strong the random writes are: how many it takes until they alone remove what can be removed.

usage: ./run python3 -m integration.noise.controls [--seeds N] [--limit WRITES] [FACT...]

The domains are those of integration/data/facts: about 40 functions on q35, 25 on virt, 15 on pc. Nothing of the known
ways is written on purpose. Prints a line for each device: its place, the known way, and the writes with each seed.
"""

from __future__ import annotations

import argparse

import libvirt

from integration.host import connection
from integration.noise import attacks
from integration.noise.facts import removed
from integration.noise.qtest import Ended
from integration.noise.session import PREPARE, RESET, session
from integration.oracle.cases import Case, load
from integration.paths import DATA

_STEP = 250
"""Writes after which QEMU is asked what it has."""

_ROUND = 3000
"""Writes between resets."""


def needed(
    conn: libvirt.virConnect, events: connection.Events, case: Case, aliases: set[str], seed: int, limit: int
) -> dict[str, int]:
    """Return after how many random writes each of these devices was gone; one that was not in ``limit`` is missing."""
    found: dict[str, int] = {}
    done, part = 0, 0
    while done < limit and found.keys() != aliases:
        part += 1
        with session(conn, events, case.xml, "controls") as one:
            try:
                while done < limit and found.keys() != aliases:
                    one.do([RESET, PREPARE])
                    noise = attacks.Noise(one.hardware, f"{seed} {part} {done}")
                    for _ in range(_ROUND // _STEP):
                        one.do(list(noise.writes(_STEP)))
                        done += _STEP
                        gone = aliases - one.ids() - found.keys()
                        found |= dict.fromkeys(gone, done)
            except Ended:
                done += _STEP  # started again, with all devices
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many times")
    parser.add_argument("--limit", type=int, default=1000000, help="writes at most")
    parser.add_argument("facts", nargs="*", metavar="FACT", default=["pc", "pc-slot-1", "q35", "q35-6.0", "virt"])
    given = parser.parse_args()
    conn = connection.connect()
    connection.sweep(conn)
    events = connection.Events(conn)
    for name in given.facts:
        case = load(DATA / "facts" / f"{name}.xml")
        by = removed(conn, events, case.xml)
        runs = [needed(conn, events, case, set(by), seed, given.limit) for seed in range(given.seeds)]
        for line in case.expected:
            if line.alias in by:
                counts = ", ".join(str(run.get(line.alias, f"not in {given.limit}")) for run in runs)
                device = line.alias.removeprefix("ua-")
                print(f"| {name} | {device} | {line.bus} | {by[line.alias]} | {counts} |", flush=True)


if __name__ == "__main__":
    main()
