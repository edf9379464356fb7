#!/usr/bin/env bash
# Runs a command of Debian unstable where systemd (262 or later) is process 1 and its service manager answers, on files of
# ours, and leaves nothing behind.
#
#   tests/manager.sh [--stable | --root ROOT] WORKDIR COMMAND [ARGUMENT…]
#
#   --stable   Debian 13, and systemd 257, instead
#   --root     this root file system, which has systemd, instead; it is not changed either
#   WORKDIR    the one directory shared with the command: absolute, writable, at the same path inside, and its working
#              directory. Everything else that is written is gone when the command ends.
#
# The exit status is the command's; 125 when the manager does not come up. Files in WORKDIR/root, if there is such a
# directory, are copied over the root before systemd starts: units, images, what a host has.
#
# Process 1 has its own mount, process, control group, host name, IPC and network namespaces, and of the control groups the
# unified ones only. It boots to basic.target, without udev, logins and the journal. Killing manager.sh kills everything
# that it started. Needs root, and the peer root that `tests/setup.sh peer` makes.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$here/cache.sh"
# shellcheck source-path=SCRIPTDIR
. "$here/peer-root.sh"

# Units of basic.target that look for what is not here, or would change what belongs to the machine.
MASKED=(
    systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service systemd-remount-fs.service
    systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
    systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket systemd-journal-flush.service
    systemd-modules-load.service systemd-sysctl.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
    sys-fs-fuse-connections.mount tmp.mount systemd-random-seed.service systemd-sysext.service systemd-confext.service
    systemd-firstboot.service systemd-machine-id-commit.service
)

# First half, outside: make the namespaces, wait for the manager, run the command beside it.
if [[ ${1-} != --inside ]]; then
    if [[ ${1-} == --stable ]]; then
        PEER_ROOT=$STABLE_ROOT
        shift
    elif [[ ${1-} == --root ]]; then
        [[ -x ${2-}/usr/lib/systemd/systemd ]] || die "--root: '${2-}' has no systemd"
        PEER_ROOT=$(realpath "$2")
        shift 2
    fi
    [[ $# -ge 2 ]] || die "usage: manager.sh [--stable | --root ROOT] WORKDIR COMMAND [ARGUMENT...]"
    check_peer "$1"
    workdir=$(realpath "$1")
    shift
    # The unified control groups, wherever this machine has them; process 1 gets one of its own as its root.
    groups=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
    [[ -n $groups ]] || die "this machine has no unified control groups"
    group=$(mktemp -d "$groups/confext-manager.XXXXXX")
    machine=
    # shellcheck disable=SC2317 # called by the trap
    clean_up() {
        [[ -z $machine ]] || kill -KILL "$machine" 2>/dev/null || :
        [[ -z $machine ]] || wait "$machine" 2>/dev/null || :
        # Groups that the manager made go with their processes; directories have to be removed by hand.
        for _ in {1..50}; do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.1
        done
    }
    trap clean_up EXIT
    # shellcheck disable=SC2016 # expanded by the inner shell
    bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' bash "$group" \
        unshare --mount --propagation private --pid --fork --kill-child --cgroup --uts --ipc --net \
        "$here/manager.sh" --inside "$PEER_ROOT" "$workdir" </dev/null >/dev/null 2>&1 &
    machine=$!
    init=
    for _ in {1..100}; do
        init=$(pgrep -P "$machine" | head -n 1) && [[ -n $init ]] && break
        sleep 0.1
    done
    [[ -n $init ]] || { say "no process 1"; exit 125; }
    inside() { nsenter --target "$init" --all \
        env -i -C "$workdir" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb "$@"; }
    state=
    for _ in {1..300}; do
        state=$(inside systemctl is-system-running 2>/dev/null) || :
        [[ $state == running || $state == degraded ]] && break
        kill -0 "$machine" 2>/dev/null || break
        sleep 0.1
    done
    if [[ $state != running && $state != degraded ]]; then
        say "the manager did not come up: ${state:-no answer}"
        exit 125
    fi
    status=0
    inside "$@" || status=$?
    exit "$status"
fi

# Second half, inside: build the root, go there, become systemd.
PEER_ROOT=$2
workdir=$3
build_root "$workdir" plain
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
[[ ! -d $root$workdir/root ]] || cp -a "$root$workdir/root/." "$root/"
mkdir -p "$root/etc/systemd/system"
for unit in "${MASKED[@]}"; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
echo confext-manager >"$root/etc/hostname"
chroot "$root" systemd-machine-id-setup >/dev/null 2>&1

enter_root
exec env -i container=confext PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /usr/lib/systemd/systemd --system --unit=basic.target --log-target=null --show-status=no
