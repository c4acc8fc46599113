# VDSM runs the hook with the file's name and the VM's custom properties in the environment, and reads the file again.
sed "s/<name>vm</<name>$GUEST</" integration/data/clients/xml/vdsm.xml >"$XML"
hook=docs/platforms/vdsm/50_virt_pci_hotplug
addresses() { grep -o '<address type=.pci.[^>]*>' "$XML" | tr \" \' | sort; }
cp "$XML" "$XML.before"
addresses >"$XML.addresses"
# A VM without the property, and one with a value that means nothing: it must not start.
_hook_domxml=$XML $hook
cmp "$XML" "$XML.before"
if _hook_domxml=$XML pci_hotplug=never $hook; then false; else [ $? = 2 ]; fi
cmp "$XML" "$XML.before"
_hook_domxml=$XML pci_hotplug=no $hook
cp "$XML" "$XML.once"
_hook_domxml=$XML pci_hotplug=no $hook
cmp "$XML" "$XML.once"
addresses | diff "$XML.addresses" -
virsh define "$XML"
virt-pci-hotplug check --strict --config "$GUEST"
# A device that cannot stay where it is, behind a bridge: libvirt refuses what VDSM then defines.
bridge='<controller type="pci" index="17" model="pcie-to-pci-bridge"><address type="pci" bus="0x08" slot="0x00"/></controller>'
sed "/<rng /,/<\/rng>/s/bus=\"0x06\" slot=\"0x00\"/bus=\"0x11\" slot=\"0x01\"/; s|<devices>|<devices>$bridge|" "$XML.before" >"$XML"
_hook_domxml=$XML pci_hotplug=no $hook
if virsh define "$XML" 2>"$XML.said"; then false; fi
grep 'contradict the hotplug settings: rng' "$XML.said"
