# A new guest whose disk cannot be unplugged, while all else can.
virt-install --name "$GUEST" --memory 256 --import --machine q35 --osinfo detect=off,require=off \
    --disk "path=$DISK,bus=virtio,xpath0.set=./@hotplug,xpath0.value=no" --network user,model=virtio \
    --graphics none --noautoconsole --print-xml 1 --controller num_pcie_root_ports=0 >"$XML"
virsh define "$XML"
