#!/usr/bin/env python3
"""Build and test libvirt after each patch of the series: every patch must stand by itself.

The work is done in build/series, with one build directory that goes from patch to patch, from the last one down. It
begins as a copy of what make build has built, where mounting is allowed: less is compiled then. A commit that passed
with the present configuration is remembered there and not built again. syntax-check is about the files that the series
has changed so far; over the whole tree, with the whole series, it is part of make check.
"""

import argparse
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import series
from results import Results, from_junit

TOP = series.TOP
WORK = TOP / "build/series"
TREE = WORK / "libvirt"
MESON = WORK / "build/libvirt"

# Commands to compile name the directories: a copy is of use only where the original was.
VIEWED = TOP / "libvirt", TOP / "build/libvirt"
VIEW = ["unshare", "--mount", "bash", "-euc"]
VIEW += ['mkdir -p "$1" "$2"; mount --bind "$1" "$3"; mount --bind "$2" "$4"; shift 4; exec "$@"', "bash"]
VIEW += map(str, (TREE, MESON, *VIEWED))
CCACHE = ["bash", "-euc", '. tools/lib.sh; exec "$@"', "bash"]
"""What a command begins with to have the settings of our scripts."""

LIMIT = 1800
"""Seconds that a step may take."""


@functools.cache
def places() -> tuple[list[str], Path, Path]:
    """Return what commands begin with, and where they see the sources and the build."""
    can = subprocess.call([*VIEW, "true"], stderr=subprocess.DEVNULL) == 0
    return ([*VIEW, *CCACHE], *VIEWED) if can else (CCACHE, TREE, MESON)


