# KubeVirt's own kubevirt.io/placePCIDevicesOnRootComplex: each device gets a slot of the root bus, from slot 2 on.
awk -v guest="$GUEST" '
    { sub(">default_vmi<", ">" guest "<") }
    /<\/(interface|video|memballoon|disk|rng)>/ { where() }
    /<controller type="(scsi|virtio-serial)"/ { sub("/>", ">"); print; where(); print "</controller>"; next }
    { print }
    function where() { printf "<address type=\"pci\" bus=\"0\" slot=\"%d\"/>\n", /video/ ? 1 : 2 + slots++ }
' integration/data/clients/xml/kubevirt.xml >"$XML"
virsh define "$XML"
virt-pci-hotplug check --strict --config "$GUEST"
