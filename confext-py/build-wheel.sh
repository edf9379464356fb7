#!/usr/bin/env bash
# Builds what is published of the Python module: one abi3 wheel for Python 3.10 and later, with an OpenSSL of its own, and
# the sdist.
#
#   confext-py/build-wheel.sh DIRECTORY
#
# Needs maturin (from PATH, or CONFEXT_MATURIN), a C compiler and perl. The wheel has the tag of the oldest glibc that it runs
# with; what it links is checked by maturin as auditwheel does, and the build fails where a library is linked that manylinux
# does not have.
#
#   CONFEXT_MATURIN   the maturin to use

set -euo pipefail

[[ $# == 1 && $1 != -* ]] || {
    sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"
maturin=${CONFEXT_MATURIN:-maturin}

"$maturin" build --release --locked --features vendored-openssl --compatibility pypi --strip --out "$out"
"$maturin" sdist --out "$out"
ls -l "$out"/confext-*.whl "$out"/confext-*.tar.gz
