#!/usr/bin/env bash
# Runs a command on this machine in namespaces of its own, in which nothing of the machine can be written: /etc is a copy,
# /run and /var/lib are new, WORKDIR is what it is outside, and everything else can only be read.
#
#   tests/book/room.sh WORKDIR COMMAND [ARGUMENT…]

set -euo pipefail

if [[ ${1-} != --inside ]]; then
    exec unshare --mount --propagation private --pid --fork --kill-child --uts --ipc "$0" --inside "$@"
fi
work=$2
shift 2
mount --bind "$work" "$work"
mount -t tmpfs -o mode=755 room "$work/book/private"
mkdir "$work/book/private/"{upper,work}
cp -a /etc "$work/book/private/etc"
while read -r target; do
    mount -o bind,remount,ro "$target"
done < <(findmnt -rn -o TARGET -t nodevtmpfs,nodevpts,nomqueue)
mount -o bind,remount,rw "$work"
mount -o bind,remount,rw "$work/book/private"
mount --bind "$work/book/private/etc" /etc
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 lib /var/lib
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t proc proc /proc
# As on a machine that has started.
mount --make-rshared /
cd "$work/page"
exec env -i PATH="$work/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" TERM=dumb "$@"
