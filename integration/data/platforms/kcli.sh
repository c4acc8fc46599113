# kcli makes the guest and does not start it; then the setting, which later commands of kcli keep.
export HOME="${XML%/*}"
mkdir -p "$HOME/.kcli" "$HOME/pool"
cat >"$HOME/.kcli/config.yml" <<END
default: {client: local, pool: $GUEST, numcpus: 1, nets: []}
local: {type: kvm, url: "$LIBVIRT_DEFAULT_URI"}
END
virsh pool-create-as "$GUEST" dir --target "$HOME/pool"
trap 'virsh pool-destroy "$GUEST"' EXIT
kcli create vm -P start=False -P memory=256 -P machine=q35 -P virttype=qemu -P cpumodel=qemu64 -P "disks=[1]" -P nets=[] "$GUEST"
virt-pci-hotplug set "$GUEST" no --reassign
kcli create disk -s 1 -p "$GUEST" "$GUEST"
kcli update vm -P memory=512 "$GUEST"
virt-pci-hotplug check --strict --config "$GUEST"
