"""Measure, keep what was found in bench/results.json, and show all of it in bench/results.md and results.svg.

usage: ./run --stock --optimized --host=st ./run --optimized python3 -m bench [CASE...]     (make bench;
CASES="define boot" for some)

Without CASE all but "clone" and "checks" are measured, which build everything anew. QUICK=1 takes few and small
measurements, shows them on the terminal and keeps nothing. What was not measured now is shown from results.json, with
its date.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import libvirt

from bench import boot, build, capacity, define, memory, scale
from bench.setup import Bench, Json, description, prepare
from integration.host.scratch import GuestError

_HERE = Path(__file__).parent
_CASES: dict[str, Callable[[Bench], Json]] = {
    "define": define.measure,
    "boot": boot.measure,
    "capacity": capacity.measure,
    "memory": memory.measure,
    "scale": scale.measure,
    "clone": build.measure,
    "checks": build.measure_checks,
}
_ALONE = ("clone", "checks")
"""Cases that build everything anew."""


def _about(found: Json) -> str:
    where = found["where"]
    return (
        f"{where['date']}; {where['processor']}, {where['memory']}, {where['kernel']}; QEMU {where['qemu']}, "
        f"{where['accelerator']}; load average at the start {where['load']}; took {found['took']:.0f} s"
        + ("; QUICK" if where["quick"] else "")
    )


def document(results: Json) -> str:
    """Write Markdown about everything that was found. A case that never was is left out."""
    parts: list[tuple[str, str, Callable[[Json], list[str]]]] = [
        ("Define", "define", define.show),
        ("Start to guest userspace", "boot", boot.show),
        ("Capacity", "capacity", capacity.show),
        ("Memory of QEMU, when the guest's first program runs", "boot", boot.show_memory),
        ("Memory of the daemon", "memory", memory.show),
        ("Many domains", "scale", scale.show),
        ("Build", "clone", build.show),
        ("Checks, before and after", "checks", build.show_checks),
        ("Checks", "stages", build.show_stages),
        ("Checks of version 1 of the series", "stages_version_1", build.show_stages),
    ]
    lines = ["# Side by side with stock libvirt 11.3.0", "", "Written by `make bench`; README.md says what is what."]
    lines += ["", "![Time to define a domain, and to start its guest](results.svg)"]
    for title, key, show in parts:
        if key in results:
            lines += ["", f"## {title}", "", *show(results[key])]
            if "where" in results[key]:
                lines += ["", f"*{_about(results[key])}*"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure what the command line asks for; 0 if all of it could be measured."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quick = bool(os.environ.get("QUICK"))
    wanted = sys.argv[1:] or [case for case in _CASES if case not in _ALONE]
    unknown = set(wanted) - set(_CASES)
    if unknown:
        print(f"bench: {', '.join(sorted(unknown))}: the cases are {', '.join(_CASES)}", file=sys.stderr)
        return 2
    kept = _HERE / "results.json"
    results: Json = json.loads(kept.read_text()) if kept.exists() and not quick else {}
    failed = 0
    for case in wanted:
        try:
            bench = prepare(quick)
            print(f"{case}:", flush=True)
            where, start = description(bench), time.monotonic()
            results[case] = _CASES[case](bench) | {"where": where, "took": time.monotonic() - start}
        except (libvirt.libvirtError, GuestError, RuntimeError) as error:
            print(f"bench: {case}: {error}", file=sys.stderr)
            failed = 1
            continue
        print(f"{case}: {results[case]['took']:.0f} s", flush=True)
        if not quick:
            kept.write_text(json.dumps(results, indent=1) + "\n")
    stages = build.stages()
    if stages:
        results["stages"] = stages
    text = document(results)
    if quick:
        print(text)
        return failed
    from bench import plot

    kept.write_text(json.dumps(results, indent=1) + "\n")
    (_HERE / "results.md").write_text(text)
    plot.draw(results, _HERE / "results.svg")
    print(text)
    return failed


if __name__ == "__main__":
    sys.exit(main())
