"""Which kernel modules the guest has, and what modprobe must know of them.

That is read from the modules themselves: the package has no modules.dep and no modules.alias, which depmod makes when
a kernel is installed, and nothing is installed here.
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
"""The modules that the guest may load, beside those that they depend on; missing ones are left out."""

_SIGNED = b"~Module signature appended~\n"
_SUFFIX = re.compile(r"\.ko(\.xz|\.gz)?$")


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _said(content: bytes, key: str) -> list[str]:
    """Return what a module says of itself under a key of modinfo(8)."""
    return [value.decode() for value in re.findall(rb"(?<=\0)%b=([^\0]*)\0" % key.encode(), content)]


def unsigned(module: bytes) -> bytes:
    """Return a module without its signature, which ends as Linux's struct module_signature; other files as they are."""
    if not module.endswith(_SIGNED):
        return module
    end = len(module) - len(_SIGNED)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def collect(tree: Path) -> dict[str, bytes]:
    """Return the files of /lib/modules/VERSION: the wanted modules below ``tree``, modules.dep and modules.alias."""
    paths = {
        _SUFFIX.sub("", path.name).replace("-", "_"): path for path in tree.rglob("*.ko*") if _SUFFIX.search(path.name)
    }
    files: dict[str, bytes] = {}
    loaded: dict[str, list[str]] = {}
    aliases: list[str] = []

    def add(name: str) -> list[str]:
        """Add a module, and return the files that are loaded for it, in this order."""
        name = name.replace("-", "_")
        if name not in paths:
            return []  # built into the kernel, or not in this one at all
        if name not in loaded:
            content = files[f"{name}.ko"] = _content(paths[name])
            below = [file for said in _said(content, "depends") for other in said.split(",") for file in add(other)]
            loaded[name] = [*dict.fromkeys(below), f"{name}.ko"]
            aliases.extend(f"alias {alias} {name}\n" for alias in _said(content, "alias"))
        return loaded[name]

    for name in WANTED:
        add(name)
    # modprobe loads what stands behind the colon from the last one on
    lines = (f"{order[-1]}: {' '.join(reversed(order[:-1]))}\n" for order in loaded.values())
    files["modules.dep"], files["modules.alias"] = "".join(lines).encode(), "".join(aliases).encode()
    return files
