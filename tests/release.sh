#!/usr/bin/env bash
# Checks that the packages can be published, and makes what a release is made of.
#
#   tests/release.sh check        what CI checks: licences, bans and sources of all dependencies; the oldest Rust that is
#                                 promised; that each crate builds from its package alone; bills of materials
#   tests/release.sh make OUT     the same, and into the directory OUT: the crates' packages, the command with its manual
#                                 pages and completions, the wheel and source package of the Python module, both tried under
#                                 every Python that is here, bills of materials (CycloneDX), SHA256SUMS
#
# `make` wants everything committed: a release is what a commit says. Nothing is uploaded; docs/releasing.md says how.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR
. tests/cache.sh
# shellcheck source-path=SCRIPTDIR
. tests/wheel.sh

# In the order of publishing: each needs those before it.
CRATES=(confext-sha256 confext-ddi confext-core)
FEATURES=(--features confext-core/cli)
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} LC_ALL=C.UTF-8
export PATH=$PATH:$CARGO_TOOLS/bin

check_dependencies() {
    cargo fetch --locked --quiet
    cargo deny --offline --manifest-path "$PWD/Cargo.toml" --config "$PWD/tests/deny.toml" check licenses bans sources
}

# The oldest Rust: no dependency may want a newer one than we promise. That our own code calls nothing newer is a lint
# of clippy (incompatible_msrv). Where that Rust is installed, it also compiles everything.
check_oldest_rust() {
    local oldest
    oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    cargo metadata --locked --format-version 1 --all-features | python3 -c '
import json, sys

def version(text):
    return tuple(int(part) for part in (text + ".0").split(".")[:2])

packages = [p for p in json.load(sys.stdin)["packages"] if p["rust_version"]]
newer = [p for p in packages if version(p["rust_version"]) > version(sys.argv[1])]
for p in newer:
    print("release: {} {} wants Rust {}, we promise {}".format(p["name"], p["version"], p["rust_version"], sys.argv[1]))
print(f"release: Rust {sys.argv[1]} is enough for {len(packages) - len(newer)} packages")
sys.exit(bool(newer) or not packages)' "$oldest"
    if cargo "+$oldest" --version >/dev/null 2>&1; then
        cargo "+$oldest" check --locked --workspace --exclude confext-py "${FEATURES[@]}" --target-dir "$TARGET/oldest"
    else
        echo "release: Rust $oldest is not installed: clippy's lint and the dependencies' own word stand in for it"
    fi
}

# package DIRECTORY: the crates' packages, and that they are complete: each unpacked alone and compiled, with the others
# taken from their packages too. As `cargo publish` does it, but what is compiled already need not be again.
package() {
    local crate members=() options=()
    [[ -z $(git status --porcelain) ]] || options=(--allow-dirty)
    rm -rf "$TARGET/package"
    cargo package --locked --no-verify "${options[@]}" "${CRATES[@]/#/--package=}" 2>"$1/package.log" || {
        cat "$1/package.log"
        return 1
    }
    if grep '^warning' "$1/package.log"; then
        echo "release: a package with warnings"
        return 1
    fi
    rm "$1/package.log"
    mkdir "$1/unpacked"
    for crate in "${CRATES[@]}"; do
        cp "$TARGET/package/$crate-$VERSION.crate" "$1"
        tar -xzf "$1/$crate-$VERSION.crate" -C "$1/unpacked"
        [[ -s $1/unpacked/$crate-$VERSION/LICENSE-MIT && -s $1/unpacked/$crate-$VERSION/README.md ]] || {
            echo "release: $crate has no licence or no README in its package"
            return 1
        }
        members+=("$crate-$VERSION")
    done
    {
        printf '[workspace]\nresolver = "3"\nmembers = ['
        printf '"%s", ' "${members[@]}"
        printf ']\n[patch.crates-io]\n'
        for crate in "${CRATES[@]}"; do printf '%s = { path = "%s" }\n' "$crate" "$crate-$VERSION"; done
        # The same settings, so that the dependencies are the compiled ones.
        sed -n '/^\[profile/,$p' Cargo.toml
    } >"$1/unpacked/Cargo.toml"
    cp Cargo.lock rustfmt.toml clippy.toml "$1/unpacked"
    (cd "$1/unpacked" && cargo check --offline --workspace "${FEATURES[@]}" --target-dir "$TARGET")
    rm -r "$1/unpacked"
    echo "release: ${#CRATES[@]} crates build from their packages"
}

