"""Counts of test results, and the closing line that make check, make check-series and CI share."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Results:
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, other: "Results") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def line(self) -> str:
        line = f"{self.passed} passed, {len(self.failed)} failed"
        return line + (f", {len(self.skipped)} skipped" if self.skipped else "")


def from_pytest(path: Path) -> Results:
    """Results of a junit file that pytest wrote."""
    results = Results()
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            results.failed.append(name)
        elif skip is not None:
            results.skipped.append(f"{name}: {skip.get('message')}")
        else:
            results.passed += 1
    return results


def from_meson(path: Path) -> Results:
    """Results of a testlog.json that meson wrote."""
    results = Results()
    for line in path.read_text().splitlines():
        test = json.loads(line)
        if test["result"] in ("OK", "EXPECTEDFAIL"):
            results.passed += 1
        elif test["result"] == "SKIP":
            results.skipped.append(f"{test['name']}: {' '.join(test.get('stdout', '').split())}")
        else:
            results.failed.append(f"{test['name']}: {test['result']}")
    return results
