"""What real systems say, and the cases of them."""

from __future__ import annotations

from integration.systems.case import cases
from integration.systems.said import Card, Mount, System, parse

_CONSOLE = """
\x1b[H  Booting `GNU/Linux'
@@ system id=12 systemd=252 firmware=efi
@@ card mac=52:54:00:00:00:01 name=enp1s0 addr=10.0.2.15
@@ card mac=52:54:00:00:00:02 name=eth0 addr=-
@@ block name=vda serial=data
@@ mount target=/data uuid=1-2 serial=data
@@ pci when=before addr=0000:00:00.0 vendor=8086
"""


def test_parsed() -> None:
    """Lines of other kinds are passed over, and a system is complete when it said so."""
    cards = {"52:54:00:00:00:01": Card("enp1s0", "10.0.2.15"), "52:54:00:00:00:02": Card("eth0", "")}
    said = System("12", "252", "efi", cards, {"/data": Mount("1-2", "data")}, ["data"])
    assert parse(_CONSOLE) == said
    assert parse("@@ netboot" + _CONSOLE).netboot
    assert parse(_CONSOLE + "@@ listed when=system\r\n").complete


def test_cases() -> None:
    """Each case can be read, and has the card that the systems configure."""
    found = cases()
    assert {"pc", "q35-bios", "q35-uefi"} <= {case.name for case in found}
    assert [case.name for case in found if "52:54:00:00:00:01" not in case.xml] == []
