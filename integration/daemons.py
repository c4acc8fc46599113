"""The private daemons that ./run starts and stops, for tests that need another one or another state of one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from integration.paths import ROOT

_RUN = str(ROOT / "run")


def run(*words: str) -> str:
    """Run ./run; give its output. Fails with what it said."""
    done = subprocess.run(
        [_RUN, *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def held(*options: str) -> Iterator[str]:
    """Have the daemons of ./run OPTIONS up, and give their URI; ./run lets idle ones end later."""
    command = [_RUN, *options, "sh", "-c", 'echo "$LIBVIRT_DEFAULT_URI"; cat']
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        uri = holder.stdout.readline().strip()
        assert uri, f"{' '.join(command)} failed"
        yield uri
        holder.communicate()
