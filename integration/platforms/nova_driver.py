"""What Nova's libvirt driver does with an instance, without the services around it.

tests/test_platforms.py runs this with the Python that has Nova, as ``nova_driver.py ACTION INSTANCE...``, with
LIBVIRT_DEFAULT_URI set. An INSTANCE is a JSON object: ``driver`` (as compute_driver in nova.conf), ``name``, ``uuid``,
``home`` (a directory), ``disks`` and ``nics`` (how many), ``machine``, ``ports`` (num_pcie_ports) and ``flavor`` (extra
specs). It prints a JSON list: for each INSTANCE the domain XML. Of what an instance needs only its tap devices, which
are Neutron's, have to be there.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from nova import conf, config, context, objects
from nova.network import model
from nova.virt import driver, fake
from nova.virt.libvirt import blockinfo, guest, migration

Given = dict[str, Any]


def _begin() -> None:
    """Do what every service of Nova does when it starts."""
    config.parse_args([], default_config_files=[], configure_db=False, init_rpc=False)
    for section in (conf.devices, conf.neutron):
        section.register_dynamic_opts(conf.CONF)
    objects.register_all()


def _configure(given: Given) -> None:
    """Set what nova.conf would set."""
    settings = {
        "instances_path": given["home"],
        # Without a "%" it is the name itself.
        "instance_name_template": given["name"],
        "my_ip": "127.0.0.1",
        "state_path": given["home"],
    }
    libvirt = {
        "virt_type": "qemu",
        "connection_uri": os.environ["LIBVIRT_DEFAULT_URI"],
        "hw_machine_type": [f"x86_64={given['machine']}"],
        "num_pcie_ports": given["ports"],
        "images_type": "raw",
        # Of TCG QEMU's own, on any host.
        "cpu_mode": "none",
    }
    for name, value in settings.items():
        conf.CONF.set_override(name, value)
    for name, value in libvirt.items():
        conf.CONF.set_override(name, value, "libvirt")
    conf.CONF.set_override("lock_path", given["home"], "oslo_concurrency")


def _flavor(given: Given) -> objects.Flavor:
    return objects.Flavor(
        id=1,
        name="flavor",
        flavorid="1",
        memory_mb=256,
        vcpus=1,
        root_gb=0,
        ephemeral_gb=0,
        swap=0,
        rxtx_factor=1.0,
        vcpu_weight=0,
        disabled=False,
        is_public=True,
        extra_specs=given["flavor"],
    )


_UNSET = (
    *("launched_at", "old_flavor", "new_flavor", "numa_topology", "vcpu_model", "resources", "trusted_certs"),
    *("device_metadata", "ephemeral_key_uuid"),
)
"""Fields of an instance that have no value."""


def _instance(given: Given) -> objects.Instance:
    instance = objects.Instance(
        id=1,
        uuid=given["uuid"],
        display_name="instance",
        hostname="instance",
        project_id="project",
        user_id="user",
        host="host",
        node="host",
        memory_mb=256,
        vcpus=1,
        root_gb=0,
        ephemeral_gb=0,
        root_device_name="/dev/vda",
        os_type="linux",
        architecture="x86_64",
        image_ref="",
        config_drive="",
        flavor=_flavor(given),
        pci_devices=objects.PciDeviceList(objects=[]),
        pci_requests=objects.InstancePCIRequests(requests=[]),
        metadata={},
        system_metadata={"image_disk_format": "raw"},
        vm_mode=None,
        kernel_id="",
        ramdisk_id="",
        default_ephemeral_device=None,
        default_swap_device=None,
        **dict.fromkeys(_UNSET),
        info_cache=objects.InstanceInfoCache(network_info=model.NetworkInfo([])),
    )
    instance.obj_reset_changes(recursive=True)
    return instance


def _network(given: Given) -> model.NetworkInfo:
    network = model.Network(id="network", bridge=None, label="network", subnets=[])
    return model.NetworkInfo(
        model.VIF(
            id=f"00000000-0000-0000-0000-{number:012x}",
            address=f"52:54:00:00:00:{number:02x}",
            network=network,
            type=model.VIF_TYPE_TAP,
            devname=f"tap{given['uuid'][:8]}{number}",
        )
        for number in range(given["nics"])
    )


class _Volume(dict[str, Any]):
    """A row of the block device mapping, which is in no database."""

    def save(self) -> None:
        """Do nothing."""


def _volumes(given: Given) -> Given:
    """Return the disks: the image's, and Cinder volumes of the one driver that has files."""
    mapping = []
    for number in range(1, given["disks"]):
        path = Path(given["home"]) / f"volume{number}.raw"
        path.write_bytes(bytes(1 << 20))
        info = {"driver_volume_type": "gpfs", "serial": str(number), "data": {"device_path": str(path)}}
        mapping.append(
            _Volume(
                connection_info=info,
                mount_device=f"/dev/vd{chr(ord('a') + number)}",
                disk_bus="virtio",
                device_type="disk",
                boot_index=None,
                attachment_id=None,
                volume_id=str(number),
            )
        )
    return {"root_device_name": "/dev/vda", "swap": None, "ephemerals": [], "block_device_mapping": mapping}


