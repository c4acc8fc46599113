"""The private daemons that ./run starts and stops, for tests that need another one or another state of one."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import libvirt

from integration.paths import ROOT

_RUN = str(ROOT / "run")
_TIMEOUT = 60
"""Seconds. libvirt itself gives a daemon 30 to end in order."""


_KIND = ["--daemon=libvirtd"] if "/libvirt-sock" in os.environ.get("LIBVIRT_DEFAULT_URI", "") else []
"""The option of ./run for the kind of daemon that we were started with."""


def run(*words: str) -> str:
    """Run ./run; give its output. Fails with what it said."""
    done = subprocess.run(
        [_RUN, *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pid(conn: libvirt.virConnect) -> int:
    """Give the process ID of the daemon behind a connection, by its socket."""
    path = parse_qs(urlsplit(conn.getURI()).query)["socket"][0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(path)
        found: int = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return found


def resident(process: int) -> int:
    """Give the resident set of a process in KiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def end(conn: libvirt.virConnect, how: signal.Signals = signal.SIGTERM) -> None:
    """End the daemon behind a connection, and only that one; guests run on."""
    victim = os.pidfd_open(pid(conn))
    signal.pidfd_send_signal(victim, how)
    assert select.select([victim], [], [], _TIMEOUT)[0], f"the daemon goes on in spite of {how.name}"
    os.close(victim)


@contextmanager
def held(*options: str) -> Iterator[str]:
    """Have the daemons of ./run OPTIONS up, and give their URI; ./run lets idle ones end later.

    They are of the kind that the tests run on: virtqemud with its companions, or libvirtd.
    """
    command = [_RUN, *_KIND, *options, "sh", "-c", 'echo "$LIBVIRT_DEFAULT_URI"; cat']
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        uri = holder.stdout.readline().strip()
        assert uri, f"{' '.join(command)} failed"
        yield uri
        holder.communicate()
