# Where the tests keep what they make once and use again; sourced, never run.
#
#   CONFEXT_TEST_CACHE   directory for all of it; default /var/cache/confext-tests for root,
#                        ~/.cache/confext-tests for everybody else
#
# A directory name ends in the number of the recipe that made it. Raise the number when the recipe in
# setup.sh changes, and nobody runs against yesterday's tools.

# shellcheck shell=bash disable=SC2034  # the variables are for the script that sources this file
if [[ $(id -u) == 0 ]]; then
    CACHE=${CONFEXT_TEST_CACHE:-/var/cache/confext-tests}
else
    CACHE=${CONFEXT_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/confext-tests}
fi
PEER_ROOT=$CACHE/sid-3      # Debian unstable: systemd 262 or later, and a kernel for the virtual machine
STABLE_ROOT=$CACHE/trixie-2 # Debian 13: systemd 257
KERNELS=$CACHE/kernels-1    # Older kernels for the virtual machine, each a directory named by its series
VENV=$CACHE/venv-2          # Python tools: maturin, pytest, hypothesis, mypy, jsonschema
CARGO_TOOLS=$CACHE/cargo-1  # cargo-deny and cargo-cyclonedx, for tests/release.sh
BROWSER_ROOT=$CACHE/browser-1 # Debian 13 with a headless Chromium
FLEET_VENV=$CACHE/fleet-1   # Python tools of tests/fleet, as in its requirements.txt
FRESH_ROOT=$CACHE/fresh-1   # Debian 13 as somebody has it who comes with Rust and Python, for tests/fresh.sh
REGISTRY=$CACHE/registry-1  # Debian's docker-registry, unpacked and not installed: nothing starts it by itself

# Debian keeps system tools where a user's PATH may not look.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }
