#!/usr/bin/env bash
# How long attaching a signed image of 2 MB and one of 500 MB takes, in each way.
#
#   tests/bench/attach.sh [RUNS [WHERE…]]     default 21, and both places
#
#   machine    sealed memory, in process on this machine: against verifying every block in all threads and then copying the
#              data into memory once, and against a plain program that reads, checks and writes in one go
#   vm         dm-verity with the signature checked by the kernel, in a virtual machine with systemd's programs: whole
#              processes, ours that attaches and mounts against `systemd-dissect --mount`
#
# Prints ratios, and no times: those say more about the machine than about the programs. On `machine` it is our time by the
# other, so that less is better; in `vm` theirs by ours, as in compare.sh. In the virtual machine the processor may be
# emulated, which makes checking with hashes, which the kernel does in both, weigh more than on a real one.
#
# Needs root, what tests/setup.sh vm makes, and a Rust toolchain.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
runs=${1:-21}
[[ $runs =~ ^[1-9][0-9]{0,4}$ ]] || {
    echo "attach.sh: RUNS: found '$runs', expected a number from 1" >&2
    exit 2
}
places=("${@:2}")
wanted() { [[ ${#places[@]} == 0 || " ${places[*]} " == *" $1 "* ]]; }

cargo build --quiet --release -p confext-core -p confext-tests --features confext-core/cli --bin confext --example bench-attach
release=$(realpath "${CARGO_TARGET_DIR:-target}")/release
work=$(mktemp -d "${TMPDIR:-/tmp}/confext-test-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
machine=$PWD/tests/vm/run.sh
cd "$work"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=confext-test-bench -keyout key.pem -out cert.pem 2>log
mkdir images
# Data that no file system makes smaller.
for size in 2 500; do
    mkdir -p tree/etc
    head -c "${size}M" /dev/urandom >tree/etc/data
    "$release/confext" --quiet build --class confext --name app --source tree --output "images/$size.raw" --release ID=_any \
        --key key.pem --certificate cert.pem
    rm -r tree
done

echo "date     $(date -u +%F)"
echo "machine  $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(nproc) processors, Linux $(uname -r)"
echo "runs     $runs of each"
if wanted machine; then
    for size in 2 500; do
        # The large one takes long.
        echo
        echo "sealed memory, $size MB: ours by the other"
        "$release/examples/bench-attach" compare "images/$size.raw" cert.pem $((size == 2 ? runs : (runs + 3) / 4))
    done
fi
if wanted vm; then
    echo
    echo "dm-verity in the virtual machine: systemd-dissect --mount by ours"
    mkfs.erofs --quiet images.erofs images
    cat >script <<'INSIDE'
set -e
openssl x509 -in cert.pem -outform DER -out cert.der
keyctl padd asymmetric '' %:.dm-verity <cert.der >log
keyctl restrict_keyring %:.dm-verity
mkdir images at
mount -t erofs -o ro /dev/vda images
exec bash ./turns "$@"
INSIDE
    cat >turns <<'INSIDE'
set -euo pipefail
runs=$1
microseconds() {
    local start=${EPOCHREALTIME/./}
    "$@" >log 2>&1 || { echo "attach.sh: $*: failed" >&2; cat log >&2; exit 1; }
    local end=${EPOCHREALTIME/./}
    echo $((end - start))
    # What a mount leaves goes with it, untimed.
    dmsetup table | grep -q root_hash_sig_key_desc || { echo "attach.sh: $*: the kernel checked no signature" >&2; exit 1; }
    umount at
    for ((try = 0; try < 100; try++)); do
        [[ $(dmsetup ls 2>/dev/null) == "No devices found" ]] && return
        sleep 0.05
    done
    echo "attach.sh: $*: left a device behind" >&2
    exit 1
}
ours() { ./bench-attach mount dm-verity "images/$size.raw" cert.pem at; }
theirs() { systemd-dissect --mount --read-only --image-policy=root=signed+absent:=ignore "images/$size.raw" at; }
median() { sort -n "$1" | sed -n "$(((runs + 1) / 2))p"; }
for size in 2 500; do
    : >ours.times
    : >theirs.times
    for ((turn = 0; turn <= runs; turn++)); do
        if ((turn % 2)); then order=(ours theirs); else order=(theirs ours); fi
        for which in "${order[@]}"; do
            took=$(microseconds "$which")
            ((turn == 0)) || echo "$took" >>"$which.times"
        done
    done
    awk -v size=$size -v ours="$(median ours.times)" -v theirs="$(median theirs.times)" \
        'BEGIN { printf "%6.2f   %d MB, signed\n", theirs / ours, size }'
done
INSIDE
    "$machine" --root --timeout 1800 --disk images.erofs --file cert.pem --file turns --program "$release/examples/bench-attach" script "$runs"
fi
