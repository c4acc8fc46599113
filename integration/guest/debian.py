"""Debian packages of any architecture, fetched by a private apt that needs no root.

The machine's own package sources are used, with lists, caches and status of our own, so that
neither root nor an earlier ``apt-get update`` nor a foreign architecture is needed.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_LIMIT = 900
"""Seconds that one call of apt may take."""


class FetchError(RuntimeError):
    """A package could not be found or fetched; the text is apt's own."""


class Apt:
    """A private apt for one architecture (Debian's name: ``amd64``, ``arm64``) below ``home``."""

    def __init__(self, arch: str, home: Path) -> None:
        self.home = home.resolve()
        state, cache = self.home / "state", self.home / "cache"
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        settings = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Dir::State": str(state),
            "Dir::State::status": str(state / "status"),
            "Dir::Cache": str(cache),
        }
        self._options = [word for key, val in settings.items() for word in ("-o", f"{key}={val}")]

    def _run(self, tool: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tool, *self._options, *args],
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )

    def update(self) -> None:
        """Fetch the package lists. A source that fails is only felt by what needs it."""
        self._run("apt-get", "-qq", "update")

    def depends(self, package: str) -> list[list[str]]:
        """Say what each version of ``package`` depends on, the preferred version first."""
        shown = self._run("apt-cache", "show", package).stdout
        return [
            [re.split(r"[\s(:|]", name.strip())[0] for name in line.split(",")]
            for line in re.findall(r"^Depends: (.*)$", shown, re.MULTILINE)
        ]

    def download(self, package: str) -> Path:
        """Fetch one package and give the path of its file. Raises FetchError with apt's words."""
        spool = self.home / "debs"
        spool.mkdir(exist_ok=True)
        done = subprocess.run(
            ["apt-get", *self._options, "-qq", "download", package],
            cwd=spool,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )
        found = sorted(spool.glob(f"{package}_*.deb"), key=lambda deb: deb.stat().st_mtime)
        if done.returncode != 0 or not found:
            raise FetchError(f"apt could not fetch {package}: {done.stderr.strip()}")
        return found[-1]


def unpack(deb: Path, into: Path) -> None:
    """Unpack the files of ``deb`` below ``into``; nothing is installed."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg", "-x", str(deb), str(into)], check=True, stdin=subprocess.DEVNULL)
