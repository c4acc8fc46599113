"""The reader of the table of devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.domains.devices import read

RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"


@pytest.mark.parametrize(
    "text",
    [
        RNG,
        "<!-- -->\n" + RNG,
        "<!-- q36 -->\n" + RNG,
        "<!-- q35; odd -->\n" + RNG,
        "<!-- q35 -->\n" + RNG.replace("'virtio'", "'virtio' hotplug='no'"),
        "<!-- q35 -->\n" + RNG.replace("</rng>", "<address type='pci'/></rng>"),
    ],
)
def test_bad_files(tmp_path: Path, text: str) -> None:
    """A file that does not say what it must, or says what it must not, is an error."""
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match="bad"):
        read(path)


def test_written(tmp_path: Path) -> None:
    """Setting, number and what else is wanted get into the element."""
    path = tmp_path / "sound.xml"
    path.write_text("<!-- q35 pc; once -->\n<sound model='ich{number}'/>\n")
    device = read(path)
    assert (device.machines, device.special) == (frozenset({"q35", "pc"}), frozenset({"once"}))
    assert device.xml(9, "no", "<alias name='a'/>") == '<sound model="ich9" hotplug="no"><alias name="a" /></sound>'
