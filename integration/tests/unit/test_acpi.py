"""The reader of ACPI tables."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from integration.oracle.acpi import ejectable

SOURCE = r"""
DefinitionBlock ("", "DSDT", 2, "TEST", "TEST", 1)
{
    // _EJ0 of a comment is none
    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Device (S08) { Name (_ADR, 0x10000)  Device (S00) { Name (_ADR, Zero)  Method (_EJ0, 1) { } } }
            Device (S10) { Name (_ADR, 0x20000)  Name (TEXT, "_EJ0") }
        }
    }
    Scope (\_SB.PCI0.S10) { Device (S01) { Name (_ADR, One)  Method (_EJ0, 1) { } } }
}
"""


def test_methods_are_found(tmp_path: Path) -> None:
    """The method is found wherever it is written, and nothing else."""
    (tmp_path / "dsdt.dsl").write_text(SOURCE)
    subprocess.run(["iasl", "-p", "dsdt", "dsdt.dsl"], cwd=tmp_path, check=True, capture_output=True)
    found = ejectable({"DSDT": (tmp_path / "dsdt.aml").read_bytes()})
    assert found == {r"\_SB_.PCI0.S08_.S00_", r"\_SB_.PCI0.S10_.S01_"}


def test_no_tables() -> None:
    """A guest without ACPI has nothing to eject; what is no table is an error, not silence."""
    assert ejectable({}) == set()
    with pytest.raises(ValueError, match="cannot load"):
        ejectable({"DSDT": b"no table"})
