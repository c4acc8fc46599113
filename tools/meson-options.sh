# shellcheck shell=bash disable=SC2034,SC2154
# meson options and targets of the libvirt builds here; to be sourced after lib.sh.

# Of every build that ./run runs, and of make check-series. What the tests need is required rather than found by chance, so
# that a missing package is noticed.
# Not optimized and without debug information: that takes under a third of the time to compile. The warnings that take
# optimization are seen by "tools/build.sh optimized" (make bench, make nightly).
meson_options=(
    -Doptimization=0 -Ddebug=false -Dnls=disabled
    # It links in a tenth of the time.
    -Dc_link_args=-fuse-ld=mold
    -Dwerror=true -Dgit_werror=disabled
    -Dtests=enabled -Ddocs=enabled -Dexpensive_tests=disabled
    -Ddriver_remote=enabled -Ddriver_libvirtd=enabled
    -Ddriver_qemu=enabled -Ddriver_lxc=enabled -Ddriver_libxl=enabled -Ddriver_ch=enabled -Ddriver_esx=enabled
    -Ddriver_vmware=enabled -Ddriver_vbox=enabled -Ddriver_openvz=enabled -Ddriver_test=enabled
    -Ddriver_network=enabled -Ddriver_interface=enabled -Ddriver_secrets=enabled
    -Dstorage_dir=enabled -Dstorage_disk=enabled -Dstorage_fs=enabled
    -Dapparmor=enabled -Dsecdriver_apparmor=enabled -Dselinux=enabled -Dsecdriver_selinux=enabled
    -Dattr=enabled -Dblkid=enabled -Dcapng=enabled -Dcurl=enabled -Dfuse=enabled -Djson_c=enabled -Dlibnl=enabled
    -Dlibpcap=enabled -Dlibssh2=enabled -Dnumactl=enabled -Dpciaccess=enabled -Dreadline=enabled -Dsasl=enabled
    -Dudev=enabled
    -Dbash_completion=disabled
    -Dqemu_user=root -Dqemu_group=root
    # The daemons' files. One prefix for all: ccache then knows the files in which it is compiled, too.
    "--prefix=$PWD/build/prefix" --libdir=lib "--sysconfdir=$PWD/build/etc" "--localstatedir=$PWD/build/var"
    "-Drunstatedir=$PWD/build/run"
)
# Added to the above for what is measured.
meson_optimized=(-Doptimization=2 -Ddebug=true)

# What "./run COMMAND" needs, without --daemon.
run_targets=(src/virtqemud src/libvirt_driver_qemu.so src/libvirt_iohelper tools/virsh)
for driver in network storage secret nodedev; do
    run_targets+=("src/virt${driver}d" "src/libvirt_driver_$driver.so")
done
# What libvirt-python is made from.
python_targets=()
for library in libvirt libvirt-qemu libvirt-lxc; do
    python_targets+=("src/$library.so.0.$((${version%%.*} * 1000 + $(cut -d. -f2 <<<"$version"))).${version##*.}")
    python_targets+=("docs/$library-api.xml")
done
