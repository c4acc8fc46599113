"""A shell in our guest: ``./run python3 -m integration.shell [DOMAIN.xml]``.

Boots the guest in the domain of a case (without one: a q35 machine without devices) and connects this terminal to its
console. Ctrl-] ends the shell, and the guest with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from integration.domains import domxml
from integration.guest.boot import boot
from integration.host import connection


def main() -> int:
    """Run the shell and return virsh's exit status."""
    conn = connection.connect()
    connection.sweep(conn)
    events = connection.Events(conn)
    xml = domxml.read(Path(sys.argv[1])) if len(sys.argv) > 1 else "<domain/>"
    with boot(events, xml, "shell") as guest:
        print(f"booting {guest.domain.name()}", file=sys.stderr)
        guest.done()
        guest.send("shell")
        guest.disconnect()
        return subprocess.run(["virsh", "console", guest.domain.name()], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
