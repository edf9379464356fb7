#!/usr/bin/env bash
# What Python adds: importing the module to starting the interpreter, and a call to the call of Rust that it makes.
#
#   tests/bench/python.sh [RUNS]     default 2000 calls, and a hundredth as many imports
#
# Prints the median of all runs of one process; of imports, the median of whole processes, with and without the import, in
# turn. Wants milliseconds of 30 at most, and microseconds of 20 at most, and says so; nothing depends on that.
#
#   CONFEXT_PROFILE   release (default) or dev; of both the module and the program that it is compared with
#   CONFEXT_PYTHON    a Python that has the module already, of the same profile; without it, the module is built and installed
#                     into a new environment
#
# Needs what tests/setup.sh python makes, and a Rust toolchain.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source-path=SCRIPTDIR/..
. tests/cache.sh
runs=${1:-2000}
[[ $runs =~ ^[1-9][0-9]{2,5}$ ]] || die "RUNS: found '$runs', expected a number from 100"
profile=${CONFEXT_PROFILE:-release}
directory=$profile
[[ $profile != dev ]] || directory=debug
work=$(mktemp -d "${TMPDIR:-/tmp}/confext-test-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

cargo build --quiet --profile "$profile" --workspace --exclude confext-py --features confext-core/cli --example bench-open
python=${CONFEXT_PYTHON-}
if [[ -z $python ]]; then
    "$VENV/bin/maturin" build --quiet --locked --manifest-path confext-py/Cargo.toml --profile "$profile" --out "$work"
    "$VENV/bin/python" -m venv --without-pip "$work/python"
    python=$work/python/bin/python
    "$VENV/bin/pip" --python "$python" --disable-pip-version-check install --quiet --no-index --no-deps "$work"/*.whl
fi

cat >"$work/measure.py" <<'INSIDE'
import statistics, subprocess, sys, time
import confext

program, place, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
image, key = f"{place}/app.raw", confext.generate_key("bench")
confext.build("app", source={"etc/app.conf": b"a" * 5000}, output=image, release={"ID": "_any"},
              key=key.key, certificate=key.certificate)


def processes(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    return time.perf_counter() - start


processes("import confext")
pairs = [(processes("pass"), processes("import confext")) for _ in range(max(runs // 100, 11))]
bare, whole = (statistics.median(times) for times in zip(*pairs))
print(f"import   {(whole - bare) * 1e3:.1f} ms over {bare * 1e3:.1f} ms of the interpreter alone (wanted: 30 ms at most)")


def call():
    start = time.perf_counter_ns()
    opened = confext.Image.open(image)
    opened.table, opened.partitions, opened.skipped, opened.claim
    opened.close()
    return time.perf_counter_ns() - start


def rust():
    return int(subprocess.run([program, image, str(runs)], check=True, capture_output=True).stdout) / 1e3


rounds = []
for _ in range(5):
    # In turn, so that what else the machine does is in both.
    rounds.append((statistics.median(call() for _ in range(runs)) / 1e3, rust()))
added = sorted(ours - theirs for ours, theirs in rounds)[len(rounds) // 2]
ours, theirs = (statistics.median(times) for times in zip(*rounds))
print(f"open     {ours:.1f} µs, in Rust {theirs:.1f} µs: {added:.1f} µs are added (wanted: 20 µs at most)")
INSIDE

echo "date     $(date -u +%F)"
echo "machine  $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(nproc) processors, Linux $(uname -r)"
echo "python   $("$python" --version), profile $profile, $runs calls"
"$python" -I "$work/measure.py" "${CARGO_TARGET_DIR:-target}/$directory/examples/bench-open" "$work" "$runs"
