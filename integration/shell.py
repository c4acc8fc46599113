"""A shell in our guest: ``./run python3 -m integration.shell [DOMAIN.xml]``.

Boots the guest in the domain of a case (without one: a q35 machine without devices) and connects this terminal to its
console. Ctrl-] ends the shell, and the guest with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from integration.domains import domxml
from integration.guest.boot import boot
from integration.host import connection


def main() -> int:
    """Run the shell and return virsh's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", metavar="DOMAIN.xml", nargs="?", type=Path, help="a case's domain")
    given = parser.parse_args()
    if not sys.stdin.isatty():
        parser.error("a shell needs a terminal")
    if given.domain and not given.domain.is_file():
        parser.error(f"there is no file {given.domain}")
    conn = connection.connect()
    connection.sweep(conn)
    events = connection.Events(conn)
    xml = domxml.read(given.domain) if given.domain else "<domain/>"
    with boot(events, xml, "shell") as guest:
        print(f"booting {guest.domain.name()}", file=sys.stderr)
        guest.done()
        guest.send("shell")
        guest.disconnect()
        return subprocess.run(["virsh", "console", guest.domain.name()], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
