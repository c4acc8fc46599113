"""Nova's libvirt driver, for flavors whose instances cannot unplug their PCI devices.

Put this file into nova/virt/ of each compute host, set compute_driver = libvirt_hotplug.LibvirtDriver in nova.conf, and
libvirt:pci_hotplug=no on a flavor. A value that is neither no nor yes raises ValueError: the instance does not start.
"""

from nova.virt.libvirt import config, driver
from oslo_utils import strutils


class GuestFeatureHotplug(config.LibvirtConfigGuestFeature):
    """<hotplug enable='no'/> of a domain."""

    def __init__(self, **kwargs):
        super().__init__("hotplug", **kwargs)

    def format_dom(self):
        """Return the element."""
        element = super().format_dom()
        element.set("enable", "no")
        return element


class LibvirtDriver(driver.LibvirtDriver):
    """Nova's driver, which writes the element for such a flavor."""

    def _set_features(self, guest, os_type, image_meta, flavor):
        super()._set_features(guest, os_type, image_meta, flavor)
        if not strutils.bool_from_string(flavor.extra_specs.get("libvirt:pci_hotplug", "yes"), strict=True):
            guest.add_feature(GuestFeatureHotplug())
