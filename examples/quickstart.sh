#!/usr/bin/env bash
# The whole story on this machine: build, sign, verify, refuse, merge over the real /etc, trace, refresh, unmerge.
#
# Needs root and a Rust toolchain; installs what else is missing to build (Debian), then works in a mount namespace of
# its own and a temporary directory. The rest of the machine never sees a change, and nothing is left behind.
#
#   examples/quickstart.sh
#
#   CONFEXT_PROGRAM          a command that is built, in place of building it

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SELF=$PWD/examples/quickstart.sh

BOLD='' PLAIN=''
[[ ! -t 1 ]] || { BOLD=$'\e[1m' PLAIN=$'\e[0m'; }
step() { printf '\n%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }
say() { printf '   %s\n' "$*"; }
die() { printf 'quickstart: %s\n' "$*" >&2 && exit 1; }

# Shows a command and runs it; the paths of this run are long, so their names are shown instead.
run() {
    local shown=$*
    shown=${shown//$PROGRAM/confext}
    printf '   $ %s\n' "${shown//$WORK\//}"
    "$@" 2>&1 | sed "s|$WORK/||g; s/^/     /"
}

# refused CODE COMMAND…: the command must fail as one that refuses an image, with this code.
refused() {
    local code=$1 status=0
    shift
    run "$@" >"$WORK/refused" || status=$?
    cat "$WORK/refused"
    [[ $status == 1 ]] || die "expected exit status 1, found $status"
    grep -q "error\[$code\]" "$WORK/refused" || die "expected the code $code"
}

# ---- the story, inside the namespace

build_two_versions() {
    step "Make a key and a certificate, as a vendor would"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=Quickstart vendor" \
        -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=Somebody else" \
        -keyout "$WORK/other-key.pem" -out "$WORK/other-cert.pem" 2>/dev/null
    say "cert.pem is what a machine trusts; key.pem never leaves the vendor."

    step "Build and sign two versions of a configuration: one new file, and this machine's /etc/issue changed"
    local version
    for version in 1 2; do
        mkdir -p "$WORK/tree-$version/etc/quickstart"
        printf 'version = %d\ngreeting = hello from version %d\n' $version $version \
            >"$WORK/tree-$version/etc/quickstart/app.conf"
        # Enough for more than one block.
        seq -f '10.0.%g.0/24 deny' 0 999 >"$WORK/tree-$version/etc/quickstart/networks"
        { cat /etc/issue 2>/dev/null || :; echo "configured by quickstart $version"; } >"$WORK/tree-$version/etc/issue"
        run "$PROGRAM" build --class confext --name quickstart --release ID=_any --source "$WORK/tree-$version" \
            --key "$WORK/key.pem" --certificate "$WORK/cert.pem" --output "$WORK/quickstart_$version.raw"
    done
}

look_inside() {
    step "Inspect: what the image says of itself, unchecked"
    run "$PROGRAM" inspect "$WORK/quickstart_1.raw"

    step "Verify: the signature, the hash tree and every block"
    run "$PROGRAM" verify --certificate "$WORK/cert.pem" "$WORK/quickstart_1.raw"
    run "$PROGRAM" ls --certificate "$WORK/cert.pem" -lR "$WORK/quickstart_1.raw"
}

refuse() {
    local offset
    step "Refuse a copy in which one byte of the configuration was changed"
    cp "$WORK/quickstart_1.raw" "$WORK/tampered.raw"
    offset=$(LC_ALL=C grep -abom1 'greeting = hello' "$WORK/tampered.raw" | cut -d: -f1)
    printf 'G' | dd of="$WORK/tampered.raw" bs=1 seek="$offset" conv=notrunc status=none
    refused data-block "$PROGRAM" verify --certificate "$WORK/cert.pem" "$WORK/tampered.raw"

    step "Refuse a sound image that somebody else signed"
    run "$PROGRAM" build --quiet --class confext --name quickstart --release ID=_any --source "$WORK/tree-1" \
        --key "$WORK/other-key.pem" --certificate "$WORK/other-cert.pem" --output "$WORK/foreign.raw"
    refused unknown-signer "$PROGRAM" verify --certificate "$WORK/cert.pem" "$WORK/foreign.raw"
}

merge() {
    step "Merge version 1 over the real /etc of this machine, in this namespace only"
    mkdir -p /run/confexts/quickstart.raw.v
    cp "$WORK/quickstart_1.raw" /run/confexts/quickstart.raw.v/
    [[ ! -e /etc/quickstart ]] || die "/etc/quickstart exists already"
    run "$PROGRAM" plan --class confext --certificate "$WORK/cert.pem"
    run "$PROGRAM" merge --class confext --certificate "$WORK/cert.pem"
    run cat /etc/quickstart/app.conf
    say "/etc/passwd is still there: $(wc -l </etc/passwd) lines."
    if nsenter --mount="/proc/$OUTSIDE/ns/mnt" test -e /etc/quickstart; then
        die "/etc/quickstart is visible outside the namespace"
    fi
    say "Outside this namespace there is no /etc/quickstart: checked."

    step "Trace: where is this file from, and who signed it?"
    run "$PROGRAM" trace /etc/quickstart/app.conf
    run "$PROGRAM" trace /etc/issue
    run "$PROGRAM" status --class confext
}

# Reads the file without a pause until $WORK/stop is there; counts versions and misses.
poll() {
    local line first=0 second=0 missed=0
    until [[ -e $WORK/stop ]]; do
        line=
        read -r line 2>/dev/null </etc/quickstart/app.conf || :
        case $line in
        'version = 1') first=$((first + 1)) ;;
        'version = 2') second=$((second + 1)) ;;
        *) missed=$((missed + 1)) ;;
        esac
        [[ $((first + second)) != 1 ]] || : >"$WORK/polling"
        # Seen often enough after the change.
        [[ $second -lt 1000 ]] || : >"$WORK/seen"
    done
    echo "$first $second $missed" >"$WORK/polled"
}

