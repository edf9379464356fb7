#!/usr/bin/env bash
# Boots a virtual machine on Debian's kernel and runs a script in it.
#
# For what the kernel at hand cannot do, dm-verity above all, or must not have done to it.
#
#   tests/vm/run.sh [OPTION…] SCRIPT [ARGUMENT…]
#
#   --disk IMAGE        a raw image file as the next virtio disk: /dev/vda, /dev/vdb, …; its partitions are scanned by
#                       the kernel. The script may write to it; the file never changes.
#   --file FILE         a copy of FILE in the script's working directory
#   --program FILE      the same for a program of this machine, with the libraries that it needs
#   --kernel SERIES     6.1 (Debian 12) or 6.12 (Debian 13) in place of the kernel of the peer root
#   --root              the script runs in the whole peer root, with all its programs, systemd's among them, and in place of
#                       PROGRAMS; what is written there is in memory. Its programs find no udev
#   --manager           the same, and systemd is process 1
#   --timeout SECONDS   a hard limit for all of it; default 300
#   --memory MIB        default 768
#
# The script is run by a POSIX shell (dash) as root, with the PROGRAMS below in PATH, busybox for all else, and the MODULES
# below loaded.
# What it prints, on either stream, comes out on stdout here, and its exit status is ours.
# 124: out of time. 125: the machine stopped before the script did. In both cases the end of its kernel log is on stderr.
#
# Needs what `tests/setup.sh vm` makes. KVM is used where the processor has it, and emulation elsewhere.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR
. "$here/../cache.sh"

PROGRAMS=(sh veritysetup dmsetup blkid mount umount losetup findmnt openssl keyctl)
MODULES=(virtio_blk loop dm-mod dm-verity erofs squashfs overlay)

# Print the files that PROGRAM of the peer root needs, itself included, as paths in that root.
closure() {
    local program
    program=$(chroot "$PEER_ROOT" sh -c "command -v $1") || die "$1: not in the peer root"
    printf '%s\n' "$program"
    # A static program has no libraries, and ldd calls that a failure.
    { chroot "$PEER_ROOT" ldd "$program" 2>/dev/null || :; } | sed -n 's,^[^/]*\(/[^ ]*\).*,\1,p'
}

# Print the files of MODULE and of all that it needs, in the order of loading; nothing for one that is built in.
depends() {
    awk -v want="${1//-/_}" '
        function name(path) { sub(/.*\//, "", path); sub(/\.ko.*/, "", path); gsub(/-/, "_", path); return path }
        { sub(/:$/, "", $1) }
        name($1) == want { for (i = NF; i > 0; i--) print $i; exit }' "$modules/modules.dep" "$modules/modules.builtin"
}

# Write the peer root into the disk image $1, without what no program of a test reads.
root_disk() {
    chroot "$PEER_ROOT" sh -c 'command -v mkfs.erofs' >/dev/null || die "$PEER_ROOT: lacks mkfs.erofs"
    mkfs.erofs --quiet \
        --exclude-regex='^(usr/lib/modules|usr/share/(doc|man|locale|zoneinfo|i18n)|var/(cache|lib/apt)|boot|mnt)/.*' \
        "$1" "$PEER_ROOT"
}

# Fill directory $1 with the initramfs.
fill() {
    local root=$1 file module
    mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,proc,sys,dev,modules,work,etc}
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
    [[ -z $peer ]] || PROGRAMS=(sh)
    for file in busybox "${PROGRAMS[@]}"; do
        closure "$file"
    done | sort -u | while read -r file; do
        # Through the links of the peer root, which has /bin and /lib merged into /usr like ours.
        install -D "$PEER_ROOT$(chroot "$PEER_ROOT" realpath "$file")" "$root$(realpath -ms "/usr/${file#/usr/}")"
    done
    for file in "${programs[@]}"; do
        install -D "$file" "$root/work/${file##*/}"
        # Those of the peer root are newer, so they will do.
        ldd "$file" | sed -n 's,^[^/]*\(/[^ ]*\).*,\1,p' | while read -r library; do
            [[ -e $root$library ]] || install -D "$library" "$root/usr/${library#/usr/}"
        done
    done
    for module in "${MODULES[@]}"; do
        depends "$module"
    done | awk '!seen[$0]++' | while read -r file; do
        module=${file##*/}
        module=${module%.xz}
        case $file in
        *.xz) chroot "$PEER_ROOT" xz -dc <"$modules/$file" >"$root/modules/$module" ;;
        *) cp "$modules/$file" "$root/modules/$module" ;;
        esac
        case $module in
        # With a keyring for signers that can be filled.
        dm-verity.ko) printf '%s keyring_unsealed=1\n' "$module" ;;
        *) printf '%s\n' "$module" ;;
        esac
    done >"$root/modules/order"
    install -m 755 "$here/init" "$root/init"
}

