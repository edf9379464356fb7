#!/usr/bin/env bash
# Compares the command `confext` with systemd's programs: whole processes, in turn, on the same machine.
#
#   tests/bench/compare.sh [RUNS [ROW…]]     default 21, and all rows
#
# Each pair of programs runs RUNS times, one after the other, in the peer root, after one run that does not count.
# Prints the ratio of the medians, systemd's by ours: more than 1 means that ours takes less. Times themselves are not
# printed: they say more about the machine than about the programs. Where there is a target, it says whether it is met.
#
#   build      a signed confext of one small file, from a directory, written to disk
#   large      the same with a file of 64 MiB
#   look       what an image says of itself; nothing is checked by either program
#   verify     confext checks the signature and reads every block; systemd-dissect --validate does neither
#   blocks     every block of the large image, against veritysetup
#   tree       a signed sysext of 500 MB in 5,000 files, against systemd-repart; a quarter of the runs, they take long
#   parts      the same, against mkfs.erofs and veritysetup format, which sign nothing and make no partition table
#   manifest   every file of an image of 500 MiB with its SHA-256, against systemd-dissect --mtree: the same text
#   format-all, verify-all    a hash tree over 1 GiB in the page cache, against veritysetup; ours in all threads
#   format-one, verify-one    the same in one thread
#   format-limit, verify-limit, single    ours in all threads against hashing as many bytes of memory that is in the cache:
#              several blocks at once, as ours does; and one after the other
#   format-stream, verify-stream   ours against reading the file once and hashing what was read, without tree and comparison
#   refresh-20, refresh-100   a merged stack of so many directories is exchanged, in a process that goes on running, against
#              the whole command `systemd-confext refresh`: each five times in a row, of which the median counts
#   refresh-20-new, refresh-100-new   the same in a process that has just begun and with caches that another one has used
#   refresh-raw   the same with 20 signed images, which systemd takes without looking at their signatures and hash trees
#   pick       one of 10,000 entries of a .v directory, against systemd-vpick
#   size       bytes of the smallest signed confext
#   peak       the most memory that a process of ours had
#
# What is not the same is said with each line. Needs root, the peer root (tests/setup.sh peer) and a Rust toolchain: it
# builds the command in release mode.

set -euo pipefail

# Outside: build, and go into the peer root.
if [[ ${1-} != --inside ]]; then
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
    runs=${1:-21}
    [[ $runs =~ ^[1-9][0-9]{0,4}$ ]] || {
        echo "compare.sh: RUNS: found '$runs', expected a number from 1" >&2
        exit 2
    }
    cargo build --quiet --release -p confext-core -p confext-tests --features confext-core/cli \
        --bin confext --example bench-verity --example bench-refresh
    place=$(mktemp -d "${TMPDIR:-/tmp}/confext-test-bench.XXXXXX")
    trap 'rm -rf "$place"' EXIT
    release=${CARGO_TARGET_DIR:-target}/release
    cp "$release/confext" "$release"/examples/bench-{verity,refresh} tests/bench/compare.sh "$place"
    tests/peer.sh "$place" bash compare.sh --inside "$runs" "${@:2}"
    exit
fi

# Inside: the working directory is ours, and PATH has systemd's programs.
runs=$2
rows=("${@:3}")

