"""How long it takes from a fresh clone to the demo, and each stage of the checks."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import time

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


def _demo(commit: str) -> Json:
    """Clone, run the demo in the clone of a commit with no compiler cache, and return what it said when."""
    shutil.rmtree(_CLONE, ignore_errors=True)
    said: list[tuple[float, str]] = []
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, _CLONE], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=_CLONE, check=True)
        with subprocess.Popen(
            ["make", "demo"],
            cwd=_CLONE,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as demo:
            for line in demo.stdout or ():
                text = line.strip()
                if not _NOISE.match(text):
                    said.append((time.monotonic() - start, text))
                    print(f"  {said[-1][0]:4.0f} s: {text}", flush=True)
        if demo.returncode:
            raise RuntimeError(f"make demo in a fresh clone ended with {demo.returncode}")
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([_CLONE / "run", "--stop"], check=True, env=_environment())
    finally:
        shutil.rmtree(_CLONE, ignore_errors=True)
    # Not that of the guests and daemons, which are nobody's children.
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"commit": commit, "said": said, "seconds": seconds, "processor": processor}


def measure(_bench: Bench) -> Json:
    """Run the demo in a fresh clone and, if BEFORE names a commit, in one of that, before."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    other = os.environ.get("BEFORE")
    found = {"before": _demo(other)} if other else {}
    return _demo(commit.stdout.strip()) | found


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
            [what, f"{other[key]:.0f}", f"{found[key]:.0f}", f"{found[key] / other[key]:.2f}"]
            for what, key in (("until it ended, s", "seconds"), ("processor time without guests, s", "processor"))
        ]
        names = [f"commit {one['commit'][:12]}" for one in (other, found)]
        shown += ["", *table(["make demo in a fresh clone", *names, "ratio"], sums)]
    return shown


def show_stages(found: Json) -> list[str]:
    """Return the table of the stages of make check."""
    rows = [[stage, f"{of['seconds']:.0f}", of["result"]] for stage, of in found.items()]
    return table(["stage of make check", "s", "result"], rows)
