"""The comparison of a guest with its case: a device that the guest never saw is a failure."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from integration.domains.layout import Device
from integration.domains.pci import Address
from integration.oracle import compare
from integration.oracle.cases import Case, Expected
from integration.oracle.verdict import Verdict


def _seen(**addresses: Address | None) -> None:
    verdicts = {alias: SimpleNamespace(guest_address=address) for alias, address in addresses.items()}
    case = Case("case", "", "x86_64", "q35", tuple(Expected(alias, "no", "pcie-root") for alias in addresses))
    compare.seen(SimpleNamespace(verdicts=verdicts), case)  # type: ignore[arg-type]


def test_seen() -> None:
    """A guest that saw all passes, one that did not see a device fails and names it."""
    there = Address(0, 0, 1, 0)
    _seen(a=there, b=there)
    with pytest.raises(AssertionError, match="b"):
        _seen(a=there, b=None)


def test_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure says what became of the device, in the words of the verdict, by which attack, and keeps the console."""
    monkeypatch.setattr(compare, "FAILED", tmp_path)
    at = Address(0, 0, 1, 2)
    device = Device("ua-usb", "controller", "usb controller", at, "no", "usb controller")
    verdict = Verdict(device, [], at, deleted=True, removed=True, in_qemu=False, in_guest=False, by="acpi")
    result = SimpleNamespace(verdicts={"ua-usb": verdict}, console="the console", xml="<domain/>")
    case = Case("facts/one", "", "x86_64", "pc", ())
    with pytest.raises(AssertionError) as failure, compare.evidence(result, case):  # type: ignore[arg-type]
        raise AssertionError("it is gone")
    said, where = failure.value.__notes__
    assert said == f"ua-usb at {at}: DEVICE_DELETED, gone in the guest, by acpi"
    assert where == f"console: {tmp_path}/facts-one/console.log"
    assert (tmp_path / "facts-one/console.log").read_text() == "the console"
    assert (tmp_path / "facts-one/domain.xml").read_text() == "<domain/>"
