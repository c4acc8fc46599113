#!/bin/bash
# qemu-cure.sh: build Debian 13's QEMU with docs/qemu-slot-control.patch, for aarch64 (X86=1: and x86_64), in build/qemu-cure,
# and attack guests on it: root cannot remove what is directly behind an off port, and still can behind others.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
dir=$top/build/qemu-cure
patch=docs/qemu-slot-control.patch

# shellcheck source=tools/lib.sh
. tools/lib.sh

tools/deps.sh libfdt-dev libglib2.0-dev libslirp-dev zlib1g-dev bzip2
mkdir -p "$dir"
archs=aarch64 cases=virt
[ -z "${X86:-}" ] || archs="aarch64 x86_64" cases="virt q35 q35-6.0"
# shellcheck disable=SC2086  # names
targets=$(printf '%s-softmmu,' $archs)
code="$targets
$(sed '1,/^diff /d' "$patch")"
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
        --target-list="${targets%,}" --without-default-features --enable-system --enable-tcg --enable-slirp --enable-fdt=system \
        --disable-docs --disable-install-blobs --with-pkgversion="$(basename "$patch")") >"$dir/configure.log" 2>&1 || die "see $dir/configure.log"
    echo "$code" >"$dir/patch"
fi
step "Building it: 12 minutes on 2 cores the first time (log: build/qemu-cure/ninja.log)"
# shellcheck disable=SC2046,SC2086  # names
"$dir/venv/bin/ninja" -C "$dir/build" $(printf 'qemu-system-%s ' $archs) >"$dir/ninja.log" 2>&1 || die "see $dir/ninja.log"
for arch in $archs; do
    # The firmware is Debian's.
    cat >"$dir/qemu-system-$arch" <<END
#!/bin/sh
exec $dir/build/qemu-system-$arch -L /usr/share/qemu -L /usr/share/seabios -L /usr/lib/ipxe/qemu "\$@"
END
    chmod +x "$dir/qemu-system-$arch"
    export "QEMU_SYSTEM_${arch^^}=$dir/qemu-system-$arch"
    "$dir/qemu-system-$arch" --version | head -1
done

step "The facts on it"
# shellcheck disable=SC2086  # names
./run python3 -m integration.cure $cases
