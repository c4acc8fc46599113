#!/usr/bin/env python3
"""Run stages of tox.ini, sum up their tests, and end with 'N passed, N failed'.

Of a stage's section this reads what tox does not know: ``limit``, the seconds after which it is ended, and ``results``,
its JUnit file; a stage without one is a test by itself. How long each took is kept in build/check/times.json, for
make bench.
"""

import argparse
import configparser
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from results import Results, from_junit

TOP = Path(__file__).resolve().parent.parent
LOGS = TOP / "build/check"
TIMES = LOGS / "times.json"
_SLOWEST = 10


def keep_time(stage: str, seconds: float, results: Results, known: list[str]) -> None:
    """Keep how long a stage took when it last ran; forget what is no stage any more."""
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    times = {name: of for name, of in times.items() if name in known}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    times[stage] = {"seconds": round(seconds), "result": results.line(), "date": date}
    TIMES.write_text(json.dumps(times, indent=1))


def execute(stage: str, log: Path, limit: float) -> int | None:
    """Run a stage, saying now and then what it does; return its exit status, or None if it took too long."""
    start = time.monotonic()
    command: list[str | Path] = [TOP / "build/venv/bin/tox", "run", "--quiet", "-e", stage]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        while (past := time.monotonic() - start) < limit:
            try:
                return process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
                print(f"  {stage} {past + 30:4.0f} s: {' '.join(last)[:100]}", flush=True)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
    return None


def run_stage(stage: str, section: configparser.SectionProxy, known: list[str]) -> tuple[float, Results]:
    """Run a stage and return its seconds and results."""
    log = LOGS / f"{stage}.log"
    file = TOP / section["results"] if "results" in section else None
    if file:
        file.unlink(missing_ok=True)
    start = time.monotonic()
    code = execute(stage, log, float(section["limit"]))
    seconds = time.monotonic() - start

    results = Results()
    if file and file.exists():
        results = from_junit(file)
    elif code == 0 and not file:
        results.passed = 1
    # A stage that broke off counts as one failure more, whatever it had done before.
    if code is None:
        results.failed.append(f"the stage itself: ended after {seconds:.0f} s, its limit")
    elif (code and not results.failed) or not (results.passed or results.failed):
        results.failed.append(f"the stage itself: exit status {code}")
    keep_time(stage, seconds, results, known)
    print(f"{stage:16} {seconds:4.0f} s: {results.line()}", flush=True)
    if results.failed:
        print("\n".join([f"    {line}" for line in log.read_text(errors="replace").splitlines()[-60:]]))
        print(f"  all of it: {log.relative_to(TOP)}; again: build/venv/bin/tox run -e {stage}", flush=True)
    return seconds, results


def main() -> int:
    """Run the stages that are asked for and return 1 if anything failed."""
    # tox's own substitutions are not ours.
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(TOP / "tox.ini")
    known = [name.removeprefix("testenv:") for name in tox.sections() if name.startswith("testenv:")]
    usual = [name.strip() for name in tox["tox"]["env_list"].split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"some of: {', '.join(known)}")
    parser.add_argument("--nightly", action="store_true", help="all of them")
    given = parser.parse_args()
    stages: list[str] = given.stages or (known if given.nightly else usual)
    if unknown := set(stages) - set(known):
        parser.error(f"there is no stage {', '.join(sorted(unknown))}; there are {', '.join(known)}")

    LOGS.mkdir(parents=True, exist_ok=True)
    total = Results()
    times: list[str] = []
    for stage in stages:
        seconds, results = run_stage(stage, tox[f"testenv:{stage}"], known)
        times.append(f"{stage} {seconds:.0f}")
        total.add(results, f"{stage}: ")
    for test in total.skipped:
        print(f"skipped: {test}")
    for test in total.failed[:20]:
        print(f"failed: {test}")
    if len(total.failed) > 20:
        print(f"failed: and {len(total.failed) - 20} more, see the logs in {LOGS.relative_to(TOP)}")
    print(f"seconds: {', '.join(times)}")
    for seconds, test in sorted(total.times, reverse=True)[:_SLOWEST]:
        print(f"  {seconds:5.1f} {test}")
    print(total.line())
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
