# What cockpit-machines runs for "Add disk": with --update while the guest runs, without while it is off.
virt-install --name "$GUEST" --virt-type qemu --memory 256 --import --machine q35 --osinfo detect=off,require=off \
    --disk "path=$DISK,bus=virtio" --network user,model=virtio --graphics none --noautoconsole --print-xml 1 \
    --controller num_pcie_root_ports=0 --xml ./features/hotplug/@enable=no >"$XML"
virsh define "$XML"
truncate -s 1M "$DISK.more"
virsh start --paused "$GUEST"
if virt-xml "$GUEST" --add-device --disk "$DISK.more,format=raw,bus=virtio" --update 2>"$XML.said"; then false; fi
grep 'must not be unpluggable and cannot be attached to a running domain.*while the domain is shut off' "$XML.said"
virsh destroy "$GUEST"
virt-xml "$GUEST" --add-device --disk "$DISK.more,format=raw,bus=virtio"
virt-pci-hotplug check --strict --config "$GUEST"
