"""Debian packages of any architecture, fetched by the private apt of tools/apt-private.sh."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from integration.paths import ROOT

_LIMIT = 900
"""Seconds that one call of apt may take."""


class FetchError(RuntimeError):
    """A package could not be found or fetched; the text is apt's own."""


class Apt:
    """The packages of this machine's Debian for another architecture (Debian's name: ``amd64``, ``arm64``)."""

    def __init__(self, arch: str) -> None:
        """Update the lists of packages. Raises FetchError if that fails."""
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        command = [str(ROOT / "tools/apt-private.sh"), "deb", suite, f"{suite}-security"]
        conf = self._run(command, ROOT, {"APT_ARCH": arch})
        self._env = {"APT_CONFIG": conf.strip()}

    def _run(self, command: list[str], directory: Path, env: dict[str, str]) -> str:
        done = subprocess.run(
            command,
            cwd=directory,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )
        if done.returncode:
            raise FetchError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def depends(self, package: str) -> list[list[str]]:
        """Return what each version of ``package`` depends on, the preferred version first. Raises FetchError."""
        shown = self._run(["apt-cache", "show", package], ROOT, self._env)
        return [
            [re.split(r"[\s(:|]", name.strip())[0] for name in line.split(",")]
            for line in re.findall(r"^Depends: (.*)$", shown, re.MULTILINE)
        ]

    def download(self, package: str, into: Path) -> Path:
        """Fetch one package, and return the path of its file in the directory ``into``. Raises FetchError."""
        into.mkdir(exist_ok=True, parents=True)
        self._run(["apt-get", "-qq", "download", package], into, self._env)
        return max(into.glob(f"{package}_*.deb"), key=lambda deb: deb.stat().st_mtime)


def unpack(deb: Path, into: Path) -> None:
    """Unpack the files of ``deb`` below ``into``; nothing is installed."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg", "-x", str(deb), str(into)], check=True, stdin=subprocess.DEVNULL)
