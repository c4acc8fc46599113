# The same with virt-install's own root ports: nobody sits on them, but they are there.
virt-install --name "$GUEST" --memory 256 --import --machine q35 --osinfo detect=off,require=off \
    --disk "path=$DISK,bus=virtio" --network user,model=virtio --graphics none --noautoconsole --print-xml 1 \
    --xml ./features/hotplug/@enable=no >"$XML"
virsh define "$XML"
