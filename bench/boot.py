"""How long a guest takes from libvirt's start call to its first program, and what its devices take up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from bench.domains import PLACEMENTS, domain
from bench.setup import Bench, Json, cpu_seconds
from bench.tables import ratio, table
from integration.domains.pci import Address, secondary_bus
from integration.guest.boot import boot
from integration.guest.report import Report
from integration.host import daemons
from integration.host.scratch import GuestError

TIMEOUT = 240.0
"""Seconds after which a guest is given up."""

TITLES = {
    "stock": "stock",
    "no": "enable='no'",
    "off": "off ports by hand",
    "packed": "packed by hand",
    "modern": "enable='no', virtio-non-transitional",
}


def windows(config: bytes) -> tuple[int, int]:
    """Return the size of a bridge's windows in bytes, from its configuration space: I/O, and memory of both kinds."""

    def word(offset: int, size: int = 2) -> int:
        return int.from_bytes(config[offset : offset + size], "little")

    def size(base: int, limit: int, unit: int) -> int:
        return max(0, limit + unit - base)

    io = size((config[0x1C] & 0xF0) << 8 | word(0x30) << 16, (config[0x1D] & 0xF0) << 8 | word(0x32) << 16, 1 << 12)
    memory = size((word(0x20) & 0xFFF0) << 16, (word(0x22) & 0xFFF0) << 16, 1 << 20)
    low, high = ((word(at) & 0xFFF0) << 16 | word(upper, 4) << 32 for at, upper in ((0x24, 0x28), (0x26, 0x2C)))
    return io, memory + size(low, high, 1 << 20)


def _topology(report: Report, devices: int) -> Json:
    """Sum up what the guest sees. Bridges behind bridges (there are none here) would count twice."""
    sizes = [windows(config) for config in report.configs.values()]
    virtio = [seen for seen in report.before.values() if seen.ident.startswith("1af4:")]
    if len(virtio) != devices:
        raise GuestError(f"the guest sees {len(virtio)} of {devices} devices")
    return {
        "bridges": len(report.configs),
        "buses": len({Address(0, secondary_bus(c), 0, 0) for c in report.configs.values()} | {Address(0, 0, 0, 0)}),
        "io_kib": sum(io for io, _ in sizes) >> 10,
        "memory_mib": sum(memory for _, memory in sizes) >> 20,
        "used": sum(seen.used for seen in virtio),
    }


def _boot(bench: Bench, count: int, placement: str, look: bool) -> Json:
    """Start one guest. With ``look``, let it go on to say what it sees."""
    side = bench.side(placement)
    partial = domain(count, placement)
    start = time.monotonic()
    with boot(side.events, partial, "boot", bench.machine) as guest:
        guest.wait(lambda report: "boot" in report.reached, TIMEOUT)
        seconds = time.monotonic() - start
        (pid,) = guest.processes()
        found: Json = {"seconds": seconds, "cpu_seconds": cpu_seconds(pid), "rss_kib": daemons.resident(pid)}
        if look:
            report = guest.wait(lambda report: "before" in report.reached, TIMEOUT)
            found |= _topology(report, count)
    return found


_MEDIANS = ("seconds", "cpu_seconds", "rss_kib")


def _row(bench: Bench, count: int, rounds: int, placements: Sequence[str] = PLACEMENTS) -> Json:
    """Start guests of all placements in turn, and return the medians."""
    runs: dict[str, list[Json]] = {placement: [] for placement in placements}
    for number in range(rounds):
        for placement in placements:
            run = _boot(bench, count, placement, look=number == 0)
            print(
                f"  {count} devices, {TITLES[placement]}: {run['seconds']:.1f} s, CPU {run['cpu_seconds']:.1f} s",
                flush=True,
            )
            runs[placement].append(run)
    return {
        placement: of[0] | {key: median(run[key] for run in of) for key in _MEDIANS} for placement, of in runs.items()
    }


def measure(bench: Bench) -> Json:
    """Boot guests of 8 to 120 devices under each placement."""
    rounds = {24: 1} if bench.quick else {8: 5, 24: 5, 64: 3, 120: 3}
    return {
        "sizes": list(rounds),
        "rounds": list(rounds.values()),
        "bare": _row(bench, 0, max(rounds.values()), ["stock"])["stock"],
        "rows": [_row(bench, count, n) for count, n in rounds.items()],
    }


def _times(found: Json, key: str) -> list[str]:
    head = ["devices", "n", f"{TITLES['stock']}, s", "above, s"]
    for placement in PLACEMENTS[1:]:
        head += [f"{TITLES[placement]}, s", "above, s", "ratio"]
    floor = found["bare"][key]
    rows = []
    for count, rounds, row in zip(found["sizes"], found["rounds"], found["rows"], strict=True):
        base, *others = (row[placement][key] for placement in PLACEMENTS)
        cells = [f"{base:.1f}", f"{base - floor:.2f}"]
        for value in others:
            cells += [f"{value:.1f}", f"{value - floor:.2f}", ratio(value - floor, base - floor)]
        rows.append([str(count), str(rounds), *cells])
    return table(head, rows)


def show(found: Json) -> list[str]:
    """Return the tables of times and of what the placements take up."""
    taken = [
        [str(count), TITLES[placement], *(str(row[placement].get(key, "")) for key in _TAKEN)]
        for count, row in zip(found["sizes"], found["rows"], strict=True)
        for placement in PLACEMENTS
    ]
    titles = ["bridges", "buses", "I/O windows, KiB", "memory windows, MiB", "devices whose driver works"]
    bare = found["bare"]
    return [
        f"Without any device the guest takes {bare['seconds']:.2f} s, {bare['cpu_seconds']:.2f} s of processor time:"
        " no placement can be faster. Above is the time above that; the ratio is of stock's above.",
        "",
        "By the clock (medians of n, in turn):",
        "",
        *_times(found, "seconds"),
        "",
        "Processor time of QEMU until then:",
        "",
        *_times(found, "cpu_seconds"),
        "",
        *table(["devices", "placement", *titles], taken),
    ]


_TAKEN = ("bridges", "buses", "io_kib", "memory_mib", "used")


def show_memory(found: Json) -> list[str]:
    """Return the table of QEMU's resident set when the guest's first program runs."""
    rows = []
    for count, row in zip(found["sizes"], found["rows"], strict=True):
        sizes = [row[placement]["rss_kib"] / 1024 for placement in PLACEMENTS]
        rows.append([str(count), f"{sizes[0]:.0f}", *(f"{size:.0f} ({ratio(size, sizes[0])})" for size in sizes[1:])])
    return table(["devices", *(f"{TITLES[placement]}, MiB" for placement in PLACEMENTS)], rows)
