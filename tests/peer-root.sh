# The root that commands of Debian run in: built in a mount namespace of its own, and entered; sourced, never run

# shellcheck shell=bash

# Refuses what cannot be shared, and what is not there.
check_peer() { # WORKDIR
    [[ $1 == /* && -d $1 ]] || die "WORKDIR must be the absolute path of a directory, found '$1'"
    [[ $(id -u) == 0 ]] || die "needs root"
    compgen -G "$PEER_ROOT/etc/confext-*" >/dev/null || die "there is no $PEER_ROOT: run tests/setup.sh peer"
}

# Puts an overlay over the peer root, in the peer's own /mnt: what is written goes with the namespace. Sets $root.
#
# With `plain` only /usr is an overlay, and everything else a copy: where systemd is to refresh the /etc of a service, it must
# not be one.
build_root() { # WORKDIR [plain]
    cd "$PEER_ROOT" || return
    mount -t tmpfs -o mode=755 peer mnt
    mkdir mnt/upper mnt/work mnt/root mnt/shared
    mount --rbind "$1" mnt/shared
    root=$PEER_ROOT/mnt/root
    if [[ ${2-} == plain ]]; then
        mount -t tmpfs -o mode=755 root mnt/root
        cp -a --one-file-system "$PEER_ROOT"/[!mu]* mnt/root/
        mkdir mnt/root/{mnt,usr}
        mount -t overlay -o "lowerdir=$PEER_ROOT/usr,upperdir=mnt/upper,workdir=mnt/work" peer mnt/root/usr
    else
        mount -t overlay -o "lowerdir=$PEER_ROOT,upperdir=mnt/upper,workdir=mnt/work" peer mnt/root
    fi
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    # The kernel's own /dev, not a copy: partitions of loop devices have to appear in it.
    mount -t devtmpfs devtmpfs "$root/dev"
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
    mkdir -p "$root$1"
    mount --move mnt/shared "$root$1"
}

# Makes it the root of this process.
enter_root() {
    cd "$root" || return
    pivot_root . mnt
    umount -l /mnt
    # systemd mounts into the namespace it was called in by propagation, and believes that it succeeded where there is none.
    mount --make-rshared /
}
