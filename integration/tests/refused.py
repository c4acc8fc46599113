"""What tests expect of libvirt's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import libvirt

from integration.oracle.cases import expected_lines


@dataclass
class Refusal:
    """An error of libvirt's, which is known when the block is left."""

    code: int = 0
    text: str = ""


@contextmanager
def refused(code: int | tuple[int, ...] | None, *texts: str) -> Iterator[Refusal]:
    """Assert that libvirt refuses what the block does: with this code, or one of these, and all texts in the message.

    With None any code will do.
    """
    refusal = Refusal()
    try:
        yield refusal
    except libvirt.libvirtError as error:
        refusal.code, refusal.text = error.get_error_code(), str(error)
        codes = (refusal.code,) if code is None else code if isinstance(code, tuple) else (code,)
        assert refusal.code in codes, error
        assert [text for text in texts if text not in refusal.text] == [], error
        return
    raise AssertionError("libvirt did not refuse it")


def stated(path: Path) -> tuple[int, *tuple[str, ...]]:
    """Return the code and the texts that the ``.error`` file beside ``path`` states, for refused()."""
    name, *texts = expected_lines(path.with_suffix(".error"))
    assert texts, path
    code: int = getattr(libvirt, name)
    return code, *texts