def step(what: str, command: list[str | Path], log: Path, env: dict[str, str]) -> bool:
    """Run one step for a patch; say how long it took, and return whether it worked."""
    start = time.monotonic()
    command = [*places()[0], *command]
    with log.open("ab") as output:
        try:
            code = subprocess.call(
                command, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            output.write(f"ended after {LIMIT} s\n".encode())
            code = 1
    print(f"  {what}: {'FAILED' if code else 'ok'} {time.monotonic() - start:.0f} s", flush=True)
    return code == 0


def check_commit(commit: str, options: list[str], env: dict[str, str]) -> Results:
    """Build a commit and run its suite."""
    log = WORK / f"{commit[:12]}.log"
    log.unlink(missing_ok=True)
    testlog = MESON / "meson-logs/testlog.junit.xml"
    testlog.unlink(missing_ok=True)
    series.run("git", "checkout", "--quiet", "--force", "--detach", commit, cwd=TREE)
    changed = WORK / "changed"
    changed.write_text(series.run("git", "diff", "--name-only", "--diff-filter=d", series.BASE, commit))
    # po_check is the one rule that is about all files together.
    whole = "cd $(top_srcdir) && git ls-files"
    env = env | {"VC_LIST": f"$(if $(filter sc_po_check,$@),{whole},cat {changed})"}
    _, tree, build = places()
    stages: list[tuple[str, list[str | Path]]] = [
        ("build", ["ninja", "-C", build]),
        ("test", [TOP / "tools/test-libvirt.sh", build]),
    ]
    if not (MESON / "build.ninja").exists():
        stages.insert(0, ("configure", ["meson", "setup", build, tree, *options]))
    ok = all(step(what, command, log, env) for what, command in stages)
    results = from_junit(testlog) if testlog.exists() else Results()
    if not ok and not results.failed:
        results.failed.append("does not build, or the suite does not run")
    if results.failed:
        print("\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-60:]))
        print(f"  all of it: {log.relative_to(TOP)}", flush=True)
    return results


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patches", nargs="?", default="1-", help="numbers, from 1: 3, 3-5 or 3- (default: all)")
    parser.add_argument("--but-last", action="store_true", help="not the last one, which make check builds and tests")
    return parser.parse_args()


def chosen(wanted: str, count: int) -> tuple[int, int]:
    """Return the first and the last number of a range like 3, 3-5 or 3- of ``count`` patches."""
    found = re.fullmatch(r"(\d+)(-?)(\d*)", wanted)
    if not found:
        raise series.Failure("PATCHES is a number or a range: 3, 3-5 or 3-")
    first = int(found[1])
    last = int(found[3] or (count if found[2] else first))
    if not 1 <= first <= last <= count:
        raise series.Failure(f"there are patches 1 to {count}, not {wanted}")
    return first, last


def begin(options: list[str]) -> None:
    """Forget what passed in another way, and begin with a copy of what make build has built, if that can be used."""
    for of_before in (TREE, MESON, WORK / "passed"):
        shutil.rmtree(of_before, ignore_errors=True)
    (WORK / "passed").mkdir(parents=True)
    built = VIEWED[1] / "options"
    if places()[1] != TREE and built.exists() and built.read_text().split() == options:
        for original, copy in zip(VIEWED, (TREE, MESON), strict=True):
            shutil.copytree(original, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True)
    series.run("git", "init", "--quiet", TREE, cwd=TOP)


def prepare(tip: str) -> list[str]:
    """Have the series in the tree to check, and return meson's options."""
    shared = subprocess.run(
        ["bash", "-c", '. tools/lib.sh && . tools/meson-options.sh && printf "%s\\n" "${meson_options[@]}"'],
        cwd=TOP, capture_output=True, text=True, check=True,
    )  # fmt: skip
    options = shared.stdout.split()
    # What a remembered pass depends on beside the commit.
    tools = [TOP / "tools" / name for name in ("check_series.py", "test-libvirt.sh", "requirements-build.txt")]
    said = map(str.encode, [*options, str(places())])
    recipe = hashlib.sha256(b"".join([*said, *(tool.read_bytes() for tool in tools)])).hexdigest()
    if not (WORK / "recipe").exists() or (WORK / "recipe").read_text() != recipe:
        begin(options)
        (WORK / "recipe").write_text(recipe)
    series.run("git", "push", "--quiet", "--force", TREE, f"{tip}:refs/heads/checked")
    # Only files that differ are written, and so compiled, anew.
    series.run("git", "reset", "--quiet", tip, cwd=TREE)
    return options


def remembered(commit: str, options: list[str]) -> Results:
    """Check a commit, unless it has passed before."""
    env = dict(os.environ)
    env["PATH"] = f"{TOP / 'build/venv/bin'}:{env['PATH']}"
    stamp = WORK / "passed" / commit
    if stamp.exists():
        print(f"  passed before: {stamp.read_text()}", flush=True)
        return Results(int(stamp.read_text().split()[0]))
    results = check_commit(commit, options, env)
    print(f"  {results.line()}", flush=True)
    for test in results.skipped:
        print(f"  skipped: {test}", flush=True)
    if not results.failed:
        stamp.write_text(results.line())
    return results


def main() -> int:
    """Check the patches that are asked for and return 1 if one failed."""
    given = arguments()
    tip = series.apply(series.BASE, series.patches())
    commits = series.run("git", "rev-list", "--reverse", f"{series.BASE}..{tip}").split()
    first, last = chosen(given.patches, len(commits))
    options = prepare(tip)
    total = Results()
    start = time.monotonic()
    for number in reversed(range(first, min(last, len(commits) - given.but_last) + 1)):
        commit = commits[number - 1]
        subject = series.run("git", "log", "-1", "--format=%s", commit)
        print(f"[{time.monotonic() - start:5.0f} s] patch {number}/{len(commits)}: {subject}", flush=True)
        results = remembered(commit, options)
        total.add(Results(results.passed, [f"patch {number}: {test}" for test in results.failed], results.skipped))
    for test in total.failed:
        print(f"failed: {test}")
    print(total.line())
    return 1 if total.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except series.Failure as failure:
        sys.exit(f"check-series: {failure}")
