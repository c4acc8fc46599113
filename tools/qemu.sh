#!/bin/sh
# qemu.sh WHICH: print the paths of the QEMU under test: qemu-system-x86_64, then qemu-system-aarch64 if there is one.
# WHICH is a path, or 10.0: the machine's own if it is that, else Debian 12's backports, unpacked in build/qemu-10.0
# with the libraries that the machine lacks; nothing is installed.
set -eu
cd "$(dirname "$0")/.."

case $1 in
*/*)
    [ -x "$1" ] || { echo "$1 is not an executable file" >&2; exit 1; }
    realpath "$1"
    exit 0
    ;;
10.0) ;;
*) echo "QEMU is 10.0 or a path" >&2; exit 1 ;;
esac

if qemu-system-x86_64 --version 2>/dev/null | grep -qF "version $1"; then
    command -v qemu-system-x86_64 qemu-system-aarch64
    exit 0
fi

dir=$PWD/build/qemu-$1
mkdir -p build
exec 9>"$dir.lock"
flock 9
if ! [ -e "$dir/complete" ]; then
    echo "Fetching QEMU $1" >&2
    rm -rf "$dir"
    mkdir -p "$dir/deb"
    APT_CONFIG=$(tools/apt-private.sh deb bookworm-backports bookworm)
    export APT_CONFIG
    # With every module package that the machine's own QEMU has in the compiled-in directory: QEMU looks for what it
    # misses there, and aborts on modules of another version.
    packages="qemu-system-x86 qemu-system-arm qemu-system-modules-opengl qemu-system-modules-spice"
    for package in qemu-system-gui qemu-block-extra; do
        dpkg-query -W -f '${db:Status-Status}' $package 2>/dev/null | grep -qx installed && packages="$packages $package"
    done
    # What apt would install or upgrade for them on this machine.
    # shellcheck disable=SC2086  # names
    names=$(apt-get -q -s -t bookworm-backports --no-install-recommends install $packages |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p')
    # shellcheck disable=SC2086  # names
    (cd "$dir/deb" && apt-get -q -t bookworm-backports download $names) >&2
    for deb in "$dir"/deb/*.deb; do
        dpkg -x "$deb" "$dir"
    done
    lib=$dir/usr/lib/$(uname -m)-linux-gnu
    for arch in x86_64 aarch64; do
        cat >"$dir/qemu-system-$arch" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH=$lib QEMU_MODULE_DIR=$lib/qemu
exec $dir/usr/bin/qemu-system-$arch -L $dir/usr/share/qemu -L $dir/usr/share/seabios -L $dir/usr/lib/ipxe/qemu \\
    -L /usr/share/seabios -L /usr/lib/ipxe/qemu "\$@"
EOF
        chmod +x "$dir/qemu-system-$arch"
        "$dir/qemu-system-$arch" --version | grep -qF "version $1" || {
            echo "bookworm-backports no longer has QEMU $1: $("$dir/qemu-system-$arch" --version)" >&2
            exit 1
        }
    done
    touch "$dir/complete"
fi
echo "$dir/qemu-system-x86_64"
echo "$dir/qemu-system-aarch64"
