"""Which kernel modules the guest needs, in the order in which to load them.

Their dependencies are read from the modules themselves (the package has no modules.dep: it is made
when a kernel is installed, and nothing is installed here).
"""

from __future__ import annotations

import gzip
import lzma
import re
from pathlib import Path

WANTED = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_balloon", "virtio_rng", "virtio_scsi", "virtio_console"),
    *("virtio_input", "virtio_crypto", "vmw_vsock_virtio_transport", "sd_mod", "ahci", "e1000", "e1000e", "igb"),
    *("8139cp", "xhci_pci", "ehci_pci", "uhci_hcd", "i6300esb"),
)
"""The modules that the guest loads, beside those that they depend on; missing ones are left out."""

_DEPENDS = re.compile(rb"\x00depends=([^\x00]*)\x00")
_SUFFIX = re.compile(r"\.ko(\.xz|\.gz)?$")


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    return gzip.decompress(data) if path.suffix == ".gz" else data


def collect(tree: Path) -> dict[str, bytes]:
    """Return name and content of the wanted modules below ``tree``, each after what it depends on."""
    paths = {
        _SUFFIX.sub("", path.name).replace("-", "_"): path for path in tree.rglob("*.ko*") if _SUFFIX.search(path.name)
    }
    chosen: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in chosen or name not in paths:
            return  # not in paths: built into the kernel, or not in this one at all
        content = _content(paths[name])
        found = _DEPENDS.search(content)
        for other in found.group(1).decode().split(",") if found else []:
            add(other.replace("-", "_"))
        chosen[name] = content

    for name in WANTED:
        add(name)
    return chosen
