#!/usr/bin/env bash
# Runs a command of Debian unstable (systemd 262 or later) on files of ours, and leaves nothing behind.
#
#   tests/peer.sh [--stable] [--trust CERTIFICATE.pem]… WORKDIR COMMAND [ARGUMENT…]
#
#   --stable   a command of Debian 13 (systemd 257) instead
#   WORKDIR    the one directory shared with the command: absolute, writable, at the same path inside, and its working
#              directory. Everything else the command writes is gone when it ends.
#   --trust    put the certificate into /etc/verity.d, where systemd looks for the signers of images
#
# The exit status is the command's. The environment is empty but for PATH, HOME, LANG and TERM; set more with
# `peer.sh DIR env NAME=value …`. Needs root, and the peer root that `tests/setup.sh peer` makes.
#
# The command runs in its own mount and process namespaces: killing peer.sh kills everything that it started, and takes
# down every mount. Loop devices belong to the whole kernel; systemd's are freed when their last user is gone.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$here/cache.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/peer-root.sh"

usage() { die "usage: peer.sh [--stable] [--trust CERTIFICATE.pem]... WORKDIR COMMAND [ARGUMENT...]"; }

# First half, outside: check the arguments, make the namespaces.
if [[ ${1-} != --inside ]]; then
    trust=()
    if [[ ${1-} == --stable ]]; then
        PEER_ROOT=$STABLE_ROOT
        shift
    fi
    while [[ ${1-} == --trust ]]; do
        [[ -r ${2-} ]] || die "--trust: cannot read '${2-}'"
        trust+=("$(realpath "$2")")
        shift 2
    done
    [[ $# -ge 2 ]] || usage
    check_peer "$1"
    exec unshare --mount --propagation private --pid --fork --kill-child \
        "$here/peer.sh" --inside "$PEER_ROOT" "${#trust[@]}" "${trust[@]}" "$@"
fi

# Second half, inside: build the root, go there, run the command.
shift
PEER_ROOT=$1
shift
trust=("${@:2:$1}")
shift $(($1 + 1))
workdir=$(realpath "$1")
shift

build_root "$workdir"
mkdir -p "$root/run/systemd" "$root/run/lock"
if [[ ${#trust[@]} != 0 ]]; then
    mkdir "$root/etc/verity.d"
    for certificate in "${trust[@]}"; do
        cp "$certificate" "$root/etc/verity.d/${certificate//\//_}.crt"
    done
fi

enter_root
cd "$workdir"
# Not exec: a program that finds itself to be process 1 takes itself for the init system.
status=0
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb "$@" || status=$?
exit "$status"
