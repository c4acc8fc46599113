#!/bin/sh
# smoke.sh DAEMON VIRSH TOOL: in a chroot of its own, the installed daemon starts a guest that has nothing to eject, and
# the installed virt-pci-hotplug says so.
set -eu
daemon=$1
virsh=$2
tool=$3
export LIBVIRT_DEFAULT_URI=qemu:///system
# As ./run has it: the host's confinement knows nothing of a chroot.
printf 'namespaces = [ ]\ncgroup_controllers = [ ]\nsecurity_driver = "none"\n' >>/etc/libvirt/qemu.conf
# There is no systemd to start virtlogd, which QEMU's output goes to.
"$(dirname "$daemon")/virtlogd" --daemon --pid-file /run/smoke-log.pid
LIBVIRT_LOG_OUTPUTS=3:file:/run/smoke.log "$daemon" --daemon --pid-file /run/smoke.pid
trap 'test $? = 0 || cat /run/smoke.log; kill "$(cat /run/smoke.pid)" "$(cat /run/smoke-log.pid)"' EXIT
"$virsh" version
"$virsh" domcapabilities --machine q35 | grep "<hotplug supported='yes'>"
cat >/tmp/guest.xml <<'XML'
<domain type='qemu'>
  <name>smoke</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><hotplug enable='no'/></features>
  <devices><interface type='user'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>
</domain>
XML
"$virsh" define --validate /tmp/guest.xml
"$virsh" start smoke
# Whatever python3 is first on PATH, Debian's has the libraries.
/usr/bin/python3 "$tool" check --strict smoke
if "$virsh" detach-device-alias smoke net0; then exit 1; fi
"$virsh" destroy smoke
