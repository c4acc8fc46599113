"""What is held against a guest's case: a device that it never saw is no success."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from integration.domains.pci import Address
from integration.oracle import expectations
from integration.oracle.cases import Case, Expected


def _seen(**addresses: Address | None) -> None:
    verdicts = {alias: SimpleNamespace(guest_address=address) for alias, address in addresses.items()}
    case = Case("case", "", "x86_64", "q35", tuple(Expected(alias, "no", "pcie-root") for alias in addresses))
    expectations.seen(SimpleNamespace(verdicts=verdicts), case)  # type: ignore[arg-type]


def test_seen() -> None:
    """A guest that saw all passes, one that did not see a device fails and names it."""
    there = Address(0, 0, 1, 0)
    _seen(a=there, b=there)
    with pytest.raises(AssertionError, match="b"):
        _seen(a=there, b=None)
