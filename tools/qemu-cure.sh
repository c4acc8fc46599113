#!/bin/bash
# qemu-cure.sh: build Debian 13's QEMU with docs/qemu-slot-control.patch, for aarch64, in build/qemu-cure, and attack
# guests of the virt machine type on it: root cannot remove what is directly behind an off port, and still can behind others.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
dir=$top/build/qemu-cure
patch=docs/qemu-slot-control.patch

# shellcheck source=tools/lib.sh
. tools/lib.sh

tools/deps.sh libfdt-dev libglib2.0-dev libslirp-dev zlib1g-dev bzip2
mkdir -p "$dir"
code=$(sed '1,/^diff /d' "$patch")
if [ "$(cat "$dir/patch" 2>/dev/null)" != "$code" ]; then
    step "QEMU's source from Debian 13"
    conf=$(tools/apt-private.sh deb-src trixie)
    rm -rf "$dir/source" "$dir/patch" "$dir"/*.orig.tar.xz
    (cd "$dir" && APT_CONFIG=$conf apt-get -q source --download-only --tar-only qemu) >"$dir/fetch.log" 2>&1 ||
        die "it cannot be fetched: see $dir/fetch.log"
    mkdir "$dir/source"
    tar -C "$dir/source" --strip-components=1 -xf "$dir"/qemu_10.0.*.orig.tar.xz
    patch -d "$dir/source" -p1 <"$patch"
    # Debian takes the firmware out, and meson wants the files of all that it could build.
    sed -n "s/^ *'\(edk2-.*\.fd\)',$/\1/p" "$dir/source/pc-bios/meson.build" |
        while read -r name; do bzip2 </dev/null >"$dir/source/pc-bios/$name.bz2"; done

    step "Configuring it (log: build/qemu-cure/configure.log)"
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install -qq --disable-pip-version-check meson==1.5.2 pycotap==1.3.1 ninja==1.13.2
    rm -rf "$dir/build"
    mkdir "$dir/build"
    (cd "$dir/build" && PATH=$dir/venv/bin:$PATH ../source/configure --python="$dir/venv/bin/python3" --ninja="$dir/venv/bin/ninja" \
        --target-list=aarch64-softmmu --without-default-features --enable-system --enable-tcg --enable-slirp --enable-fdt=system \
        --disable-docs --disable-install-blobs --with-pkgversion="$(basename "$patch")") >"$dir/configure.log" 2>&1 || die "see $dir/configure.log"
    echo "$code" >"$dir/patch"
fi
step "Building it: 12 minutes on 2 cores the first time (log: build/qemu-cure/ninja.log)"
"$dir/venv/bin/ninja" -C "$dir/build" qemu-system-aarch64 >"$dir/ninja.log" 2>&1 || die "see $dir/ninja.log"
# The ROMs of network cards are Debian's.
cat >"$dir/qemu-system-aarch64" <<END
#!/bin/sh
exec $dir/build/qemu-system-aarch64 -L /usr/share/qemu -L /usr/lib/ipxe/qemu "\$@"
END
chmod +x "$dir/qemu-system-aarch64"
QEMU_SYSTEM_AARCH64=$dir/qemu-system-aarch64
export QEMU_SYSTEM_AARCH64
"$QEMU_SYSTEM_AARCH64" --version | head -1

step "The fact about virt on it"
./run python3 -m integration.cure
