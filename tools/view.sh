#!/bin/bash
# view.sh LOWER DIR COMMAND...: run COMMAND in a copy-on-write view of the file system at LOWER (/, or a chroot's), in which
# DIR is the real one. Nothing else of what it does is left. Takes root.
set -euo pipefail
lower=$1 real=$2
shift 2
# shellcheck disable=SC2016  # expanded by the inner shell
exec unshare --mount --pid --fork bash -euc '
    lower=$1 real=$2 view=$2/build/view
    shift 2
    mount --make-rprivate /
    mkdir -p "$view"
    mount -t tmpfs -o size=6g view "$view"
    mkdir "$view/upper" "$view/work" "$view/root"
    mount -t overlay -o "lowerdir=$lower,upperdir=$view/upper,workdir=$view/work" view "$view/root"
    mkdir -p "$view/root$real"
    mount --bind "$real" "$view/root$real"
    mount --rbind /dev "$view/root/dev"
    mount -t proc proc "$view/root/proc"
    mount -t sysfs sys "$view/root/sys"
    for directory in run tmp; do mount -t tmpfs "$directory" "$view/root/$directory"; done
    exec chroot "$view/root" "$@"' unshare "$lower" "$real" "$@"
