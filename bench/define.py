"""What defining a domain costs: parse, place, validate, write."""

from __future__ import annotations

import math
import os
import re
import subprocess
import time
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.domains import domain
from bench.setup import Bench, Json, Side
from bench.tables import ratio, table
from integration.domains import definitions, domxml
from integration.host import connection
from integration.host.scratch import scratch

SIZES = (1, 8, 32, 128, 200)
_CALL = "qemuDomainDefineXMLFlags"
_VARIANTS = ("stock", "patched", "patched, enable='no'")


def _variants(bench: Bench) -> list[tuple[str, Side, str]]:
    """Return what is compared: name, libvirt, placement."""
    return list(zip(_VARIANTS, (bench.stock, bench.patched, bench.patched), ("stock", "stock", "no"), strict=True))


def _xml(count: int, placement: str, name: str, directory: Path) -> str:
    whole = definitions.named(domain(count, placement), name, str(uuid4()))
    domxml.give_disks(whole, directory)
    return domxml.text(whole)


def _seconds(side: Side, xml: str) -> float:
    start = time.perf_counter()
    defined = side.conn.defineXMLFlags(xml)
    taken = time.perf_counter() - start
    connection.discard(defined)
    return taken


def _wall(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """Define on all in turn; return the medians in milliseconds, by size."""
    found: dict[str, list[float]] = {name: [] for name in _VARIANTS}
    with scratch("define") as (name, directory):
        for count in SIZES:
            domains = [(side, _xml(count, placement, name, directory)) for _, side, placement in _variants(bench)]
            taken = [[_seconds(side, xml) for side, xml in domains] for _ in range(rounds)]
            for what, times in zip(_VARIANTS, zip(*taken, strict=True), strict=True):
                found[what].append(1000 * median(times))
    return found


def _instructions(side: Side, placements: list[str], sizes: tuple[int, ...], rounds: int) -> dict[str, list[float]]:
    """Count the driver's instructions for one definition with callgrind; medians in millions, by size.

    virsh with qemu:///embed runs the same driver as the daemon, in one process. Its first
    definition, which asks QEMU what it can do, is not counted.
    """
    with scratch("callgrind") as (name, directory):
        commands = []
        for number, (count, placement) in enumerate([(1, "stock"), *((c, p) for p in placements for c in sizes)]):
            file = directory / f"{number}.xml"
            file.write_text(_xml(count, placement, name, directory))
            commands += [f"define {file}; undefine {name}"] * (rounds if number else 1)
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/profile"),
                *(f"--toggle-collect={_CALL}", f"--dump-after={_CALL}", side.build / "tools/virsh"),
                *("-c", f"qemu:///embed?root={directory}/root", "; ".join(commands)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"},  # its own libraries
        )
        if done.returncode:
            raise RuntimeError(f"callgrind of {side.name}: {done.stderr[-2000:]}")
        counts = [_total(directory / f"profile.{number}") for number in range(2, len(commands) + 1)]
    medians = [median(counts[at : at + rounds]) / 1e6 for at in range(0, len(counts), rounds)]
    return {p: medians[at * len(sizes) : (at + 1) * len(sizes)] for at, p in enumerate(placements)}


def _total(profile: Path) -> int:
    """Read how many instructions a profile of callgrind has. The domain's process id may end its name."""
    found = re.search(r"^totals: (\d+)", profile.read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"{profile} counts nothing")
    return int(found.group(1))


def measure(bench: Bench) -> Json:
    """Define domains of 1 to 200 devices, by the clock and by instructions."""
    rounds, repeats = (5, 1) if bench.quick else (25, 3)
    sizes = (8, 200) if bench.quick else SIZES
    stock = _instructions(bench.stock, ["stock"], sizes, repeats)
    patched = _instructions(bench.patched, ["stock", "no"], sizes, repeats)
    counts = dict(zip(_VARIANTS, (stock["stock"], patched["stock"], patched["no"]), strict=True))
    wall = _wall(bench, rounds)
    return {
        "sizes": SIZES,
        "wall": wall,
        "rounds": rounds,
        "counted": sizes,
        "instructions": counts,
        "repeats": repeats,
    }


def growth(sizes: list[int], values: list[float]) -> float:
    """Return the exponent with which the values grow between the last two sizes: 1 is linear."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def show(found: Json) -> list[str]:
    """Return the tables."""

    def rows(sizes: list[int], values: dict[str, list[float]]) -> list[list[str]]:
        stock, plain, off = (values[name] for name in _VARIANTS)
        lines = [
            [str(count), f"{s:.1f}", f"{p:.1f}", ratio(p, s, 3), f"{o:.1f}", ratio(o, s)]
            for count, s, p, o in zip(sizes, stock, plain, off, strict=True)
        ]
        return [*lines, ["growth", *(cell for v in (stock, plain, off) for cell in (f"{growth(sizes, v):.2f}", ""))]]

    def head(unit: str) -> list[str]:
        return ["devices", f"stock, {unit}", f"patched, {unit}", "ratio", f"enable='no', {unit}", "ratio"]

    def without_gap(cells: list[list[str]]) -> list[list[str]]:
        return [row if len(row) == 6 else [*row[:2], *row[3:]] for row in cells]

    return [
        f"Instructions of the driver (callgrind; medians of {found['repeats']}), in millions:",
        "",
        *table(head("10⁶"), without_gap(rows(found["counted"], found["instructions"]))),
        "",
        f"By the clock, from a client of the daemon (medians of {found['rounds']}, in turn):",
        "",
        *table(head("ms"), without_gap(rows(found["sizes"], found["wall"]))),
        "",
        "The growth is the exponent between the last two sizes: 1 is linear, 2 quadratic.",
    ]
