#!/usr/bin/env bash
# Runs every test, or the tiers that are named, and ends with each runner's own summary.
#
#   tests/run.sh [TIER…]
#
#   fmt          formatting of all Rust code
#   shell        shellcheck over all scripts
#   clippy       lints, warnings are errors
#   docs         documentation builds without a warning
#   structure    what ARCHITECTURE.md promises; confext-ddi alone, and for other targets where they are installed
#   unit         the crates' own tests, documentation tests, and tests/ddi
#   oracle       tests/oracle: against systemd, veritysetup, sgdisk, fsck.erofs, openssl        (root)
#   privileged   tests/privileged: mounts, loop devices, namespaces of this kernel              (root)
#   vm           tests/vm: dm-verity of Debian's kernel; merges on the kernels of Debian 12, 13  (root)
#   python       the wheel: pytest over tests/python, and its stubs against the module
#   browser      tests/browser: the page of `confext report` in a headless Chromium              (root)
#   book         tests/book: every block of README and docs, which print what the pages say      (root)
#   fleet        tests/fleet: the agent, the signer, Ansible, Dask and OCI in examples/, on machines with systemd   (root)
#   fuzz         every fuzz target for a short time, from its corpus
#   release      what tests/release.sh checks: dependencies, oldest Rust, packages of the crates, bills of materials
#   examples     every program in examples/                                                     (root)
#
# Sets up what the tiers need (setup.sh). The exit status is 0 if every tier passed. Logs stay in target/test-logs.
#
# Tests that need root are `#[ignore = "needs root"]`: with root they all run, without it they are listed as ignored.
#
#   CONFEXT_TEST_REQUIRE=1   for CI: what is missing, a tool or a privilege, is a failure and never an ignored test
#   CONFEXT_FUZZ_SECONDS     for each fuzz target; default 8
#   CONFEXT_FAULT_STRIDE     of the system calls that change nothing, a fault is tried at one in so many; default 23, all: 1
#   CONFEXT_CONCURRENT_SECONDS   how long eight processes refresh at once; default 4, in full: 60
#   CONFEXT_TEST_CACHE       see cache.sh

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR
. tests/cache.sh
# shellcheck source-path=SCRIPTDIR
. tests/wheel.sh

TIERS=(fmt shell clippy docs structure unit oracle privileged vm python browser book fleet fuzz release examples)
# A tier with a target directory of its own, that touches nothing of the kernel, and those that leave a processor idle most of
# the time: the one runs beside the others, from the first of them on.
COMPUTES=fuzz WAITS='oracle privileged'
# The library packages as everybody uses them. Not the Python module: without an interpreter it cannot be linked.
PACKAGES=(--workspace --exclude confext-py --features confext-core/cli)
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
LOGS=$TARGET/test-logs

required() { [[ ${CONFEXT_TEST_REQUIRE-} == 1 ]]; }
is_root() { [[ $(id -u) == 0 ]]; }

# ---- the tiers: each a function that fails when something in it failed

tier_fmt() {
    cargo fmt --all --check
    (cd fuzz && cargo fmt --check)
}

tier_shell() {
    local scripts
    mapfile -t scripts < <(git ls-files -co --exclude-standard -- '*.sh' .ci/run tests/vm/init)
    shellcheck --external-sources --severity=warning "${scripts[@]}"
    echo "shellcheck: ${#scripts[@]} scripts"
}

tier_clippy() {
    cargo clippy --workspace --features confext-core/cli --all-targets -- -D warnings
    # Without the tests, which bring all their dependencies once more with other features.
    cargo clippy -p confext-ddi --no-default-features -- -D warnings
    cargo clippy -p confext-core -- -D warnings
    cargo clippy -p confext-core --features cli -- -D warnings
    (cd fuzz && cargo clippy --all-targets --target-dir "$TARGET" -- -D warnings)
}

tier_docs() {
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --features confext-core/cli --no-deps
}

tier_structure() {
    local target
    integration structure
    cargo check -p confext-ddi --no-default-features
    for target in wasm32-unknown-unknown x86_64-pc-windows-gnu aarch64-apple-darwin; do
        if [[ -d $(rustc --print target-libdir --target "$target") ]]; then
            cargo check -p confext-ddi --no-default-features --target "$target"
        else
            echo "structure: $target is not installed: the guard over confext-ddi's dependencies stands in for it"
        fi
    done
}

tier_unit() {
    local status=0
    # The same packages as everywhere else, so that all have the same features and nothing is built twice.
    cargo test --no-fail-fast "${PACKAGES[@]}" --lib --bins --test command -- "${IGNORED[@]}" || status=1
    # Apart, because here "ignored" means a documentation block that is not code to run.
    cargo test --no-fail-fast "${PACKAGES[@]}" --doc || status=1
    integration ddi || status=1
    return $status
}

