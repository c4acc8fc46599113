#!/bin/sh
# qemu.sh WHICH: print the paths of the QEMU under test: qemu-system-x86_64, then those of other architectures.
# WHICH is a path; or 7.2 (Debian 12's) or 10.0 (Debian 13's): the machine's own if it is that; or backports: what
# trixie-backports serves. Others than the machine's own are unpacked in build/qemu-WHICH and started with libraries and
# a loader of their own, which are there, too; nothing is installed.
set -eu
cd "$(dirname "$0")/.."

case $1 in
*/*)
    [ -x "$1" ] || { echo "$1 is not an executable file" >&2; exit 1; }
    realpath "$1"
    exit 0
    ;;
7.2) suites=bookworm ;;
10.0) suites=trixie ;;
backports) suites="trixie-backports trixie" ;;
*) echo "QEMU is 7.2, 10.0, backports or a path" >&2; exit 1 ;;
esac

arches="x86_64 aarch64 arm riscv64 loongarch64"
if qemu-system-x86_64 --version 2>/dev/null | grep -qF "version $1"; then
    for arch in $arches; do
        command -v "qemu-system-$arch" || :
    done
    exit 0
fi

dir=$PWD/build/qemu-$1
mkdir -p build
exec 9>"$dir.lock"
flock 9
if ! [ -e "$dir/version" ]; then
    echo "Fetching QEMU $1" >&2
    rm -rf "$dir"
    mkdir -p "$dir/deb"
    touch "$dir/deb/status"
    # shellcheck disable=SC2086  # names
    APT_CONFIG=$(tools/apt-private.sh deb $suites)
    export APT_CONFIG
    # With every module package that the machine's own QEMU has in the compiled-in directory: QEMU looks for what it
    # misses there, and aborts on modules of another version.
    packages="qemu-system-x86 qemu-system-arm qemu-system-misc"
    # riscv64 is in a package of its own from Debian 13 on
    for package in qemu-system-modules-opengl qemu-system-modules-spice qemu-system-riscv; do
        apt-cache show "$package" >/dev/null 2>&1 && packages="$packages $package"
    done
    for package in qemu-system-gui qemu-block-extra; do
        dpkg-query -W -f '${db:Status-Status}' $package 2>/dev/null | grep -qx installed && packages="$packages $package"
    done
    # All that they depend on, the C library included: what apt would install on an empty machine.
    # shellcheck disable=SC2086  # names
    names=$(apt-get -q -s -o "Dir::State::status=$dir/deb/status" -t "${suites%% *}" --no-install-recommends install \
        $packages | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p')
    # shellcheck disable=SC2086  # names
    (cd "$dir/deb" && apt-get -q download $names) >&2
    for deb in "$dir"/deb/*.deb; do
        dpkg -x "$deb" "$dir"
    done
    rm -rf "$dir/deb"
    triplet=$(uname -m)-linux-gnu
    loader=$(find "$dir/usr/lib" "$dir/lib" "$dir/lib64" -name 'ld-linux-*' 2>/dev/null | head -1)
    lib=$dir/usr/lib/$triplet
    for arch in $arches; do
        cat >"$dir/qemu-system-$arch" <<END
#!/bin/sh
export QEMU_MODULE_DIR=$lib/qemu
exec $loader --library-path $lib:$dir/lib/$triplet $dir/usr/bin/qemu-system-$arch \\
    -L $dir/usr/share/qemu -L $dir/usr/share/seabios -L $dir/usr/lib/ipxe/qemu "\$@"
END
        chmod +x "$dir/qemu-system-$arch"
    done
    version=$("$dir/qemu-system-x86_64" --version | sed -n 's/^QEMU emulator version //p')
    case $1,$version in
    backports,*~bpo*) ;;
    10.0,10.0.* | 7.2,7.2.*) ;;
    *)
        echo "Debian's $suites serves no QEMU $1, but: $version" >&2
        exit 1
        ;;
    esac
    echo "$version" >"$dir/version"
    rm -rf "$dir/usr/share/doc" "$dir/usr/share/locale" "$dir/usr/share/man"
fi
for arch in $arches; do
    echo "$dir/qemu-system-$arch"
done
