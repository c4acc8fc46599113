"""The attacker without a guest: its words, its repeatable noise, and the shortening of what it wrote."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from integration.domains.devices import all_devices
from integration.noise.attacks import Noise
from integration.noise.campaign import shortest
from integration.noise.hardware import PLATFORMS, Function, Hardware
from integration.noise.places import NOT_STARTED, PLACES, domain
from integration.noise.qtest import Access, Ended, Qtest
from integration.noise.session import PREPARE, Step, described


def _hardware() -> Hardware:
    hardware = Hardware(cast(Qtest, None), PLATFORMS["q35"])
    hardware.functions = [Function(0, 0x18, bytes(256), [(False, 0xC0000000, 0x1000), (True, 0xC000, 0x20)])]
    return hardware


def test_noise_is_repeatable() -> None:
    """The same seed gives the same writes, another one others; none puts the machine to sleep."""
    first, again, other = (list(Noise(_hardware(), seed).writes(5000)) for seed in ("a", "a", "b"))
    assert first == again != other
    ports = [access for write in first for access in write if access.port]
    written = {address for access in ports for address in range(access.address, access.address + access.size)}
    assert 0xCC8 in written and not {0x604, 0x605} & written


@pytest.mark.parametrize("needed", [{3}, {0, 99}, {17, 18, 60}, set(range(40, 45))])
def test_shortest(needed: set[int]) -> None:
    """What is left of a list of steps are those that are needed."""
    steps = [[Access(True, number, 1, 0)] for number in range(100)]

    def fails(some: Sequence[Step]) -> bool:
        return needed <= {step[0].address for step in some if not isinstance(step, str)}

    assert [step[0].address for step in shortest(steps, fails) if not isinstance(step, str)] == sorted(needed)


def test_described() -> None:
    """A write to a config space is said as such, wherever it goes through."""
    write = _hardware().at(1, 0x0A, 0x6A, 2, 0x0700)
    assert described(write) == ["config 01:01.2 +0x6a, 2 bytes: 0x700"]
    assert described([Access(True, 0xAE08, 4, 2)]) == ["I/O port 0xae08, 4 bytes: 0x2"]
    assert described(PREPARE) == [PREPARE]


def _serve(listener: socket.socket, said: list[bytes], answers: bytes) -> None:
    peer, _ = listener.accept()
    with peer:
        said.append(peer.recv(1 << 16))
        peer.sendall(answers)


@pytest.mark.parametrize(
    ("answers", "found"),
    [(b"OK\nIRQ raise 1\nOK 0x000000000000ff12\n", [0x12]), (b"OK\n", None), (b"OK\nFAIL no\n", None)],
)
def test_protocol(tmp_path: Path, answers: bytes, found: list[int] | None) -> None:
    """Many are sent at once; QEMU that closes the connection or does not understand is an error."""
    said: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "qtest"))
        listener.listen()
        server = threading.Thread(target=_serve, args=(listener, said, answers))
        server.start()
        with Qtest(tmp_path / "qtest") as qtest:
            accesses = [Access(False, 0x1000, 4, 0xAB), Access(False, 0x1000, 1)]
            if found is None:
                with pytest.raises(Ended):
                    qtest.read(accesses)
            else:
                assert [value & 0xFF for value in qtest.run(accesses)] == found
        server.join()
    assert said == [b"writel 0x1000 0xab\nreadb 0x1000\n"]


def test_places_have_all_kinds() -> None:
    """Over the turns every kind of the table is in some place, but those with a reason not to be."""
    started: set[str] = set()
    for place in PLACES:
        for machine in place.machines:
            for turn in range(8):
                started |= domain(machine, place, turn)[1]
    assert all_devices().keys() - started == NOT_STARTED.keys()