tier_oracle() { integration oracle; }

tier_privileged() {
    # One at a time: each sweeps the whole kernel for what it may have left behind.
    local status=0
    contained integration privileged --test-threads=1 || status=1
    # The same again, as kernels have to be used that lack what this one has.
    CONFEXT_TEST_OLD_KERNEL=1 contained cargo test --no-fail-fast "${PACKAGES[@]}" --test privileged-merge -- \
        "${IGNORED[@]}" --test-threads=1 || status=1
    return $status
}

# Two at a time: without KVM a machine keeps one processor busy, and no more.
tier_vm() { integration vm --test-threads=2; }

tier_python() {
    local python status=0
    make_wheel
    python=$TARGET/python/bin/python
    contained "$python" -m pytest -p no:cacheprovider tests/python || status=1
    "$python" -m mypy.stubtest confext || status=1
    try_wheel "$TARGET"/wheels/*.whl "$TARGET/unpacked" "$python" || status=1
    return $status
}

tier_browser() {
    [[ -x $TARGET/python/bin/python ]] || make_wheel
    contained "$TARGET/python/bin/python" -m pytest -p no:cacheprovider tests/browser
}

tier_book() {
    [[ -x $TARGET/python/bin/python ]] || make_wheel
    cargo build "${PACKAGES[@]}" --bins --examples
    CONFEXT_PROGRAMS=$TARGET/debug CONFEXT_PYTHON=$TARGET/python/bin/python contained \
        "$TARGET/python/bin/python" -m pytest -p no:cacheprovider tests/book
}

tier_fleet() {
    local site
    [[ -x $TARGET/python/bin/python ]] || make_wheel
    # The wheel as it is installed there, beside the tools of an environment of its own.
    rm -rf "$TARGET/fleet"
    "$FLEET_VENV/bin/python" -m venv --without-pip "$TARGET/fleet"
    site='import sysconfig; print(sysconfig.get_path("purelib"))'
    { "$FLEET_VENV/bin/python" -c "$site" && "$TARGET/python/bin/python" -c "$site"; } \
        >"$("$TARGET/fleet/bin/python" -c "$site")/tools.pth"
    contained "$TARGET/fleet/bin/python" -m pytest -p no:cacheprovider tests/fleet
}

tier_fuzz() {
    local target triple flags status=0
    triple=$(rustc -vV | sed -n 's/^host: //p')
    # What cargo-fuzz passes, less the address sanitizer, which stable compilers do not have. With --target the flags
    # are for the targets and their dependencies, and not for build scripts.
    flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions --cfg fuzzing'
    # It takes what the tiers beside it leave. The targets themselves do not wait: they have a time for each input.
    (cd fuzz && RUSTFLAGS=$flags nice -n 10 cargo build --release --bins --target "$triple" --target-dir "$TARGET/fuzz")
    mkdir -p "$LOGS/artifacts"
    for target in fuzz/fuzz_targets/*.rs; do
        while [[ $(jobs -rp | wc -l) -ge $(nproc) ]]; do wait -n || :; done
        run_fuzz_target "$(basename "$target" .rs)" "$TARGET/fuzz/$triple/release" &
    done
    wait
    for target in fuzz/fuzz_targets/*.rs; do
        fuzz_verdict "$(basename "$target" .rs)" || status=1
    done
    pack_for_oss_fuzz "$TARGET/fuzz/$triple/release" || status=1
    return $status
}

tier_release() { tests/release.sh check; }

tier_examples() {
    local example status=0
    cargo build "${PACKAGES[@]}" --bins --examples
    [[ -x $TARGET/python/bin/python ]] || make_wheel
    if ! is_root; then
        echo "examples: built; ignored: running them needs root"
        return
    fi
    for example in examples/*; do
        case $example in
        examples/lib.rs) continue ;;
        # They need arguments; docs/howto has both, and tier_book runs that.
        examples/admit.rs | examples/would_match.rs) continue ;;
        # Programs that have to be told what to do: tests/fleet does.
        examples/agent.py | examples/bulk_index.py | examples/oci.py) continue ;;
        *.rs) run_example "$example" "$TARGET/debug/examples/$(basename "$example" .rs)" || status=1 ;;
        *.py) run_example "$example" "$TARGET/python/bin/python" "$example" || status=1 ;;
        # It would build the program in release mode; this one is there.
        *.sh) run_example "$example" env CONFEXT_PROGRAM="$TARGET/debug/confext" "$example" || status=1 ;;
        esac
    done
    return $status
}

# ---- what the tiers share

# run_fuzz_target NAME DIRECTORY: run the program from a copy of its corpus, so that the tree stays as it is. What it
# says goes to a log of its own, and its exit status beside it.
run_fuzz_target() {
    local corpus status=0
    corpus=$(mktemp -d "${TMPDIR:-/tmp}/confext-test-fuzz.XXXXXX")
    [[ ! -d fuzz/corpus/$1 ]] || cp -r "fuzz/corpus/$1/." "$corpus"
    # The limit on address space does what -malloc_limit_mb does under the address sanitizer: an allocation sized by an
    # unchecked field ends the run.
    (
        ulimit -v $((1536 * 1024))
        exec "$2/$1" -max_total_time="${CONFEXT_FUZZ_SECONDS:-8}" -timeout=10 -rss_limit_mb=1024 \
            -malloc_limit_mb=256 -print_final_stats=1 -verbosity=0 -dict="fuzz/dictionaries/$1.dict" \
            -artifact_prefix="$LOGS/artifacts/$1-" "$corpus"
    ) >"$LOGS/fuzz-$1.log" 2>&1 || status=$?
    echo "$status" >"$LOGS/fuzz-$1.status"
    rm -rf "$corpus"
}

# fuzz_verdict NAME: how the run ended; of one that failed all that it said.
fuzz_verdict() {
    local inputs
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$LOGS/fuzz-$1.log")
    if [[ $(cat "$LOGS/fuzz-$1.status") == 0 && $inputs -gt 0 ]]; then
        echo "fuzz: $1: ok, $inputs inputs"
    else
        cat "$LOGS/fuzz-$1.log"
        echo "fuzz: $1: FAILED, the input is in $LOGS/artifacts"
        return 1
    fi
}

# pack_for_oss_fuzz DIRECTORY: what OSS-Fuzz gets of programs that are built: all of it is there, and it runs.
pack_for_oss_fuzz() {
    local out name status=0
    out=$(mktemp -d "${TMPDIR:-/tmp}/confext-test-oss-fuzz.XXXXXX")
    OUT=$out fuzz/oss-fuzz/build.sh --pack "$1" || status=1
    for name in fuzz/fuzz_targets/*.rs; do
        name=$(basename "$name" .rs)
        [[ -x $out/$name && -s $out/$name.dict ]] && python3 -m zipfile -t "$out/${name}_seed_corpus.zip" >/dev/null || {
            echo "fuzz: $name is not packed: FAILED"
            status=1
        }
    done
    "$out/version" -runs=1 -dict="$out/version.dict" 2>/dev/null || status=1
    rm -rf "$out"
    return $status
}

# run_example NAME COMMAND…: examples promise to leave the machine as it was, so nothing is put around them.
run_example() {
    local before
    echo "example: $1"
    before=$(kernel_objects)
    if "${@:2}" </dev/null && left_behind "$before"; then
        echo "example: $1: ok"
    else
        echo "example: $1: FAILED"
        return 1
    fi
}

# integration DIRECTORY [OPTION…]: run the test targets of tests/DIRECTORY.
integration() {
    local targets
    mapfile -t targets < <(awk -F'"' -v want="$1" '
        /^\[/ { name = ""; is_test = $0 == "[[test]]" }
        /^name *=/ { name = $2 }
        /^path *=/ && is_test && index($2, want "/") == 1 && name { print "--test"; print name }' tests/Cargo.toml)
    [[ ${#targets[@]} != 0 ]] || {
        echo "no test target lies in tests/$1"
        return 1
    }
    cargo test --no-fail-fast "${PACKAGES[@]}" "${targets[@]}" -- "${IGNORED[@]}" "${@:2}"
}

# contained COMMAND…: with root, run it in a mount namespace of its own, and look there for what it left behind.
contained() {
    local before status=0
    if ! is_root; then
        "$@"
    elif [[ ${CONFEXT_RUN_CONTAINED-} == 1 ]]; then
        before=$(kernel_objects)
        "$@" || status=$?
        left_behind "$before" || status=1
        return $status
    else
        CONFEXT_RUN_CONTAINED=1 unshare --mount --propagation private "$PWD/tests/run.sh" --contained "$@"
    fi
}

# The mounts of this namespace, and the loop devices of the whole kernel that read a file of ours.
kernel_objects() {
    cut -d' ' -f4- /proc/self/mountinfo | sort
    # A device can go away while we look.
    { grep -H confext /sys/block/loop*/loop/backing_file 2>/dev/null || :; } | sort
}

