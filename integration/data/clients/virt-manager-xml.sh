# virt-manager's XML tab: its parser reads the guest, the user adds the line, and the text is defined.
virt-install --name "$GUEST" --memory 256 --import --machine q35 --osinfo detect=off,require=off \
    --disk "path=$DISK,bus=virtio" --network user,model=virtio --graphics none --noautoconsole --print-xml 1 \
    --controller num_pcie_root_ports=0 >"$XML"
/usr/bin/python3 - "$XML" <<'END'
import os, sys
sys.path.insert(0, "/usr/share/virt-manager")
import virtinst
conn = virtinst.VirtinstConnection(os.environ["LIBVIRT_DEFAULT_URI"])
conn.open(None, None)
guest = virtinst.Guest(conn, parsexml=open(sys.argv[1]).read())
edited = guest.get_xml().replace("<features>", "<features><hotplug enable='no'/>")
conn.defineXML(virtinst.Guest(conn, parsexml=edited).get_xml())
END
