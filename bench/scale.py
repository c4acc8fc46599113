"""What virt-pci-hotplug, and the daemon's start, take where there are many domains."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from uuid import uuid4

import libvirt

from bench.domains import domain
from bench.setup import Bench, Json, Side, cpu_seconds, restarted
from bench.tables import ratio, table
from integration.domains import definitions, domxml
from integration.host import connection
from integration.host.scratch import scratch

_DEVICES = 24
_TOOL = "virt-pci-hotplug"
COMMANDS = {
    "list": (_TOOL, "list"),
    "list --json": (_TOOL, "list", "--json"),
    "check --strict": (_TOOL, "check", "--strict"),
    "set --all no --dry-run": (_TOOL, "set", "--all", "no", "--dry-run"),
}
"""What is compared with one virsh that prints the XML of all domains."""


@contextmanager
def _defined(side: Side, count: int) -> Iterator[list[str]]:
    """Have that many domains defined as stock places them, and return their names."""
    with scratch("scale") as (name, directory):
        kept: list[libvirt.virDomain] = []
        try:
            for number in range(count):
                whole = definitions.named(domain(_DEVICES, "stock"), f"{name}-{number}", str(uuid4()))
                domxml.give_disks(whole, directory)
                kept.append(side.conn.defineXMLFlags(domxml.text(whole)))
            yield [one.name() for one in kept]
        finally:
            # the daemon may have been restarted
            conn = connection.connect(side.uri)
            for one in kept:
                connection.discard(conn.lookupByName(one.name()))


def _client(command: tuple[str, ...], text: str, uri: str) -> tuple[float, float]:
    """Run a client; return its seconds, and its resident set at most in MiB."""
    environment = os.environ | {"LIBVIRT_DEFAULT_URI": uri}
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as client:
        assert client.stdin
        client.stdin.write(text.encode())
        client.stdin.close()
        _, status, used = os.wait4(client.pid, 0)
        client.returncode = os.waitstatus_to_exitcode(status)
    # list and check have 1 for what they find
    if client.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {client.returncode}")
    return time.monotonic() - start, used.ru_maxrss / 1024


def _settled(side: Side) -> float:
    """Return the processor time that a daemon has used, in seconds, when it uses no more."""
    side.conn.listAllDomains()
    before, now = -1.0, 0.0
    while now > before:
        time.sleep(1)
        before, now = now, cpu_seconds(side.daemon())
    return now


def _starts(bench: Bench, rounds: int) -> dict[str, float]:
    """Return the processor time that each new daemon has used when it has listed its domains, in seconds."""
    found: dict[str, list[float]] = {"stock": [], "patched": []}
    for _ in range(rounds):
        bench = restarted(bench)
        for name, side in (("stock", bench.stock), ("patched", bench.patched)):
            found[name].append(_settled(side))
            print(f"  start, {name}: {found[name][-1]:.2f} s", flush=True)
    return {name: median(seconds) for name, seconds in found.items()}


def measure(bench: Bench) -> Json:
    """Define the domains on both daemons; run each command in turn, then start the daemons anew."""
    domains, rounds = (50, 1) if bench.quick else (1000, 5)
    with ExitStack() as stack:
        names = stack.enter_context(_defined(bench.patched, domains))
        stack.enter_context(_defined(bench.stock, domains))
        dumps = "".join(f"dumpxml {name}\n" for name in names)
        runs = {"virsh": (("virsh", "--quiet"), dumps)} | {title: (words, "") for title, words in COMMANDS.items()}
        seconds: dict[str, list[float]] = {title: [] for title in runs}
        memory = {}
        for _ in range(rounds):
            for title, (words, text) in runs.items():
                took, memory[title] = _client(words, text, bench.patched.uri)
                seconds[title].append(took)
        starts = _starts(bench, rounds)
    return {
        "domains": domains,
        "rounds": rounds,
        "seconds": {title: median(of) for title, of in seconds.items()},
        "memory": memory,
        "starts": starts,
    }


def show(found: Json) -> list[str]:
    """Return the tables."""
    seconds, memory, starts = found["seconds"], found["memory"], found["starts"]
    titles = {"virsh": "virsh, dumpxml of all"}
    rows = [
        [titles.get(key, key), f"{of:.2f}", ratio(of, seconds["virsh"]), f"{memory[key]:.0f}"]
        for key, of in seconds.items()
    ]
    both = [f"{starts['stock']:.2f}", f"{starts['patched']:.2f}", ratio(starts["patched"], starts["stock"], 3)]
    return [
        f"{found['domains']} domains of {_DEVICES} devices (medians of {found['rounds']}, in turn):",
        "",
        *table(["command", "s", "ratio to virsh", "resident at most, MiB"], rows),
        "",
        "The start of the daemon with these domains, until it lists them:",
        "",
        *table(["", "stock", "patched", "ratio"], [["processor time, s", *both]]),
    ]