# left_behind BEFORE: fail if there is more now. The kernel frees a device a moment after its last user has gone.
left_behind() {
    local more
    for _ in {1..50}; do
        more=$(comm -13 <(printf '%s\n' "$1") <(kernel_objects))
        [[ -n $more ]] || return 0
        sleep 0.1
    done
    printf 'left behind:\n%s\n' "$more"
    # Another run on the same machine has loop devices too; in CI there is none.
    ! required && ! grep -qv '^/sys/block/' <<<"$more"
}

# Build the wheel and install it as a user would, beside the tools of the cached environment, which stays as it is. All but
# the module itself is there from other tiers: see the feature.
make_wheel() {
    local wheels=$TARGET/wheels
    rm -rf "$wheels" "$TARGET/python"
    "$VENV/bin/maturin" build --locked --manifest-path confext-py/Cargo.toml --profile dev --features as-tested --out "$wheels"
    "$VENV/bin/python" -m venv --without-pip "$TARGET/python"
    "$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$("$TARGET/python/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tools.pth"
    "$VENV/bin/pip" --python "$TARGET/python/bin/python" --disable-pip-version-check install --quiet --no-index \
        --no-deps --force-reinstall "$wheels"/*.whl
}

set_up() {
    local steps=() step tier
    for tier in "$@"; do
        case $tier in
        fmt | shell) steps+=(lint) ;;
        clippy) steps+=(build lint) ;;
        oracle | privileged) steps+=(build tools peer) ;;
        vm) steps+=(build vm) ;;
        python) steps+=(build python) ;;
        browser) steps+=(build python browser) ;;
        book) steps+=(build tools peer python) ;;
        fleet) steps+=(build peer python fleet) ;;
        release) steps+=(build release) ;;
        examples) steps+=(build tools python) ;;
        *) steps+=(build) ;;
        esac
    done
    # shellcheck disable=SC2046 # words are wanted
    for step in $(printf '%s\n' "${steps[@]}" | awk '!seen[$0]++'); do
        tests/setup.sh "$step" || ! required || die "set-up failed"
    done
}

# run_tier NAME: run a tier; its log, and its exit status with how many seconds it took, stay in the directory of logs.
run_tier() {
    local start=$SECONDS status
    # A shell of its own, with errexit: inside a condition it would be off.
    set +e
    (set -e; "tier_$1") </dev/null 2>&1 | tee "$LOGS/$1.log"
    status=${PIPESTATUS[0]}
    set -e
    echo "$status $((SECONDS - start))" >"$LOGS/$1.status"
}

# The closing lines of each runner, from the log of a tier.
summary() {
    grep -E '^ +(Running|Doc-tests) |^test result:|^=+ .* in [0-9.]+s|^Success: |^Found [0-9]+ error|^shellcheck:|^(fuzz|example): .*(ok|FAILED)|^book: |^left behind|^[a-z]+:.* not installed|^release: |^(advisories|bans) |ignored: ' \
        "$LOGS/$1.log" | sed 's/^ */    /' || :
}

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} LC_ALL=C.UTF-8
IGNORED=()
! is_root || IGNORED=(--include-ignored)

