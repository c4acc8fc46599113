"""The guest's kernel is taken out of Debian's vmlinuz, however that is compressed."""

from __future__ import annotations

import lzma

import pytest
import zstandard

from integration.guest import image

_ELF = b"\x7fELF" + bytes(range(256)) * 40


@pytest.mark.parametrize("packed", [lzma.compress(_ELF), zstandard.compress(_ELF)], ids=["Debian 12", "Debian 13"])
def test_unpacked(packed: bytes) -> None:
    """The ELF file comes out of both, and what follows the compressed stream is left out."""
    setup = bytearray(3 * 512)
    setup[0x1F1] = 2
    setup[0x248:0x24C] = (100).to_bytes(4, "little")
    assert image._unpacked(bytes(setup) + bytes(100) + packed + len(_ELF).to_bytes(4, "little")) == _ELF
