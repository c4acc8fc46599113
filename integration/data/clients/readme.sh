# README's example, and its conversion.
sed "s/<name>my</<name>$GUEST</" docs/example.xml >"$XML"
virsh define "$XML"
virt-pci-hotplug list "$GUEST"
virt-pci-hotplug set "$GUEST" no --dry-run
virt-pci-hotplug set "$GUEST" no
virt-pci-hotplug check --strict --config "$GUEST"
