# A removable device for a guest that runs: a port while it is off, the device at any time.
virt-install --name "$GUEST" --virt-type qemu --memory 256 --import --machine q35 --osinfo detect=off,require=off \
    --disk "path=$DISK,bus=virtio" --network user,model=virtio --graphics none --noautoconsole --print-xml 1 \
    --controller num_pcie_root_ports=0 --xml ./features/hotplug/@enable=no >"$XML"
virsh define "$XML"
virt-xml "$GUEST" --add-device --controller type=pci,model=pcie-root-port
virsh start --paused "$GUEST"
truncate -s 1M "$DISK.more"
virt-xml "$GUEST" --add-device --disk "path=$DISK.more,bus=virtio,xpath0.set=./@hotplug,xpath0.value=yes" --update
virsh dumpxml "$GUEST" | grep "disk .*hotplug='yes'"
virt-pci-hotplug check "$GUEST"