refresh() {
    local poller first second missed
    step "Refresh to version 2 while a reader polls the file without a pause"
    poll &
    poller=$!
    wait_for "$WORK/polling"
    cp "$WORK/quickstart_2.raw" /run/confexts/quickstart.raw.v/
    run "$PROGRAM" refresh --class confext --certificate "$WORK/cert.pem"
    wait_for "$WORK/seen"
    : >"$WORK/stop"
    wait "$poller"
    read -r first second missed <"$WORK/polled"
    say "The reader saw version 1 $first times, version 2 $second times, and missed the file $missed times."
    [[ $missed == 0 && $first -gt 0 && $second -gt 0 ]] || die "the reader missed the file"
    run cat /etc/quickstart/app.conf
    say "Once more: nothing has changed, so nothing is done."
    run "$PROGRAM" refresh --class confext --certificate "$WORK/cert.pem"
}

wait_for() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        [[ ! -e $1 ]] || return 0
        sleep 0.05
    done
    die "$1 did not appear within 30 seconds"
}

unmerge() {
    step "Unmerge"
    run "$PROGRAM" unmerge --class confext
    [[ ! -e /etc/quickstart ]] || die "/etc/quickstart is still there"
    say "/etc is as it was: no /etc/quickstart."
}

inside() {
    # This namespace gets an empty /run of its own: images are put there, and found there by confext.
    mount -t tmpfs -o mode=755 quickstart /run
    build_two_versions
    look_inside
    refuse
    merge
    refresh
    unmerge
}

# ---- outside: set up, and see that nothing changed

# All that could have changed: mounts, loop devices on our images, names, owners, times and contents of /etc.
state() {
    local image hash
    cat /proc/self/mountinfo
    # Those of other programs come and go. Ours read a file called like the image, or memory called like its root hash.
    echo quickstart >"$WORK/devices"
    for image in "$WORK"/quickstart_*.raw; do
        [[ -e $image ]] || continue
        hash=$("$PROGRAM" inspect "$image" | sed -n 's/^claims *root hash *//p')
        [[ -n $hash ]] || die "$image: no root hash to look for loop devices by"
        echo "$hash" >>"$WORK/devices"
    done
    grep -HFf "$WORK/devices" /sys/block/loop*/loop/backing_file 2>/dev/null || :
    find /etc -xdev -printf '%p %y %m %U:%G %s %T@ %l\n' | LC_ALL=C sort
    find /etc -xdev -type f -exec cksum {} + | LC_ALL=C sort
    ls -d /run/confexts /var/lib/confexts /run/confext* 2>/dev/null || :
}

outside() {
    local tries
    [[ $(id -u) == 0 ]] || die "needs root: mounts are made, in a namespace of their own"
    step "Install what is missing, and build"
    tests/setup.sh build
    PROGRAM=${CONFEXT_PROGRAM-}
    if [[ -z $PROGRAM ]]; then
        cargo build --release --locked -p confext-core --features cli
        PROGRAM=${CARGO_TARGET_DIR:-$PWD/target}/release/confext
    fi
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/confext-quickstart.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    state >"$WORK/before"
    OUTSIDE=$$ WORK=$WORK PROGRAM=$PROGRAM unshare --mount --propagation private "$BASH" "$SELF" --inside

    step "Compare the machine with what it was"
    # The kernel takes a namespace down after its last process; a mount in it may hold a loop device until then.
    for ((tries = 0; tries < 100; tries++)); do
        state >"$WORK/after"
        cmp -s "$WORK/before" "$WORK/after" && break
        sleep 0.1
    done
    diff "$WORK/before" "$WORK/after" || die "something changed, see above"
    say "Mounts, loop devices and all of /etc are exactly as before: $(wc -l <"$WORK/after") lines compared."
    say "Checksum of the comparison: $(cksum <"$WORK/after" | cut -d' ' -f1)"
    printf '\nquickstart: done\n'
}

case ${1-} in
--inside) inside ;;
'') outside ;;
*) sed -n '2,/^$/s/^# \{0,1\}//p' "$SELF" && exit 2 ;;
esac