# bills DIRECTORY: what each crate is made of. The tool writes beside each manifest, so it is given a copy of the tree.
bills() {
    local copy crate bill
    copy=$1/tree
    mkdir "$copy"
    git ls-files -z -c -o --exclude-standard | grep -zv '^fuzz/corpus' | tar -c --null -T - | tar -x -C "$copy"
    (cd "$copy" && cargo cyclonedx --quiet --format json --spec-version 1.5 "${FEATURES[@]}" --target all)
    for crate in "${CRATES[@]}"; do
        bill=$(find "$copy" -name "$crate.cdx.json")
        python3 -c '
import json, sys

bill = json.load(open(sys.argv[1]))
named = [part for part in bill["components"] if part.get("purl") and part.get("licenses")]
if bill["bomFormat"] != "CycloneDX" or len(named) != len(bill["components"]):
    sys.exit(f"release: {sys.argv[1]}: a component without a name or a licence")
print("release: {}: {} components".format(bill["metadata"]["component"]["name"], len(named)))' "$bill"
        cp "$bill" "$1/$crate-$VERSION.cdx.json"
    done
    rm -r "$copy"
}

# command_files DIRECTORY: the command, and its manual pages and completions as it prints them.
command_files() {
    local shell
    cargo build --locked --release --package confext-core "${FEATURES[@]}" --features vendored-openssl --bin confext
    install -D -m 755 "$TARGET/release/confext" "$1/command/bin/confext"
    strip "$1/command/bin/confext"
    mkdir -p "$1/command/share/man/man1" "$1/command/share/completions"
    "$TARGET/release/confext" man "$1/command/share/man/man1"
    for shell in bash elvish fish zsh; do
        "$TARGET/release/confext" completions "$shell" >"$1/command/share/completions/confext.$shell"
    done
    cp LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md "$1/command"
    tar -C "$1" --owner=0 --group=0 --numeric-owner --sort=name --mtime="@$(git log -1 --format=%ct)" \
        --transform "s,^command,confext-$VERSION-$(uname -m)," -czf "$1/confext-$VERSION-$(uname -m).tar.gz" command
    rm -r "$1/command"
}

# python_files DIRECTORY: the wheel and the source package of the Python module. The wheel runs under each Python that is here
# and has no package of its own, and the source package makes a wheel that does so, too.
python_files() {
    local again=$1/again
    CONFEXT_MATURIN=$VENV/bin/maturin confext-py/build-wheel.sh "$1"
    mkdir "$again"
    tar -xzf "$1/confext-$VERSION.tar.gz" -C "$again"
    # Away from this tree, and with the dependencies that were compiled for the first wheel. Cargo takes out of the lock file what
    # only members need that are not in the package.
    (cd "$again/confext-$VERSION" && CARGO_TARGET_DIR=$TARGET "$VENV/bin/maturin" build --release \
        --features vendored-openssl --compatibility pypi --strip --out "$again")
    try_wheel "$1/confext-$VERSION"-*.whl "$again/first" "$VENV/bin/python"
    try_wheel "$again/confext-$VERSION"-*.whl "$again/second" "$VENV/bin/python"
    rm -r "$again"
}

check() {
    check_dependencies
    check_oldest_rust
    package "$1"
    bills "$1"
}

case ${1-} in
check | make) ;;
-h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' tests/release.sh && exit ;;
*) die "check or make OUT" ;;
esac
tests/setup.sh build release
[[ $1 == check ]] || tests/setup.sh python
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
work=$(mktemp -d "${TMPDIR:-/tmp}/confext-release.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [[ $1 == check ]]; then
    check "$work"
    exit
fi
out=${2:?make needs a directory to write to}
[[ -z $(git status --porcelain) ]] || die "make: commit first; a release is what a commit says"
[[ ! -e $out ]] || die "make: $out is there already"
check "$work"
command_files "$work"
python_files "$work"
(cd "$work" && sha256sum -- * >SHA256SUMS)
mkdir -p "$(dirname "$out")"
cp -r "$work" "$out"
chmod 755 "$out"
say "made: $(cd "$out" && echo *)"
