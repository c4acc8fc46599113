"""Real systems: Debian as it is installed, on a disk, converted by virt-pci-hotplug."""