class Nova:
    """Nova's driver, and one instance of it."""

    def __init__(self, given: Given) -> None:
        _configure(given)
        self.instance, self.network, self.volumes = _instance(given), _network(given), _volumes(given)
        self.context = context.RequestContext("user", "project", is_admin=True)
        self.driver: Any = driver.load_compute_driver(fake.FakeVirtAPI(), given["driver"])
        # It would write in Nova's database that the host is up.
        self.driver._set_host_enabled = mock.Mock()
        self.driver._host.initialize()
        home = Path(given["home"]) / given["uuid"]
        home.mkdir(exist_ok=True)
        (home / "disk").write_bytes(bytes(1 << 20))

    def xml(self) -> str:
        """Return what Nova defines, also at every power-on."""
        disks = blockinfo.get_disk_info("qemu", self.instance, self.instance.image_meta, self.volumes)
        xml: str = self.driver._get_guest_xml(
            self.context,
            self.instance,
            self.network,
            disks,
            self.instance.image_meta,
            block_device_info=self.volumes,
        )
        return xml

    def spawn(self) -> str:
        """Define and start the instance, paused."""
        self.driver._create_guest(self.context, self.xml(), self.instance, pause=True)
        return self._live()

    def reboot(self) -> str:
        """Do a hard reboot, which is also what a power-on does."""
        with self._plugs():
            self.driver._hard_reboot(self.context, self.instance, self.network, [], self.volumes)
        return self._live()

    def migrate(self) -> str:
        """Return the XML of the running instance that a live migration sends to the other host."""
        vifs = [objects.VIFMigrateData(source_vif=vif) for vif in self.network]
        for vif in vifs:
            vif.port_id, vif.host, vif.profile = vif.source_vif["id"], "host", {}
            vif.vif_type, vif.vnic_type, vif.vif_details = model.VIF_TYPE_TAP, "normal", {}
        data = objects.LibvirtLiveMigrateData(
            vifs=vifs,
            bdms=[],
            supported_perf_events=[],
            serial_listen_addr=None,
            serial_listen_ports=[],
            graphics_listen_addr_vnc="127.0.0.1",
            graphics_listen_addr_spice="127.0.0.1",
        )
        config = functools.partial(
            self.driver.vif_driver.get_config,
            instance=self.instance,
            image_meta=self.instance.image_meta,
            flavor=self.instance.flavor,
            virt_type="qemu",
        )
        here = self.driver._host.get_guest(self.instance)
        xml: str = migration.get_updated_guest_xml(
            self.instance, here, data, self.driver._get_volume_config, get_vif_config=config
        )
        return xml

    def parsed(self) -> str:
        """Return what Nova's own reader of domain XML keeps of the running instance's features."""
        config = self.driver._get_existing_guest_config(self.instance)
        return " ".join(feature.root_name for feature in config.features)

    def _live(self) -> str:
        here: guest.Guest = self.driver._host.get_guest(self.instance)
        xml: str = here.get_xml_desc()
        return xml

    @contextlib.contextmanager
    def _plugs(self) -> Iterator[None]:
        """Leave the tap devices alone, which are Neutron's, and the tags of cards, which are in the database."""
        with (
            mock.patch.object(self.driver, "plug_vifs"),
            mock.patch.object(self.driver.vif_driver, "unplug"),
            mock.patch.object(self.driver, "_build_device_metadata", return_value=None),
        ):
            yield


def main() -> None:
    """Do one thing with each instance."""
    action: Callable[[Nova], str] = getattr(Nova, sys.argv[1])
    _begin()
    code = 1
    try:
        print(json.dumps([action(Nova(json.loads(given))) for given in sys.argv[2:]]), flush=True)
        code = 0
    except Exception:
        traceback.print_exc()
    # Threads of Nova's wait for events for ever.
    os._exit(code)


if __name__ == "__main__":
    main()
