"""Attack random domains, and say what QEMU lost.

usage: ./run python3 -m integration.noise [--arch ARCH] [--first N] [--domains N] [--writes N]

Domain N of an architecture is the same one with the same writes each time, on the same libvirt and QEMU.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress

import libvirt

from integration.host import connection
from integration.noise.campaign import WRITES
from integration.noise.run import ARCHES, one
from integration.noise.session import Outcome


class _Total:
    """The sums over many domains."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.domains = self.unstarted = self.lost = self.ended = 0
        self.sum = Outcome()

    def add(self, name: str, outcome: Outcome, xml: str) -> None:
        """Add one, and print what is to be said about it."""
        self.domains += 1
        self.sum.stayed += outcome.stayed
        self.sum.left += outcome.left
        self.sum.writes += outcome.writes
        self.sum.unsaved += outcome.unsaved
        self.ended += len(outcome.ended)
        self.lost += bool(outcome.losses)
        said = [str(loss) for loss in outcome.losses] + ([xml] if outcome.losses else [])
        said += [f"was not removed: {device}" for device in outcome.remained]
        said += [f"QEMU ended by itself: {part}" for part in outcome.ended]
        for line in said:
            print(f"{name}: {line}", flush=True)
        if self.domains % 20 == 0:
            print(f"{self.domains} domains, {time.monotonic() - self._start:.0f} s", flush=True)

    def __str__(self) -> str:
        return (
            f"{self.domains} domains ({self.unstarted} more did not start), {self.sum.writes} random writes, "
            f"{time.monotonic() - self._start:.0f} s: {self.sum.stayed} devices stayed, {self.lost} domains lost one "
            f"that must stay, {self.sum.left} that may go went, QEMU ended by itself {self.ended} times, "
            f"state was not saved {self.sum.unsaved} times"
        )


def main() -> int:
    """Return 1 if a device was lost that must stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=ARCHES, default="x86_64")
    parser.add_argument("--first", type=int, default=0, help="number of the first domain")
    parser.add_argument("--domains", type=int, default=100, help="how many domains")
    parser.add_argument("--writes", type=int, default=WRITES, help="random writes to each domain")
    given = parser.parse_args()
    conn = connection.connect()
    connection.sweep(conn)
    events, total = connection.Events(conn), _Total()
    # One that is interrupted says what it has found so far.
    with suppress(KeyboardInterrupt):
        for number in range(given.first, given.first + given.domains):
            name = f"{given.arch} {number}"
            try:
                total.add(name, *one(conn, events, given.arch, number, given.writes))
            except libvirt.libvirtError as error:
                if not conn.isAlive():
                    raise
                total.unstarted += 1
                print(f"{name}: does not start: {error}", flush=True)
    version = ".".join(map(str, connection.version(connection.emulator(given.arch))))
    print(f"QEMU {version} {given.arch}: {total}")
    return total.lost > 0


if __name__ == "__main__":
    sys.exit(main())
