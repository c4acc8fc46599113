"""UEFI firmware, with and without Secure Boot: it finds the guest's disk where devices share slots."""

from __future__ import annotations

import pytest

from integration.domains.snippets import ALL_OFF
from integration.guest.boot import boot
from integration.host import connection
from integration.host.scratch import scratch
from integration.oracle import compare
from integration.oracle.cases import Case, directory
from integration.oracle.runner import Pool
from integration.oracle.verdict import attack

_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"
_DOMAIN = f"""
<domain>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='{_VARIABLES}'>{{nvram}}</nvram>
  </os>
  <features>{{feature}}</features>
  <devices>
    <interface type='user'><model type='virtio'/><rom enabled='no'/></interface>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <target dev='vda' bus='virtio'/>
      <boot order='1'/>
      <alias name='ua-boot'/>
    </disk>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""
_ENTRY = "Boot000".encode("utf-16-le")


_NIGHTLY = pytest.mark.nightly("the same devices: firmware/secure-boot")
_CASES = [
    pytest.param(case, marks=[_NIGHTLY] * (case.name == "firmware/plain"), id=case.name)
    for case in directory("firmware")
]


@pytest.mark.parametrize("case", _CASES)
def test_boots_from_a_shared_slot(case: Case, pool: Pool) -> None:
    """Of 60 devices, one is the disk to boot from, in a shared slot; the guest sees all and ejects none."""
    result = pool.result(case)
    assert result.layout.device("ua-boot").address.function > 0
    assert result.report.secure_boot == (case.name == "firmware/secure-boot")
    compare.assert_matches(result, case)


@pytest.mark.nightly("test_boots_from_a_shared_slot; what is new is the firmware's")
def test_existing_nvram(events: connection.Events) -> None:
    """Firmware whose variables tell of a disk behind a port finds it on the root bus, where the setting put it."""
    with scratch("nvram") as (_, directory), open(_VARIABLES, "rb") as template:
        nvram = directory / "kept.fd"
        before, after = (_DOMAIN.format(nvram=nvram, feature=feature) for feature in ("", ALL_OFF))
        with boot(events, before, "nvram-before") as guest:
            guest.done()
            assert attack(guest)["ua-boot"].unplugged
        assert _ENTRY in nvram.read_bytes()
        assert _ENTRY not in template.read()
        with boot(events, after, "nvram-after") as guest:
            guest.done()
            verdicts = attack(guest)
        assert [alias for alias, verdict in verdicts.items() if verdict.unplugged or not verdict.guest_address] == []
        assert verdicts["ua-boot"].path[-1].model == "pcie-root"
