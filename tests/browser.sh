#!/usr/bin/env bash
# Runs a headless Chromium on a directory of ours, and leaves nothing behind.
#
#   tests/browser.sh WORKDIR [OPTION…]
#
#   WORKDIR   the one directory shared with the browser: absolute, at the same path inside, and its working directory.
#             Everything else that the browser writes is gone when it ends.
#   OPTION    the browser's own, like --screenshot=page.png or --remote-debugging-pipe, for which file descriptors 3 and 4
#             are handed on.
#
# The browser has no network: not even a loopback device that is up. Needs root, and the root that
# `tests/setup.sh browser` makes. Killing browser.sh kills everything that it started.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$here/cache.sh"

# First half, outside: check the arguments, make the namespaces.
if [[ ${1-} != --inside ]]; then
    [[ ${1-} == /* && -d $1 ]] || die "WORKDIR must be the absolute path of a directory, found '${1-}'"
    [[ $(id -u) == 0 ]] || die "needs root"
    [[ -e $BROWSER_ROOT/etc/confext-browser ]] || die "there is no $BROWSER_ROOT: run tests/setup.sh browser"
    exec unshare --mount --propagation private --net --pid --fork --kill-child \
        "$here/browser.sh" --inside "$BROWSER_ROOT" "$@"
fi

# Second half, inside: build the root, go there, run the browser.
root=$2 workdir=$(realpath "$3")
shift 3
cd "$root"
mount -t tmpfs -o mode=755 browser mnt
mkdir mnt/upper mnt/work mnt/root mnt/shared
mount --rbind "$workdir" mnt/shared
mount -t overlay -o "lowerdir=$root,upperdir=mnt/upper,workdir=mnt/work" browser mnt/root
root=$root/mnt/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mkdir -p "$root$workdir"
mount --move mnt/shared "$root$workdir"
cd "$root"
pivot_root . mnt
umount -l /mnt
cd "$workdir"
# As root, and in a container that lets nobody make user namespaces, the browser cannot have its sandbox.
exec env -i PATH=/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 TZ=UTC \
    /usr/lib/chromium/chromium-headless-shell --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --no-first-run --disable-background-networking --disable-component-update --disable-crash-reporter \
    --user-data-dir=/tmp/profile --hide-scrollbars "$@"