disks=() files=() programs=() peer='' series='' limit=300 memory=768
while [[ ${1-} == --* ]]; do
    case $1 in
    --root | --manager)
        peer=${1#--}
        shift
        continue
        ;;
    esac
    [[ $# -ge 2 ]] || die "$1: needs a value"
    case $1 in
    --disk) [[ -r $2 ]] || die "--disk: cannot read '$2'"
        disks+=(-drive "file=${2//,/,,},format=raw,if=virtio,snapshot=on") ;;
    --file) files+=("$2") ;;
    --program) programs+=("$2") ;;
    --kernel) series=$2 ;;
    --timeout) limit=$2 ;;
    --memory) memory=$2 ;;
    *) die "no option is called '$1'" ;;
    esac
    shift 2
done
[[ $# -ge 1 ]] || die "usage: vm/run.sh [--disk IMAGE]... [--file FILE]... [--timeout SECONDS] SCRIPT [ARGUMENT...]"
[[ -r $1 ]] || die "cannot read the script '$1'"
[[ $(id -u) == 0 ]] || die "needs root, to read the peer root"
[[ $(uname -m) == x86_64 ]] || die "knows x86_64 only"
command -v qemu-system-x86_64 >/dev/null || die "there is no qemu-system-x86_64: run tests/setup.sh vm"
[[ -e $PEER_ROOT/etc/confext-peer ]] || die "there is no $PEER_ROOT: run tests/setup.sh vm"
if [[ -n $series ]]; then
    kernel=$KERNELS/$series/vmlinuz
    [[ -r $kernel ]] || die "there is no $kernel: run tests/setup.sh vm"
    modules=$(printf '%s\n' "$KERNELS/$series"/modules/*)
else
    modules=$(printf '%s\n' "$PEER_ROOT"/usr/lib/modules/* | sort -V | tail -n 1)
    kernel=$modules/vmlinuz
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/confext-test-vm.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
fill "$scratch/root"
cp "$1" "$scratch/root/work/script"
shift
: >"$scratch/root/work/arguments"
[[ $# == 0 ]] || printf '%q ' "$@" >"$scratch/root/work/arguments"
if [[ -n $peer ]]; then
    root_disk "$scratch/peer.erofs"
    # The last disk: the names of the others are the same with and without it.
    letters=abcdefghijklmnopqrstuvwxyz
    printf '/dev/vd%s %s\n' "${letters:${#disks[@]}/2:1}" "$peer" >"$scratch/root/peer"
    disks+=(-drive "file=$scratch/peer.erofs,format=raw,if=virtio,snapshot=on")
fi
[[ ${#files[@]} == 0 ]] || cp "${files[@]}" "$scratch/root/work/"
(cd "$scratch/root" && find . -print0 | cpio --null --quiet --create --format=newc) >"$scratch/initramfs"
rm -rf "$scratch/root"

accelerators=(-accel tcg)
# Where the processor lacks the extensions there may still be a /dev/kvm, and it does not work.
if [[ -w /dev/kvm ]] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
    accelerators=(-accel kvm "${accelerators[@]}")
fi
status=0
TMPDIR=$scratch timeout --kill-after=10 "$limit" qemu-system-x86_64 "${accelerators[@]}" -cpu max -m "$memory" \
    -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$kernel" -initrd "$scratch/initramfs" \
    -append "console=ttyS0 panic=-1 quiet loglevel=5" "${disks[@]}" \
    -serial "file:$scratch/console" -serial stdio -serial "file:$scratch/status" </dev/null || status=$?
if [[ $status == 124 || $status == 137 ]]; then
    tail -n 40 "$scratch/console" >&2
    say "not done after $limit seconds"
    exit 124
fi
read -r result <"$scratch/status" 2>/dev/null || result=
if [[ $status != 0 || ! $result =~ ^[0-9]+$ ]]; then
    tail -n 40 "$scratch/console" >&2 2>/dev/null || :
    say "the machine stopped before the script ended (the emulator's exit status: $status)"
    exit 125
fi
exit "$result"
