#!/usr/bin/env bash
# Counts the system calls of a refresh for each directory extension: 1 to MOST, or it fails.
#
#   tests/bench/calls.sh [MOST]     default 55
#
# The stack of two hosts, with 20 and with 100 extensions as those of compare.sh have, is exchanged twice under strace; what
# the larger one needs more is what an extension costs. Half of its entries are files that are asked for their attributes
# and nothing else. Needs root, strace and a Rust toolchain: it builds in release mode, as others do more.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
most=${1:-55}
cargo build --quiet --release -p confext-tests --example bench-refresh
program=$(realpath "${CARGO_TARGET_DIR:-target}/release/examples/bench-refresh")
place=$(mktemp -d "${TMPDIR:-/tmp}/confext-test-bench.XXXXXX")
trap 'rm -rf "$place"' EXIT
cd "$place"

# host COUNT: a root directory with so many extensions, each of eleven files in /etc.
host() {
    local extension file at
    mkdir -p "$1"/{usr/lib,etc,run/confexts}
    printf 'ID=test\nVERSION_ID=1\n' | tee "$1/usr/lib/os-release" >"$1/etc/os-release"
    for ((extension = 0; extension < $1; extension++)); do
        at=$1/run/confexts/app-$extension/etc
        mkdir -p "$at/app-$extension" "$at/extension-release.d"
        echo ID=_any >"$at/extension-release.d/extension-release.app-$extension"
        for ((file = 0; file < 10; file++)); do echo "$file" >"$at/app-$extension/$file"; done
    done
}
# calls COUNT: the number of calls of two refreshes.
calls() {
    host "$1"
    unshare --mount strace -f -qq -o log "$program" "$1" root=unprotected >took
    # A call that another thread interrupts in the log has two lines, and signals are none.
    grep -cv -e 'resumed>' -e '---' log
}
few=$(calls 20)
many=$(calls 100)
each=$(((many - few) / 160))
echo "$each calls for each extension, at most $most; $((few / 2 - 20 * each)) for a refresh besides"
((each >= 1 && each <= most)) || {
    echo "calls.sh: found $each calls for an extension, expected 1 to $most" >&2
    exit 1
}
