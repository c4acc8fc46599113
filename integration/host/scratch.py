"""Scratch directories: one for the files of each domain, with a name for the domain that nothing else has."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt

from integration.host import connection
from integration.paths import FAILED, RUNS

_numbers = itertools.count(1)


class GuestError(RuntimeError):
    """A guest stopped or fell silent before it had said what it was asked for."""


@contextmanager
def scratch(label: str) -> Iterator[tuple[str, Path]]:
    """Return an unused domain name and a directory for its files, which is removed in the end.

    If a guest or an assertion fails, the directory is moved below FAILED, and the error says where it is. With KEEP in
    the environment it is moved there in any case.
    """
    name = f"{connection.PREFIX}{os.getpid()}-{next(_numbers)}-{label}"
    directory = RUNS / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    kept = FAILED / name  # not the label: workers that fail at once must not share it
    keep = bool(os.environ.get("KEEP"))
    try:
        yield name, directory
    except (GuestError, AssertionError) as error:
        keep = True
        error.add_note(f"its files, with console.log: {kept}")
        raise
    finally:
        if keep:
            FAILED.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.move(directory, kept)
        shutil.rmtree(directory, ignore_errors=True)


def through(directory: Path) -> dict[str, str]:
    """Return the parameter of a migration through a socket in ``directory``.

    Daemons that look for a free port take each other's.
    """
    return {libvirt.VIR_MIGRATE_PARAM_URI: f"unix:{directory}/migration"}
