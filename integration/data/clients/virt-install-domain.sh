# A new guest none of whose PCI devices can be unplugged. Without num_pcie_root_ports=0 virt-install adds 14 root ports.
virt-install --name "$GUEST" --memory 256 --import --machine q35 --osinfo detect=off,require=off \
    --disk "path=$DISK,bus=virtio" --network user,model=virtio --graphics none --noautoconsole --print-xml 1 \
    --controller num_pcie_root_ports=0 --xml ./features/hotplug/@enable=no >"$XML"
virt-xml-validate "$XML" domain
virsh define "$XML"
