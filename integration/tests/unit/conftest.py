"""Fixtures that unit tests share: the tool."""

from __future__ import annotations

from types import ModuleType

import pytest

from integration.paths import ROOT


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what rewrites data/tool, if this directory or a file in it is named."""
    parser.addoption("--regenerate", action="store_true", help="write what the tool says into data/tool")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool as a module, as libvirt's tree has it."""
    path = ROOT / "libvirt/tools/virt-pci-hotplug"
    module = ModuleType("virt_pci_hotplug")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module
