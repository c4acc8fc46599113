"""Stored definitions through a restart of the daemon.

These tests stop and start the private daemon, through ./run, so they are the last ones.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import libvirt
import pytest

from integration import definitions, domxml, virt
from integration.cases import DATA
from integration.daemons import held, run
from integration.paths import BUILD
from integration.test_life import unplaced

pytestmark = [pytest.mark.restarts, pytest.mark.live]

_DAEMON = ["--daemon=libvirtd"] if "/libvirt-sock" in os.environ.get("LIBVIRT_DEFAULT_URI", "") else []
"""the option of ./run for the kind of daemon that we were started with"""


def stored() -> Path:
    """Give the directory of the private daemon's definitions (PRIVATE_CONFIG_DIR, if that is set)."""
    if "PRIVATE_CONFIG_DIR" in os.environ:
        return Path(os.environ["PRIVATE_CONFIG_DIR"])
    return BUILD / ("etc/libvirt/qemu" if os.geteuid() == 0 else "user/cfg/libvirt/qemu")


@pytest.fixture
def restart() -> Iterator[Callable[[], None]]:
    """A function that ends the private daemon and starts it again."""
    if "PRIVATE_CONFIG_DIR" not in os.environ and not os.environ.get("LIBVIRT_DEFAULT_URI", "").endswith("-sock"):
        pytest.skip("not run by ./run: no daemon of ours to restart")

    with ExitStack() as holders:

        def again() -> None:
            run("--stop")
            # ./run lets an idle daemon end; this one is wanted until the test is over.
            holders.enter_context(held(*_DAEMON))

        yield again


@pytest.mark.parametrize(
    "path",
    [
        DATA / "rejected" / f"{name}.xml"
        for name in ("every-conflict-is-named", "on-target-on-port", "switch-off-behind-default", "yes-on-pcie-root")
    ],
    ids=lambda path: path.stem,
)
def test_a_contradicting_definition_stays(restart: Callable[[], None], path: Path) -> None:
    """A stored definition that contradicts itself stays listed, and says at start why it cannot."""
    name = f"{virt.PREFIX}{os.getpid()}-stored"
    domain = definitions.named(path.read_text(), name, str(uuid.uuid4()))
    kept = stored() / f"{name}.xml"
    kept.write_text(domxml.text(domain))
    try:
        restart()
        conn = virt.connect()
        assert name in {found.name() for found in conn.listAllDomains()}
        listed = conn.lookupByName(name)
        before = listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        with pytest.raises(libvirt.libvirtError) as refusal:
            listed.create()
        code, *texts = path.with_suffix(".expected").read_text().splitlines()
        message = refusal.value.get_error_message()
        assert refusal.value.get_error_code() == getattr(libvirt, code), message
        assert [text for text in texts if text not in message] == [], message
        assert listed.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before
        # What the message says to do is what mends it.
        conn.defineXML(unplaced(before))
        virt.discard(listed)
        conn.close()
    finally:
        kept.unlink(missing_ok=True)
