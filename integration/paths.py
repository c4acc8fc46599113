"""The repository's root, the build directory, which holds all that is made, and whether the long tests are wanted."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository's root."""

DATA = ROOT / "integration" / "data"
"""The cases: XML with what is expected beside it."""

BUILD = ROOT / "build"
"""All that the project makes lies below this directory."""

GUEST = BUILD / "guest"
"""The guests' kernels and initramfs images, a directory per architecture."""

RUNS = BUILD / "integration"
"""Disks and console logs of the guests that run."""

FAILED = BUILD / "check" / "failed"
"""The files of guests that failed: a directory for each."""

NIGHTLY = bool(os.environ.get("NIGHTLY"))
"""Whether the long forms of the tests are wanted ("make nightly" sets it): more random domains, more rounds."""