# wanted ROW: whether the row is to be measured.
wanted() { [[ ${#rows[@]} == 0 || " ${rows[*]} " == *" $1 "* ]]; }

# microseconds COMMAND…: how long the command takes. It must succeed.
microseconds() {
    local start end
    start=${EPOCHREALTIME/./}
    "$@" >log 2>&1 || {
        echo "compare.sh: $*: failed" >&2
        cat log >&2
        exit 1
    }
    end=${EPOCHREALTIME/./}
    echo $((end - start))
}

# reported COMMAND…: how long the command says that it took.
reported() {
    "$@" 2>log || {
        echo "compare.sh: $*: failed" >&2
        cat log >&2
        exit 1
    }
}

median() { sort -n "$1" | sed -n "$(((runs + 1) / 2))p"; }

# compare NAME LEAST OURS THEIRS REMARK [HOW [HOW]]: OURS and THEIRS are functions; LEAST is the ratio to reach, or -; HOW are
# the functions that measure ours and theirs.
compare() {
    local turn how=${6-microseconds} other=${7-microseconds}
    wanted "$1" || return 0
    : >ours.times
    : >theirs.times
    for ((turn = 0; turn <= runs; turn++)); do
        # Whoever is first has the caches of the one before: change places. What is left over is removed untimed.
        rm -f ours.new theirs.new
        if ((turn % 2)); then
            "$how" "$3" >ours.last
            "$other" "$4" >theirs.last
        else
            "$other" "$4" >theirs.last
            "$how" "$3" >ours.last
        fi
        ((turn == 0)) || { cat ours.last >>ours.times && cat theirs.last >>theirs.times; }
    done
    awk -v name="$1" -v least="$2" -v ours="$(median ours.times)" -v theirs="$(median theirs.times)" -v remark="$5" '
        BEGIN {
            ratio = theirs / ours
            target = least == "-" ? "" : sprintf("%s: at least %s", ratio >= least ? "met" : "MISSED", least)
            printf "%-12s %6.2f   %-24s %s\n", name, ratio, target, remark
        }'
}

# peak NAME MOST COMMAND…: the most memory the command had, in MiB; MOST is the most to have, or -.
peak() {
    local name=$1 most=$2
    shift 2
    wanted peak || return 0
    # The call is getrusage(RUSAGE_CHILDREN), of which ru_maxrss comes behind two times of 16 bytes, in KiB.
    perl -e '
        my ($name, $most, @command) = @ARGV;
        my $call = {x86_64 => 98, aarch64 => 165}->{(POSIX::uname())[4]} // die "peak: no number for getrusage";
        open(my $out, ">&", \*STDOUT) and open(STDOUT, ">", "log");
        system(@command) == 0 or die "peak: @command: failed";
        my $usage = "\0" x 144;
        syscall($call, -1, $usage) == 0 or die "peak: getrusage: $!";
        my $mib = unpack("x32 q", $usage) / 1024;
        my $target = $most eq "-" ? "" : sprintf("%s: at most %s", $mib <= $most ? "met" : "MISSED", $most);
        printf $out "%-12s %6.1f   %-24s %s\n", "peak", $mib, $target, $name;
    ' -MPOSIX "$name" "$most" "$@"
}

mkdir -p small/etc large/etc tree/usr/share/app
head -c 500M /dev/urandom | split -b 100K -a 4 -d - tree/usr/share/app/
echo 'answer = 42' >small/etc/app.conf
cp small/etc/app.conf large/etc
head -c 64M /dev/urandom >large/etc/data
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=confext-test-bench -keyout key.pem -out cert.pem 2>log

ours_build() {
    ./confext --quiet build --class "${3-confext}" --name app --source "$1" --output "$2" --release ID=_any \
        --key key.pem --certificate cert.pem
}
# It reads the release file from the directory.
theirs_build() {
    systemd-repart --make-ddi="${3-confext}" --copy-source="$PWD/$1" --private-key=key.pem --certificate=cert.pem "$2"
}
ours_build small small.raw
ours_build large large.raw
for tree in small large; do
    mkdir $tree/etc/extension-release.d
    echo ID=_any >$tree/etc/extension-release.d/extension-release.app
done
theirs_build small systemd.raw >log 2>&1
mkdir -p tree/usr/lib/extension-release.d
echo ID=_any >tree/usr/lib/extension-release.d/extension-release.app

ours_small() { ours_build small ours.new; }
theirs_small() { theirs_build small theirs.new; }
ours_large() { ours_build large ours.new; }
theirs_large() { theirs_build large theirs.new; }
ours_tree() { ours_build tree ours.new sysext; }
theirs_tree() { theirs_build tree theirs.new sysext; }
parts_tree() {
    mkfs.erofs --quiet theirs.new tree
    veritysetup format theirs.new theirs.hash
}
inspect() { ./confext inspect small.raw; }
verify() { ./confext --quiet verify small.raw --certificate cert.pem; }
verify_large() { ./confext --quiet verify large.raw --certificate cert.pem; }
validate() { systemd-dissect --validate --image-policy=root=signed small.raw; }
veritysetup_large() { veritysetup verify large.root large.hash "$root_hash"; }

# The partitions of the large image as files, for veritysetup.
sfdisk --json large.raw | tr -d ' ",' | awk -F: '$1 == "start" { start = $2 } $1 == "size" { print start, $2 }' |
    {
        for part in root hash; do
            read -r start size
            dd if=large.raw of="large.$part" bs=512 skip="$start" count="$size" status=none
        done
    }
root_hash=$(./confext --json inspect large.raw | grep -o '[0-9a-f]\{64\}' | head -n 1)

# 500 MiB: one large file, 40 of 4 MiB, and 10,240 of 9 KiB.
mkdir -p huge/etc/many
head -c 250M /dev/urandom >huge/etc/large
for ((file = 0; file < 40; file++)); do head -c 4M /dev/urandom >huge/etc/middle-$file; done
head -c 90M /dev/urandom | split -b 9K -a 5 - huge/etc/many/
ours_build huge huge.raw
manifest() { ./confext manifest huge.raw --mtree systemd --certificate cert.pem; }
# Nothing is checked: not every kernel has a device mapper.
mtree() {
    env SYSTEMD_DISSECT_VERITY_EMBEDDED=0 SYSTEMD_DISSECT_VERITY_GUESS=0 SYSTEMD_DISSECT_VERITY_SIDECAR=0 \
        systemd-dissect --mtree --image-policy=root=unprotected+absent huge.raw
}
cmp <(manifest) <(mtree)

# A hash tree over 1 GiB of data.
head -c 1G /dev/urandom >data
GIB=1024
verity_root=$(veritysetup format data check.hash | sed -n 's/^Root hash:[[:space:]]*//p')
one() { env RAYON_NUM_THREADS=1 "$@"; }
ours_format() { ./bench-verity format data ours.hash; }
theirs_format() { veritysetup format data theirs.hash; }
ours_format_one() { one ./bench-verity format data ours.hash; }
ours_verify() { ./bench-verity verify data check.hash "$verity_root"; }
theirs_verify() { veritysetup verify data check.hash "$verity_root"; }
ours_verify_one() { one ./bench-verity verify data check.hash "$verity_root"; }
ceiling() { ./bench-verity ceiling "$GIB"; }
single() { ./bench-verity single "$GIB"; }
stream() { ./bench-verity stream data; }

mkdir app.raw.v
for ((version = 0; version < 10000; version++)); do : >"app.raw.v/app_1.$version.raw"; done
ours_pick() { ./confext pick "$PWD/app.raw.v/app___.raw"; }
theirs_pick() { systemd-vpick "$PWD/app.raw.v/app___.raw"; }
cmp <(ours_pick) <(theirs_pick)

# host NAME: a root directory with a host in it, and a place on disk for its extensions. As on any host, /run is in memory.
host() {
    mkdir -p "$1"/{usr/lib,etc,run,var/lib/confexts}
    mount -t tmpfs run "$1/run"
    printf 'ID=test\nVERSION_ID=1\n' | tee "$1/usr/lib/os-release" >"$1/etc/os-release"
}
# directories NAME COUNT: a host with so many extensions, each of ten files in /etc.
directories() {
    local extension file at
    host "$1"
    for ((extension = 0; extension < $2; extension++)); do
        at=$1/var/lib/confexts/app-$extension/etc
        mkdir -p "$at/app-$extension" "$at/extension-release.d"
        echo ID=_any >"$at/extension-release.d/extension-release.app-$extension"
        for ((file = 0; file < 10; file++)); do echo "$file" >"$at/app-$extension/$file"; done
    done
}
directories twenty 20
directories hundred 100
host raw
mkdir raw/etc/verity.d
cp cert.pem raw/etc/verity.d/bench.crt
for ((image = 0; image < 20; image++)); do
    mkdir -p "part/etc/app-$image"
    echo 'answer = 42' >"part/etc/app-$image/app.conf"
    ./confext --quiet build --class confext --name "app-$image" --source part --output "raw/var/lib/confexts/app-$image.raw" \
        --release ID=_any --key key.pem --certificate cert.pem
    rm -r part
done
ours_refresh() { ./bench-refresh "$1" "${2-root=unprotected}"; }
theirs_refresh() {
    env SYSTEMD_DISSECT_VERITY_EMBEDDED=0 SYSTEMD_DISSECT_VERITY_GUESS=0 SYSTEMD_DISSECT_VERITY_SIDECAR=0 \
        systemd-confext --root="$PWD/$1" --image-policy=root=unprotected+absent --always-refresh=yes refresh
}
# What a process that goes on running says, for each line one.
ours_in_a_row() {
    local took
    echo exchange >&"${resident[1]}"
    read -r took <&"${resident[0]}" && echo "$took"
}
# The median of the command of systemd, after one that takes over what was merged.
theirs_in_a_row() {
    local turn
    theirs_refresh "$host" >&2
    for ((turn = 0; turn < IN_A_ROW; turn++)); do microseconds theirs_refresh "$host"; done |
        sort -n | sed -n "$(((IN_A_ROW + 1) / 2))p"
}
# in_a_row NAME LEAST REMARK HOST
IN_A_ROW=5
in_a_row() {
    local host=$4 pid
    wanted "$1" || return 0
    coproc resident { exec ./bench-refresh "$host" root=unprotected "$IN_A_ROW"; }
    pid=$!
    compare "$1" "$2" ours_in_a_row theirs_in_a_row "$3" reported reported
    eval "exec ${resident[1]}>&-"
    wait "$pid"
}
ours_twenty() { ours_refresh twenty; }
theirs_twenty() { theirs_refresh twenty; }
ours_hundred() { ours_refresh hundred; }
theirs_hundred() { theirs_refresh hundred; }
ours_raw() { ours_refresh raw root=signed; }
theirs_raw() { theirs_refresh raw; }

echo "date     $(date -u +%F)"
echo "machine  $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(nproc) processors, Linux $(uname -r)"
echo "programs $(./confext --version); $(systemctl --version | head -n 1); $(veritysetup --version | cut -d' ' -f1,2)"
echo "runs     $runs of each"
echo
echo "             theirs / ours"
compare build 8 ours_small theirs_small "signed confext of one small file; systemd-repart runs mkfs.erofs"
compare large - ours_large theirs_large "the same with 64 MiB more"
compare look - inspect validate "confext inspect, systemd-dissect --validate: both only look"
compare verify - verify validate "confext checks signature and every block, systemd-dissect checks neither"
compare blocks - verify_large veritysetup_large "64 MiB: confext verify with signature, veritysetup verify without"
every=$runs
runs=$(((every + 3) / 4))
compare tree 3 ours_tree theirs_tree "500 MB in 5,000 files, signed and synced to disk; systemd-repart runs mkfs.erofs"
compare parts 1 ours_tree parts_tree "the same; mkfs.erofs and veritysetup make no partition table and no signature"
runs=$every
compare manifest 5 manifest mtree "500 MiB: confext checks signature and every block it reads, systemd-dissect neither"
compare format-all 4 ours_format theirs_format "1 GiB, $(nproc) threads; veritysetup has one"
compare verify-all 4 ours_verify theirs_verify "the same"
compare format-one 2 ours_format_one theirs_format "1 GiB, one thread of each"
compare verify-one 2 ours_verify_one theirs_verify "the same"
compare format-limit 0.8 ours_format ceiling "hashing alone, several blocks at once, by all of it with reading and writing"
compare verify-limit 0.8 ours_verify ceiling "the same for verify"
compare format-stream 0.9 ours_format stream "reading and hashing alone, by all of it"
compare verify-stream 0.9 ours_verify stream "the same for verify"
compare single - ours_format single "hashing alone, one block after the other by sha2, by all of it"
in_a_row refresh-20 5 "20 directories; ours in a process that goes on running, systemd-confext as a command" twenty
in_a_row refresh-100 5 "the same with 100" hundred
compare refresh-20-new - ours_twenty theirs_twenty "20 directories, in a process that has just begun" reported
compare refresh-100-new - ours_hundred theirs_hundred "the same with 100" reported
compare refresh-raw 10 ours_raw theirs_raw "20 images; ours checks signature and every block, systemd-confext neither" reported
compare pick 3 ours_pick theirs_pick "one of 10,000 entries"
if wanted size; then
    awk -v ours="$(stat -c %s small.raw)" -v theirs="$(stat -c %s systemd.raw)" \
        'BEGIN { printf "%-12s %6.2f   %-24s %d bytes by systemd-repart, %d by confext\n", "size", theirs / ours, "", theirs, ours }'
fi

# Files of these sizes that are one hole: their hash trees are as large as any.
truncate -s 64M sparse.64M
truncate -s 8G sparse.8G
for size in 64M 8G; do
    wanted peak || break
    root=$(./bench-verity format sparse.$size sparse.hash)
    peak "MiB, hash tree over $size, format" 32 ./bench-verity format sparse.$size sparse.hash
    peak "MiB, the same, verify" 32 ./bench-verity verify sparse.$size sparse.hash "$root"
    rm -rf sparse ours.new
    mkdir -p sparse/etc
    truncate -s $size sparse/etc/data
    peak "MiB, signed confext of a file of $size without data, build" 32 ./confext --quiet build --class confext --name app \
        --source sparse --output ours.new --release ID=_any --key key.pem --certificate cert.pem
    peak "MiB, the same, verify" 32 ./confext --quiet verify ours.new --certificate cert.pem
done
rm -f ours.new
peak "MiB, signed sysext of 500 MB in 5,000 files, build" 32 ./confext --quiet build --class sysext --name app --source tree \
    --output ours.new --release ID=_any --key key.pem --certificate cert.pem
peak "MiB, the same, verify" 32 ./confext --quiet verify ours.new --certificate cert.pem
