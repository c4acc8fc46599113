"""The reader of what a guest says on its console."""

from __future__ import annotations

import base64
import gzip

from integration.domains.pci import Address
from integration.guest.report import Report

SLOT = Address(0, 1, 0, 0)


def fed(*lines: str) -> Report:
    """Return the report of a console with these lines."""
    report = Report()
    for line in lines:
        report.feed(line)
    return report


def test_noise_is_passed_over() -> None:
    """Lines without the mark, and those that have it further on, say nothing."""
    assert fed("", "[    1.2] pci 0000:01:00.0: BAR 0", "noise @@ done", "@@", "@@ ") == Report()


def test_devices() -> None:
    """A device is read for the look that it was seen in; a dash is nothing."""
    line = (
        "@@ pci when={} addr=0000:01:00.0 vendor=1af4 device=1041 class=020000 driver=virtio-pci used={} index=- path=-"
    )
    report = fed(line.format("before", "yes"), line.format("after", "no"), "@@ listed when=before")
    assert report.before.keys() == report.after.keys()
    seen = report.before[SLOT]
    assert (seen.used, report.after[SLOT].used) == (True, False)
    assert (seen.ident, seen.kind, seen.driver, seen.index, seen.path) == ("1af4:1041", 0x020000, "virtio-pci", "", "")
    assert report.reached == {"before"}


def test_tables_are_unpacked() -> None:
    """An ACPI table is the bytes that it was made of."""
    packed = base64.b64encode(gzip.compress(b"DSDT...")).decode()
    assert fed(f"@@ table name=DSDT gz={packed}").tables == {"DSDT": b"DSDT..."}


def test_a_line_end_of_a_terminal() -> None:
    """A carriage return at the end is not part of the last value."""
    assert fed("@@ done\r").reached == {"done"}
