# OpenNebula puts the DATA of the template's RAW at the end of the domain, beside the features that it writes itself.
sed "s|RAW|<features><hotplug enable='no'/></features>|; s/>one-1</>$GUEST</" integration/data/clients/xml/opennebula.xml >"$XML"
virsh define "$XML"
virt-pci-hotplug check --strict --config "$GUEST"
