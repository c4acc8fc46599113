# KubeVirt's shim runs the hook at each of the guest's defines, the later ones with addresses.
sed "s/>default_vmi</>$GUEST</" integration/data/clients/xml/kubevirt.xml >"$XML.first"
hook=docs/platforms/kubevirt/onDefineDomain
$hook --vmi '{}' --domain "$(cat "$XML.first")" >"$XML"
virsh define "$XML"
virsh dumpxml --inactive "$GUEST" >"$XML.second"
$hook --vmi '{}' --domain "$(cat "$XML.second")" >"$XML"
virsh define "$XML"
virsh dumpxml --inactive "$GUEST" | diff "$XML.second" -
virt-pci-hotplug check --strict --config "$GUEST"
# One that was defined without the hook has its devices on ports.
virsh undefine "$GUEST"
virsh define "$XML.first"
virsh dumpxml --inactive "$GUEST" >"$XML.second"
if virt-pci-hotplug check --strict --config "$GUEST"; then false; else [ $? = 1 ]; fi
$hook --vmi '{}' --domain "$(cat "$XML.second")" >"$XML"
virsh define "$XML"
virt-pci-hotplug check --strict --config "$GUEST"
# Without a domain there is none.
if $hook --vmi '{}' </dev/null; then false; fi
