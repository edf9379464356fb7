#!/usr/bin/env bash
# Tries the project as somebody new to it would: the commit that is checked out, cloned on a fresh Debian 13 with nothing but
# a Rust toolchain and Python.
#
#   tests/fresh.sh [--tests [TIER…]]
#
# 1. README's first command, as README has it.
# 2. On a second fresh machine: the tutorial's installation, then all of the tutorial with systemd as process 1, and what each
#    command prints compared with the page. tests/book does the same; there the program is one that is there already.
# 3. There too: the installation of the Python module, and all of README.
# 4. With --tests, on the first machine: README's second command, of all tiers or of those named.
#
# Everything is compiled again, so it takes half an hour, with --tests an hour more: it is run before a release, and is no part
# of .ci/run. Needs root, a Rust toolchain of this machine, which is shown there read-only, Python 3.10 and the network.
#
#   CONFEXT_FRESH_WORK    a directory to work in (4 GiB), in which what was compiled and downloaded stays for the next run; default:
#                         one that is removed
#   CONFEXT_FRESH_CARGO   a configuration for cargo (config.toml) to be used there; default: none
#   CONFEXT_TEST_CACHE    see cache.sh
#
# What the machine needs to reach the network is used there, too: variables for proxies, apt's proxy, name servers, and
# certificates of /usr/local/share/ca-certificates.
#
# The machines are directories, with mount, process, host name and IPC namespaces of their own; nothing of this machine is
# changed, and killing fresh.sh kills everything that it started.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR
. tests/cache.sh

PASSED=(http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY)

# ---- inside: the machine

# start ROOT WORK TOOLCHAIN COMMAND…: becomes a machine with this root, and runs the command there.
start() {
    local root=$1 work=$2 toolchain=$3 variables=() name groups
    shift 3
    mount --bind "$root" "$root"
    mount --bind "$work/confext" "$root/root/confext"
    mount --bind "$work/cargo" "$root/root/.cargo"
    mount --bind "$toolchain" "$root/opt/rust"
    mount -o remount,bind,ro "$root/opt/rust"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    groups=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
    [[ -z $groups ]] || mount --rbind "$groups" "$root/sys/fs/cgroup"
    # The kernel's own /dev, not a copy: loop devices have to appear in it.
    mount -t devtmpfs devtmpfs "$root/dev"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
    mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
    for name in "${PASSED[@]}"; do
        [[ -z ${!name-} ]] || variables+=("$name=${!name}")
    done
    hostname fresh
    cd "$root"
    pivot_root . mnt
    umount -l /mnt
    mount --make-rshared /
    cd /root/confext
    # Not exec: a program that finds itself to be process 1 takes itself for the init system.
    env -i "${variables[@]}" PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root USER=root LANG=C.UTF-8 TERM=dumb "$@"
}

if [[ ${1-} == --inside ]]; then
    shift
    start "$@"
    exit
fi

# ---- outside

TESTS=no TIERS=()
case ${1-} in
'') ;;
--tests) TESTS=yes TIERS=("${@:2}") ;;
*) sed -n '2,/^$/s/^# \{0,1\}//p' tests/fresh.sh && exit 2 ;;
esac
[[ $(id -u) == 0 ]] || die "needs root: machines are made, each in namespaces of its own"
tests/setup.sh fresh
TOOLCHAIN=$(rustc --print sysroot)

WORK=${CONFEXT_FRESH_WORK-}
if [[ -z $WORK ]]; then
    WORK=$(mktemp -d "$CACHE/.fresh-work.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
fi
mkdir -p "$WORK/cargo"
WORK=$(realpath "$WORK")
[[ -z ${CONFEXT_FRESH_CARGO-} ]] || cp "$CONFEXT_FRESH_CARGO" "$WORK/cargo/config.toml"

# What is committed, and nothing that only lies around here. In a directory that was kept only the files that are different are
# written, so that only those are compiled again.
clone() {
    local there=$WORK/confext
    if [[ -d $there/.git ]]; then
        git -C "$there" fetch --quiet "$PWD" HEAD
        git -C "$there" checkout --quiet --force --detach FETCH_HEAD
        git -C "$there" clean -qfdx --exclude=/target
    else
        git clone --quiet --no-local . "$there"
    fi
    [[ $(git -C "$there" rev-parse HEAD) == "$(git rev-parse HEAD)" ]] || die "the clone is of another commit"
    [[ -z $(git status --porcelain --untracked-files=no) ]] || say "what is not committed is not tried"
    say "trying $(git log -1 --format='%h, %s')"
}

# machine NAME: a fresh one, as far from this one as it can be and still reach the network.
machine() {
    local root=$WORK/$1 proxy='' ours
    rm -rf "$root"
    cp -a "$FRESH_ROOT" "$root"
    mkdir -p "$root/root/confext" "$root/root/.cargo" "$root/opt/rust" "$root/mnt"
    cp /etc/resolv.conf "$root/etc/"
    printf '127.0.0.1 localhost\n127.0.1.1 fresh\n' >"$root/etc/hosts"
    command -v apt-config >/dev/null && eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [[ -z $proxy ]] || echo "Acquire::http::Proxy \"$proxy\";" >"$root/etc/apt/apt.conf.d/proxy"
    ours=$(find /usr/local/share/ca-certificates -name '*.crt' 2>/dev/null)
    [[ -z $ours ]] || xargs cp -t "$root/usr/local/share/ca-certificates" <<<"$ours"
    on "$1" sh -c 'update-ca-certificates && apt-get -q update' >/dev/null
}

# on NAME COMMAND…: there, in the clone.
on() {
    setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --uts --ipc \
        "$PWD/tests/fresh.sh" --inside "$WORK/$1" "$WORK" "$TOOLCHAIN" "${@:2}"
}

# shown PAGE: what the page has to be run by this script.
shown() { python3 -B "$WORK/confext/tests/book/newcomer.py" show "$1"; }

# try WHAT COMMAND…: one thing that somebody new does.
RESULTS=() FAILED=0
try() {
    local start=$SECONDS verdict=ok
    printf '\n==== %s\n' "$1"
    "${@:2}" </dev/null || { verdict=FAILED FAILED=1; }
    RESULTS+=("$1: $verdict, $((SECONDS - start)) s")
}

# Whoever is asked whether to install says yes.
install_as_shown() { # PAGE
    local script
    script=$(shown "$1")
    printf '%s\n' "$script"
    on learner bash -c 'yes | bash -euc "$1"' bash "$script"
}

run_page() { # PAGE
    setpriv --pdeathsig TERM python3 -B "$WORK/confext/tests/book/newcomer.py" run "$1" "$WORK/learner" /root/confext-python/bin/python
}

clone
mapfile -t commands < <(shown README.md | sed -n 's/^\([a-z/.]*\.sh\) .*/\1/p')
[[ ${#commands[@]} == 2 ]] || die "README has not two commands: ${commands[*]}"

machine reader
try "README: ${commands[0]}" on reader "${commands[0]}"
machine learner
try "tutorial: installation" install_as_shown docs/tutorial.md
try "tutorial: what it shows" run_page docs/tutorial.md
try "Python: installation" install_as_shown docs/python.md
try "README: what it shows" run_page README.md
[[ $TESTS == no ]] || try "README: ${commands[1]} ${TIERS[*]}" on reader "${commands[1]}" "${TIERS[@]}"

printf '\n==== summary ====\n'
printf 'fresh: %s\n' "${RESULTS[@]}"
exit "$FAILED"
