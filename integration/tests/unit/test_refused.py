"""The helper for calls that libvirt refuses: errors that it must not pass over."""

from __future__ import annotations

import libvirt
import pytest

from integration.tests.refused import refused
from integration.tests.unit.fakehost import failure


def test_refused() -> None:
    """The code, or one of several, and all texts are those that are expected; the block gets both."""
    with refused((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED), "this", "that") as refusal:
        raise failure(libvirt.VIR_ERR_XML_ERROR, "that and this")
    assert (refusal.code, refusal.text) == (libvirt.VIR_ERR_XML_ERROR, "that and this")


def test_not_refused() -> None:
    """A call that succeeds, another code, and a text that is missing are failures."""
    with pytest.raises(AssertionError, match="did not refuse"), refused(None):
        pass
    with pytest.raises(AssertionError), refused(libvirt.VIR_ERR_CONFIG_UNSUPPORTED):
        raise failure(libvirt.VIR_ERR_XML_ERROR, "this")
    with pytest.raises(AssertionError), refused(None, "this", "that"):
        raise failure(libvirt.VIR_ERR_XML_ERROR, "this")
