# What Terraform's libvirt provider 0.8 does with "xml { xslt = ... }": the domain that it wrote goes through the file.
virt-install --name "$GUEST" --memory 256 --import --machine q35 --osinfo detect=off,require=off \
    --disk "path=$DISK,bus=virtio" --network user,model=virtio --graphics none --noautoconsole --print-xml 1 \
    --controller num_pcie_root_ports=0 >"$XML.before"
xsltproc docs/platforms/terraform/hotplug.xsl "$XML.before" >"$XML"
virsh define "$XML"
virt-pci-hotplug check --strict --config "$GUEST"
