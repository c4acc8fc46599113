"""The loader of cases: errors that it must find."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.oracle.cases import load

_XML = """\
<domain><devices>
  <controller type='pci' index='1' model='pcie-root-port'/>
  <rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-a'/></rng>
  <rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-b'/></rng>
</devices></domain>
"""
_A, _B = "ua-a  slot-power  pcie-root-port\n", "ua-b  7.2:yes,no  pcie-root\n"


def _case(directory: Path, expected: str) -> Path:
    path = directory / "case.xml"
    path.write_text(_XML)
    path.with_suffix(".verdicts").write_text(expected)
    return path


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        ("", "nothing is expected of it"),
        ("# only a comment\n", "nothing is expected of it"),
        (_A, "ua-b"),
        (_A + _B + "ua-c  no  pcie-root\n", "ua-c"),
        (_A + "ua-b  no\n", "unpack"),
        (_A + "ua-b  maybe  pcie-root\n", "maybe is no answer"),
    ],
)
def test_bad_expectations(tmp_path: Path, expected: str, wrong: str) -> None:
    """A file that is empty, lacks a device, names one too many, has half a line or a wrong word is an error."""
    with pytest.raises(ValueError, match=wrong):
        load(_case(tmp_path, expected))


def test_no_expectations(tmp_path: Path) -> None:
    """A case without a file of expectations is an error."""
    (tmp_path / "case.xml").write_text(_XML)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "case.xml")


def test_expectations(tmp_path: Path) -> None:
    """An expectation depends on QEMU's version, and a version without one is an error."""
    case = load(_case(tmp_path, _A + _B + "attack:acpi  done  1\n"))
    assert [line.alias for line in case.expected] == ["ua-a", "ua-b"]
    assert [line.alias for line in case.attacks] == ["attack:acpi"]
    assert [line.unplugged("7.2") for line in case.expected] == [True, True]
    assert [line.unplugged("10.0") for line in case.expected] == [True, False]
    assert case.expected[0].answer("10.0") == "slot-power"
    with pytest.raises(ValueError, match="nothing expected of QEMU 10"):
        load(_case(tmp_path, _A + "ua-b  7.2:yes  pcie-root\n")).expected[1].answer("10.0")
