"""The reader of JUnit files, and the sum of them."""

from __future__ import annotations

from pathlib import Path

from results import Results, from_junit

JUNIT = """
<testsuites>
  <testsuite name="one">
    <testcase classname="integration.tests.test_a" name="good" time="1.5"/>
    <testcase classname="integration.tests.test_a" name="bad" time="0.5"><failure/></testcase>
    <testcase classname="integration.tests.test_a" name="broken"><error message="why">text</error></testcase>
  </testsuite>
  <testsuite name="two">
    <testcase classname="libvirt" name="meson's"><skipped/><system-out>no
      tool</system-out></testcase>
    <testcase classname="libvirt" name="pytest's"><skipped message="no tool">text</skipped></testcase>
  </testsuite>
</testsuites>
"""


def test_sum(tmp_path: Path) -> None:
    """Each test is counted once, under the name and for the reason that it has."""
    path = tmp_path / "junit.xml"
    path.write_text(JUNIT)
    total = Results()
    total.add(from_junit(path), "stage: ")
    assert total.failed == ["stage: test_a.bad", "stage: test_a.broken"]
    assert total.skipped == ["stage: libvirt.meson's: no tool", "stage: libvirt.pytest's: no tool"]
    assert sorted(total.times)[-1] == (1.5, "stage: test_a.good")
    assert total.line() == "1 passed, 2 failed, 2 skipped"
