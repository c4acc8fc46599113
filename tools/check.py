#!/usr/bin/env python3
"""Run the stages of tox.ini, sum up their tests, and end with 'N passed, N failed'.

How long each stage took is kept in build/check/times.json, for make bench.

usage: tools/check.py [STAGE...]
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from results import Results, from_meson, from_pytest

TOP = Path(__file__).resolve().parent.parent
LOGS = TOP / "build/check"
TIMES = LOGS / "times.json"

# Cheap ones first. Those without a results file are one test each: their exit code.
STAGES: dict[str, tuple[Path, Callable[[Path], Results]] | None] = {
    "patches": None,
    "lint": None,
    "schema": (LOGS / "schema.xml", from_pytest),
    "upstream": (TOP / "build/libvirt/meson-logs/testlog.json", from_meson),
    "integration": (LOGS / "integration.xml", from_pytest),
    "monolithic": (LOGS / "monolithic.xml", from_pytest),
    "sanitized": (TOP / "build/sanitized/meson-logs/testlog.json", from_meson),
    "sanitized-daemon": (LOGS / "sanitized-daemon.xml", from_pytest),
}


def keep_time(stage: str, seconds: float, results: Results) -> None:
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    times[stage] = {"seconds": round(seconds), "result": results.line(), "date": date}
    TIMES.write_text(json.dumps(times, indent=1))


def run_stage(stage: str) -> Results:
    log = LOGS / f"{stage}.log"
    start = time.monotonic()
    file_and_reader = STAGES[stage]
    if file_and_reader:
        file_and_reader[0].unlink(missing_ok=True)
    with log.open("wb") as output:
        command: list[str | Path] = [TOP / "build/venv/bin/tox", "run", "-e", stage]
        process = subprocess.Popen(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        while True:
            try:
                code = process.wait(timeout=30)
                break
            except subprocess.TimeoutExpired:
                last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
                print(f"  {stage} {time.monotonic() - start:4.0f} s: {' '.join(last)[:100]}", flush=True)

    results = Results()
    if file_and_reader and file_and_reader[0].exists():
        results = file_and_reader[1](file_and_reader[0])
    elif not code and not file_and_reader:
        results.passed = 1
    # A stage that broke off counts as one failure more, whatever it had done before.
    if (code and not results.failed) or not (results.passed or results.failed or results.skipped):
        results.failed.append(f"the stage itself: exit code {code}")
    seconds = time.monotonic() - start
    keep_time(stage, seconds, results)
    print(f"{stage:16} {seconds:4.0f} s: {results.line()}", flush=True)
    if results.failed:
        print("\n".join([f"    {line}" for line in log.read_text(errors="replace").splitlines()[-60:]]))
        print(f"  all of it: {log.relative_to(TOP)}; again: build/venv/bin/tox run -e {stage}", flush=True)
    return results


def main() -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    total = Results()
    for stage in sys.argv[1:] or STAGES:
        results = run_stage(stage)
        total.add(
            Results(
                results.passed,
                [f"{stage}: {test}" for test in results.failed],
                [f"{stage}: {test}" for test in results.skipped],
            )
        )
    for test in total.skipped:
        print(f"skipped: {test}")
    for test in total.failed[:20]:
        print(f"failed: {test}")
    if len(total.failed) > 20:
        print(f"failed: and {len(total.failed) - 20} more, see the logs in {LOGS.relative_to(TOP)}")
    print(total.line())
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
