# In the Vagrantfile: libvirt.features = ['acpi', 'apic', "hotplug enable='no'"]. vagrant-libvirt's own template of a domain.
ruby integration/platforms/vagrant.rb "$(find build/platforms/vagrant -name domain.xml.erb)" "$GUEST" "$DISK" \
    acpi apic "hotplug enable='no'" >"$XML"
virsh define "$XML"
virt-pci-hotplug check --strict --config "$GUEST"
