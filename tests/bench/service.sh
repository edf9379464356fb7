#!/usr/bin/env bash
# How long it takes to refresh the view of a running service here, and how much the same adds to systemd's reload: one signed image of
# one file, a sandboxed service, 20 rounds each, medians. Needs root, and what `tests/setup.sh peer` makes.
#
#   tests/bench/service.sh

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo test --release --quiet -p confext-tests --features confext-core/cli --test privileged-service -- --ignored --exact --nocapture systemd::times |
    grep -E "ratio|panicked|FAILED"
