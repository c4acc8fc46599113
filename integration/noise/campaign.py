"""Attacks random domains: the known ways first, then random writes, again and again between resets; and minimises."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import libvirt

from integration.host import connection
from integration.noise import attacks
from integration.noise.qtest import Ended
from integration.noise.session import (
    PREPARE,
    RESET,
    RESET_BY_REGISTER,
    SAVE,
    Loss,
    Outcome,
    Session,
    Step,
    held,
    session,
)

WRITES = 12000
"""Random writes to a domain, in four parts."""

_ROUNDS = 4
_ATTEMPTS = 3
_CHUNK = 1000
"""Random writes after which QEMU is asked what it has."""

_TRIES = 150
"""Domains that are started at most to shorten a list of writes."""


class _Attack:
    """One domain's attack."""

    def __init__(self, one: Session, seed: str, savable: bool) -> None:
        self._one, self._savable = one, savable
        self._random = random.Random(seed)
        self._steps: list[Step] = []
        self._gone: set[str] = set()
        self.outcome = Outcome()

    def _do(self, steps: Sequence[Step], by: str) -> None:
        """Do these steps, and see what they removed."""
        self.outcome.ended = [by]
        self._steps += steps
        self._one.do(steps)
        gone = self._one.guest.started_with - self._one.ids() - self._gone
        self._gone |= gone
        self.outcome.losses += self._one.lost(gone, by, self._steps)
        self.outcome.ended = []

    def _known(self) -> None:
        self._do([PREPARE], "numbering")
        hardware = self._one.hardware
        if not hardware.functions:
            self._do([RESET, PREPARE], "numbering")
        for kind in attacks.KNOWN:
            self._do(attacks.known(hardware, kind), kind)

    def _between(self, last: int) -> None:
        """Let something happen to the machine: a reset, its state saved and loaded, or D3 and resets of all buses."""
        events = [RESET, "disturb"]
        events += [RESET_BY_REGISTER] if self._one.hardware.platform.x86 else []
        events += [SAVE] if self._savable and last == _ROUNDS - 1 else []
        what = self._random.choice(events)
        steps: list[Step] = [what]
        if what == SAVE:  # of registers that were written at random QEMU loads no state
            steps = [RESET, PREPARE, SAVE]
        elif what == "disturb":
            steps = [*attacks.disturb(self._one.hardware)]
        self._do(steps, what)

    def run(self, writes: int) -> None:
        """Attack. Raises Ended."""
        if self._savable and self._random.randrange(4) == 0:
            self._do([PREPARE, SAVE], SAVE)
        self._known()
        self._judge()
        for number in range(_ROUNDS):
            noise = attacks.Noise(self._one.hardware, self._random.random())
            for _ in range(0, writes // _ROUNDS, _CHUNK):
                count = min(_CHUNK, writes // _ROUNDS)
                self._do(list(noise.writes(count)), "random writes")
                self.outcome.writes += count
            self._between(number)
            self._known()

    def _judge(self) -> None:
        """Say which devices that may be removed are there after the known attacks, although software sees them."""
        spared = held(self._one.guest.xml)
        for device in self._one.layout.devices:
            if device.setting == "yes" and device.alias not in self._gone | spared and self._one.visible(device):
                self.outcome.remained.append(f"{device}")

    def count(self) -> None:
        """Count what stayed and what left."""
        for device in self._one.layout.devices:
            setting = device.setting or self._one.layout.default
            self.outcome.stayed += setting == "no" and device.alias not in self._gone
            self.outcome.left += setting == "yes" and device.alias in self._gone


def _attempt(
    conn: libvirt.virConnect, events: connection.Events, xml: str, seed: str, writes: int, savable: bool
) -> Outcome:
    """Attack a domain once."""
    with session(conn, events, xml, "noise") as one:
        made = _Attack(one, seed, savable)
        try:
            made.run(writes)
        except Ended:
            if not made.outcome.ended:
                raise
        made.count()
        made.outcome.unsaved = one.unsaved
    return made.outcome


def attack(
    conn: libvirt.virConnect, events: connection.Events, xml: str, seed: str, writes: int = WRITES, savable: bool = True
) -> Outcome:
    """Attack a partial domain, and return what became of it; of what was lost the writes are all that were made.

    One in which QEMU ends by itself is started again, up to two times, and attacked with other writes.
    """
    start, ended, outcome = time.monotonic(), [], Outcome()
    for attempt in range(_ATTEMPTS):
        # State that does not load again must not be the end of the last attempt, too.
        last = attempt == _ATTEMPTS - 1
        outcome = _attempt(conn, events, xml, f"{seed} {attempt}", writes, savable and not last)
        ended += outcome.ended
        if outcome.losses or not outcome.ended:
            break
    outcome.ended, outcome.seconds = ended, time.monotonic() - start
    return outcome


def _reproduces(
    conn: libvirt.virConnect, events: connection.Events, xml: str, alias: str, steps: Sequence[Step]
) -> bool:
    """Say whether these steps, in a domain of their own, remove a device."""
    try:
        with session(conn, events, xml, "minimise") as one:
            one.do(steps)
            deadline = time.monotonic() + 0.3
            while alias in one.ids():
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.1)
            return True
    except Ended:
        return False


def shortest(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool], tries: int = _TRIES) -> list[Step]:
    """Return a short list of steps that still fails, by leaving out ever smaller parts; all if they do not fail."""
    left, size = list(steps), -(-len(steps) // 2)
    while size and tries:
        start = 0
        while start < len(left) and tries:
            without = [*left[:start], *left[start + size :]]
            tries -= 1
            if without and fails(without):
                left = without
            else:
                start += size
        size = 0 if size == 1 else -(-size // 2)
    return left


def minimised(conn: libvirt.virConnect, events: connection.Events, xml: str, loss: Loss) -> Loss:
    """Return a loss with a short list of writes; all of the last part if it cannot be had again."""

    def fails(steps: Sequence[Step]) -> bool:
        return _reproduces(conn, events, xml, loss.device.alias, steps)

    steps = list(loss.steps)
    last = max(index for index, step in enumerate(steps) if step == PREPARE)
    for chosen in (steps[last:], steps):
        if fails(chosen):
            return replace(loss, steps=tuple(shortest(chosen, fails)))
    return replace(loss, by=f"{loss.by} (not again)", steps=tuple(steps[last:]))