if [[ ${1-} == --contained ]]; then
    shift
    contained "$@"
    exit
fi
if [[ ${1-} == -h || ${1-} == --help ]]; then
    sed -n '2,/^$/s/^# \{0,1\}//p' tests/run.sh
    exit
fi
tiers=("$@")
[[ ${#tiers[@]} != 0 ]] || tiers=("${TIERS[@]}")
for tier in "${tiers[@]}"; do
    [[ $(type -t "tier_$tier") == function ]] || die "no tier is called '$tier'; there are: ${TIERS[*]}"
done
if required && ! is_root; then
    die "CONFEXT_TEST_REQUIRE=1 needs root"
fi
set_up "${tiers[@]}"

mkdir -p "$LOGS"
rm -f "$LOGS"/*.log "$LOGS"/*.status
beside=
# What runs beside others does not hear of an interrupt by itself.
trap 'trap - INT TERM; kill -TERM 0' INT
for tier in "${tiers[@]}"; do
    [[ $tier != "$beside" ]] || continue
    # Where both run, what computes runs beside what mostly waits.
    if [[ -z $beside && " $WAITS " == *" $tier "* && " ${tiers[*]} " == *" $COMPUTES "* &&
        ! -e $LOGS/$COMPUTES.status ]]; then
        beside=$COMPUTES
        say "tier $beside, beside others: its output comes last"
        run_tier "$beside" >/dev/null &
    fi
    say "tier $tier"
    run_tier "$tier"
done
if [[ -n $beside ]]; then
    wait
    say "tier $beside"
    cat "$LOGS/$beside.log"
fi

printf '\n==== summary ====\n'
failed=0
for tier in "${tiers[@]}"; do
    read -r status seconds <"$LOGS/$tier.status"
    verdict=ok
    [[ $status == 0 ]] || { verdict=FAILED failed=$((failed + 1)); }
    printf '%s: %s, %s s\n' "$tier" "$verdict" "$seconds"
    summary "$tier"
done
printf 'tiers: %d passed, %d failed, %d s\n' $((${#tiers[@]} - failed)) "$failed" "$SECONDS"
[[ $failed == 0 ]]
