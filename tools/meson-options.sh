# shellcheck shell=bash disable=SC2034
# meson options of every libvirt build here (make build and make check-series).
# What the tests need is required rather than found by chance, so that a missing package is noticed. Nothing may be
# installed outside build/, so no hook into the system's shell.
meson_options=(
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
)
