#!/bin/bash
# test-newcomer.sh: an ordinary user with sudo types README's two commands in a fresh clone, on a Debian 13 that has nothing
# else: a copy-on-write view, of which build/check/newcomer is left. Takes root, and 6 GB of memory.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

# shellcheck source=tools/lib.sh
. tools/lib.sh

[ "$(id -u)" = 0 ] || die "making a view needs root"
tools/debian.sh trixie build/newcomer/trixie minbase
rm -rf build/check/newcomer
mkdir -p build/check/newcomer
# pip's mirror and certificates are this machine's, as apt's are.
rm -rf build/newcomer/etc
for file in ~/.config/pip/pip.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    target=build/newcomer${file/#$HOME\/.config//etc/xdg}
    mkdir -p "$(dirname "$target")"
    [ ! -e "$file" ] || cp "$file" "$target"
done
mapfile -t pip < <(env | grep '^PIP_' || true)

cat >build/newcomer/try.sh <<'TRY'
set -euxo pipefail
apt-get -q update
apt-get -qy --no-install-recommends install ca-certificates git make sudo
cp -r build/newcomer/etc/. /etc
useradd -m -s /bin/bash user
echo 'user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user
git -c safe.directory='*' clone -q --no-hardlinks . /home/user/hotplug
chown -R user: /home/user
code=0
su user -c 'cd ~/hotplug && make demo && make check STAGES="lint schema upstream definitions guests monolithic"' || code=$?
cp /home/user/hotplug/build/check/* build/check/newcomer/ || true
left=$(find /home/user -mindepth 1 -maxdepth 1 ! -name hotplug ! -name '.bash*' ! -name .profile)
[ -z "$left" ] || { echo "written outside the checkout: $left"; code=1; }
exit $code
TRY
tools/view.sh build/newcomer/trixie "$top" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive "${pip[@]}" bash -c "cd '$top' && . build/newcomer/try.sh"
