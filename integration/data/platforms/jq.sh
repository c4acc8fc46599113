# The two lines for monitoring: one for each device that breaks a promise, and the domains that wait for a cold start.
sed "s/<name>my</<name>$GUEST</" docs/example.xml >"$XML"
virsh define "$XML"
found() { virt-pci-hotplug check "$@" --json "$GUEST" |
    jq -r '.domains[] | .name as $d | .devices[] | if .state == "found" then "\($d) \(.name // .why)" else empty end'; }
pending() { virt-pci-hotplug check --json "$GUEST" | jq -r '.domains[] | if .result == "pending" then .name else empty end'; }
found --strict | grep "^$GUEST "
virsh start --paused "$GUEST"
[ -z "$(pending)" ]
virt-pci-hotplug set "$GUEST" no --rename-nics --yes
[ "$(pending)" = "$GUEST" ]
virsh destroy "$GUEST"
[ -z "$(found --strict)$(pending)" ]
