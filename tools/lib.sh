# shellcheck shell=bash
# What our bash scripts share; they source it in the repository's root. $version is libvirt's.
# shellcheck source=tools/libvirt.version
. tools/libvirt.version

# It takes the names of headers from the compiler: to preprocess first would take a fifth more. Objects of one build are not
# another's then, as libvirt's commands to compile name the build directory (-Dabs_top_builddir).
export CCACHE_DIR=${CCACHE_DIR:-$PWD/build/ccache} CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1

step() { printf '[%4ds] %s\n' $SECONDS "$*"; }
die() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; exit 1; }

# configure BUILD SOURCE OPTION...: meson setup in BUILD, anew if the options are not those of the last time there.
# (ninja by itself sees changes of libvirt's meson files.)
configure() {
    local build=$1 source=$2
    shift 2
    [ "$(cat "$build/options" 2>/dev/null)" != "$*" ] || return 0
    rm -rf "$build"
    meson setup "$build" "$source" "$@" || return 1
    echo "$*" >"$build/options"
}
