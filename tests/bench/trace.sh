#!/usr/bin/env bash
# How long `confext trace --all` takes over many files of many layers: 100 signed images with 500 files each, merged over a
# /etc of its own with 1,000 files. Prints the counts, seconds, and memory at most.
#
#   tests/bench/trace.sh PROGRAM [IMAGES] [FILES]        as root; PROGRAM is the command confext
set -euo pipefail
[[ -x /usr/bin/time ]] || {
    echo "trace.sh: needs /usr/bin/time (Debian package time)" >&2
    exit 1
}
program=$(realpath "$1") images=${2:-100} files=${3:-500}
[[ ${IN_NAMESPACE:-} ]] || exec env IN_NAMESPACE=1 unshare --mount --propagation private "$0" "$@"

work=$(mktemp -d)
trap 'cd /; umount -R "$work"; rmdir "$work"' EXIT
mount -t tmpfs tmpfs "$work"
cd "$work"
mkdir -p host/etc/own host/usr/lib host/run/confexts host/etc/verity.d
echo ID=bench >host/usr/lib/os-release
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=bench -days 2 2>/dev/null
cp cert.pem host/etc/verity.d/bench.crt
for ((file = 0; file < 1000; file++)); do echo "$file" >"host/etc/own/$file"; done
for ((image = 0; image < images; image++)); do
    mkdir -p "tree/etc/image-$image" tree/etc/shared
    for ((file = 0; file < files - 10; file++)); do echo "$image $file" >"tree/etc/image-$image/$file"; done
    # Ten of the files are in every image.
    for ((file = 0; file < 10; file++)); do echo "$image $file" >"tree/etc/shared/$file"; done
    "$program" --quiet build --class confext --name "i$image" --release ID=_any --source tree \
        --key key.pem --certificate cert.pem --output "host/run/confexts/i$image.raw"
    rm -r tree
done
"$program" --quiet merge --root host
measure() {
    local start=$EPOCHREALTIME
    "$program" --json trace --root host "$@" >report.json
    local end=$EPOCHREALTIME
    echo "trace $*: $(((${end/./} - ${start/./}) / 1000)) ms, $(grep -o '"counts": .*' report.json)"
}
measure --all
measure --all --content
measure --image i0
measure --all --planned
/usr/bin/time -f 'at most %M KiB' "$program" --json trace --root host --all >report.json
"$program" --quiet unmerge --root host
