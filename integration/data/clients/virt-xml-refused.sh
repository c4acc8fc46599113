# A guest whose devices are behind default ports: virt-xml shows libvirt's refusal and changes nothing; the tool converts.
sed "s/<name>my</<name>$GUEST</" docs/example.xml >"$XML"
virsh define "$XML"
if virt-xml "$GUEST" --edit --xml ./features/hotplug/@enable=no 2>"$XML.said"; then false; fi
grep 'contradict the hotplug settings: .*interface' "$XML.said"
virsh dumpxml --inactive "$GUEST" | { ! grep 'hotplug enable'; }
virt-pci-hotplug set "$GUEST" no
