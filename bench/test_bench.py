"""What bench/ computes from what it measured; the measurements themselves are no tests."""

from __future__ import annotations

import pytest

from bench.boot import windows
from bench.build import show_checks
from bench.capacity import highest
from bench.define import growth
from bench.setup import Json

_KIB, _MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize("limit", [0, 1, 7, 8, 100, 299])
@pytest.mark.parametrize("step", [1, 8])
def test_highest_brackets_the_limit(limit: int, step: int) -> None:
    """What works and what does not are found on either side of the limit, no more than a step apart."""
    tried: list[int] = []

    def works(count: int) -> bool:
        tried.append(count)
        return count <= limit

    good, bad = highest(0, 300, step, works)
    assert good <= limit < bad <= good + step
    assert len(tried) == len(set(tried)) <= 9


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        # As reset and as firmware closes them: the limit is below the base.
        ({0x1C: "f100", 0x20: "f0ff0000", 0x24: "f1ff0100"}, (0, 0)),
        ({0x1C: "1121", 0x20: "f0ff0000", 0x24: "f1ff0100"}, (8 * _KIB, 0)),
        # 0xfe600000 to 0xfe7fffff; 0x8_00000000 to 0x8_001fffff, above 4 GiB
        ({0x1C: "f100", 0x20: "60fe70fe", 0x24: "01001100", 0x28: "08000000", 0x2C: "08000000"}, (0, 4 * _MIB)),
        # The upper halves count: from 0xfff00000 to 0x1_000fffff.
        ({0x1C: "f100", 0x20: "f0ff0000", 0x24: "f1ff0100", 0x2C: "01000000"}, (0, 2 * _MIB)),
    ],
)
def test_windows_of_a_bridge(registers: dict[int, str], expected: tuple[int, int]) -> None:
    """I/O and memory windows are what the bridge's registers say, 0 if they are closed."""
    config = bytearray(256)
    for offset, value in registers.items():
        data = bytes.fromhex(value)
        config[offset : offset + len(data)] = data
    assert windows(bytes(config)) == expected


def test_growth_is_the_exponent() -> None:
    """Twice as long for twice as many is 1, four times as long 2."""
    assert growth([1, 100, 200], [1.0, 5.0, 10.0]) == pytest.approx(1)
    assert growth([1, 100, 200], [1.0, 5.0, 20.0]) == pytest.approx(2)


def test_checks_of_two_commits() -> None:
    """Stages that only one of them has are shown and added up, and so are the counts of tests."""

    def commit(ident: str, **stages: int) -> Json:
        return {"commit": ident, "stages": {name: _stage(seconds) for name, seconds in stages.items()}}

    def _stage(seconds: int) -> Json:
        return {"seconds": seconds, "result": f"{seconds} passed, 1 failed"}

    found = commit("b" * 40, guests=30, noise=20) | {"before": commit("a" * 40, guests=60, old=40)}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in show_checks(found)]
    assert rows[0] == ["make check in a built clone, s", "commit " + "a" * 12, "commit " + "b" * 12, "ratio"]
    assert rows[2:] == [
        ["guests", "60", "30", ""],
        ["noise", "", "20", ""],
        ["old", "40", "", ""],
        ["all", "100", "50", "0.50"],
        ["tests", "100 passed, 2 failed", "50 passed, 2 failed", ""],
    ]
