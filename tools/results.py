"""Counts of test results, and the closing line that make check, make check-series and CI share."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Results:
    """What became of some tests. ``times`` are seconds and the test's name."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    times: list[tuple[float, str]] = field(default_factory=list)

    def add(self, other: "Results", prefix: str = "") -> None:
        """Take in other results, under names that begin with ``prefix``."""
        self.passed += other.passed
        self.failed += [prefix + test for test in other.failed]
        self.skipped += [prefix + test for test in other.skipped]
        self.times += [(seconds, prefix + test) for seconds, test in other.times]

    def line(self) -> str:
        """Sum up."""
        line = f"{self.passed} passed, {len(self.failed)} failed"
        return line + (f", {len(self.skipped)} skipped" if self.skipped else "")


def from_junit(path: Path) -> Results:
    """Return the results in a JUnit file, as pytest and meson write it.

    meson leaves out that a test ran out of time; its exit status tells.
    """
    results = Results()
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('integration.tests.')}.{case.get('name')}"
        # Without the group that pytest-xdist shares tests out by.
        name = re.sub(r"@[^@\]]*$", "", name)
        results.times.append((float(case.get("time") or 0), name))
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            results.failed.append(name)
        elif skip is not None:
            why = skip.get("message") or " ".join(case.findtext("system-out", "").split())
            results.skipped.append(f"{name}: {why}")
        else:
            results.passed += 1
    return results
