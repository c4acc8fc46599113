"""How long it takes from a fresh clone to the demo, and each stage of the checks."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.setup import Bench, Json
from bench.tables import table
from integration.paths import BUILD, ROOT

STAGES = BUILD / "check/times.json"
"""Written by tools/check.py."""

_CLONE = BUILD / "clone"
_NOISE = re.compile(r"\[\d+/\d+\]|ninja: |$")


def _environment() -> dict[str, str]:
    """Return the environment without what ./run, make and we ourselves put into it."""
    ours = re.compile("LIBVIRT_|LD_LIBRARY_PATH|MAKE|MFLAGS|CCACHE_|QEMU")
    env = {key: value for key, value in os.environ.items() if not ours.match(key)}
    env["PATH"] = ":".join(part for part in env["PATH"].split(":") if not part.startswith(str(BUILD)))
    # What the mirror takes to deliver is not ours to measure, as far as it can be left out.
    tarballs = sorted(BUILD.glob("libvirt-*.tar.xz"))
    return env | ({"LIBVIRT_TARBALL": str(tarballs[0])} if tarballs else {})


@contextmanager
def _clone(commit: str) -> Iterator[Path]:
    """Return a fresh clone of a commit, without a compiler cache; its daemons end, and it is removed."""
    shutil.rmtree(_CLONE, ignore_errors=True)
    try:
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, _CLONE], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=_CLONE, check=True)
        yield _CLONE
        subprocess.run([_CLONE / "run", "--stop"], check=True, env=_environment())
    finally:
        shutil.rmtree(_CLONE, ignore_errors=True)


def _make(clone: Path, target: str) -> tuple[int, list[tuple[float, str]]]:
    """Make a target; return make's exit status, and what was said when, which is shown."""
    said: list[tuple[float, str]] = []
    start = time.monotonic()
    with subprocess.Popen(
        ["make", target],
        cwd=clone,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            text = line.strip()
            if not _NOISE.match(text):
                said.append((time.monotonic() - start, text))
                print(f"  {said[-1][0]:4.0f} s: {text}", flush=True)
    return process.returncode, said


def _demo(commit: str) -> Json:
    """Run the demo in a fresh clone of a commit, and return what it said when. Raises RuntimeError if it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with _clone(commit) as clone:
        code, said = _make(clone, "demo")
        if code:
            raise RuntimeError(f"make demo in a fresh clone ended with {code}")
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    # Not that of the guests and daemons, which are nobody's children.
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"commit": commit, "said": said, "seconds": seconds, "processor": processor}


def _checks(commit: str) -> Json:
    """Build a fresh clone of a commit, and return the stages of make check there, whether tests fail or not."""
    with _clone(commit) as clone:
        if code := _make(clone, "build")[0]:
            raise RuntimeError(f"make build in a fresh clone ended with {code}")
        _make(clone, "check")
        return {"commit": commit, "stages": json.loads((clone / STAGES.relative_to(ROOT)).read_text())}


def _with_before(measured: Callable[[str], Json]) -> Json:
    """Measure a commit that BEFORE names, then the present one."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    other = os.environ.get("BEFORE")
    found = {"before": measured(other)} if other else {}
    return measured(commit.stdout.strip()) | found


def measure(_bench: Bench) -> Json:
    """Run the demo in a fresh clone and, if BEFORE names a commit, in one of that, before."""
    return _with_before(_demo)


def measure_checks(_bench: Bench) -> Json:
    """Run make check in a fresh clone that is built and, if BEFORE names a commit, in one of that, before."""
    return _with_before(_checks)


def stages() -> Json:
    """Return the seconds of each stage when make check last ran here, or nothing."""
    try:
        found: Json = json.loads(STAGES.read_text())
    except FileNotFoundError:
        return {}
    return found


def show(found: Json) -> list[str]:
    """Return the table of what was said when: the build's steps and the demo's."""
    step = re.compile(r"\[ *\d+ ?s\] ")
    rows = [[step.sub("", text).replace("|", "\\|"), f"{at:.0f}"] for at, text in found["said"] if step.match(text)]
    rows.append(["demo ended", f"{found['seconds']:.0f}"])
    shown = table(["from a fresh clone (make demo)", "after, s"], rows)
    if other := found.get("before"):
        sums = [
            _pair(what, other[key], found[key])
            for what, key in (("until it ended, s", "seconds"), ("processor time without guests, s", "processor"))
        ]
        shown += ["", *table(["make demo in a fresh clone", *_names(other, found), "ratio"], sums)]
    return shown


def _pair(what: str, before: float, after: float) -> list[str]:
    return [what, f"{before:.0f}", f"{after:.0f}", f"{after / before:.2f}"]


def _names(*found: Json) -> list[str]:
    return [f"commit {one['commit'][:12]}" for one in found]


def show_checks(found: Json) -> list[str]:
    """Return the table of the stages of make check in fresh clones that were built, the older commit first."""
    both = [found["before"], found] if "before" in found else [found]
    stages = dict.fromkeys(stage for one in reversed(both) for stage in one["stages"])
    seconds = [{stage: of["seconds"] for stage, of in one["stages"].items()} for one in both]
    rows = [[stage, *(f"{of[stage]:.0f}" if stage in of else "" for of in seconds), ""] for stage in stages]
    sums = [sum(of.values()) for of in seconds]
    rows.append(_pair("all", *sums) if len(sums) == 2 else ["all", f"{sums[0]:.0f}", ""])
    rows.append(["tests", *(_line(one["stages"]) for one in both), ""])
    return table(["make check in a built clone, s", *_names(*both), "ratio"], rows)


def _line(stages: Json) -> str:
    """Add up what the stages said of their tests."""
    total: Counter[str] = Counter()
    for of in stages.values():
        for count, what in re.findall(r"(\d+) (\w+)", of["result"]):
            total[what] += int(count)
    return ", ".join(f"{count} {what}" for what, count in total.items())


def show_stages(found: Json) -> list[str]:
    """Return the table of the stages of make check."""
    rows = [[stage, f"{of['seconds']:.0f}", of["result"]] for stage, of in found.items()]
    return table(["stage of make check", "s", "result"], rows)
